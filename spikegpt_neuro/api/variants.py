"""One activity, many prices: each backend runs once, each hardware is placed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.api.choices import (
    DEFAULT_BACKEND,
    DEFAULT_PROFILE,
    DEFAULT_TIMING,
    PLACES,
)
from spikegpt_neuro.api.costs import TokenCost
from spikegpt_neuro.api.inputs import PathLike
from spikegpt_neuro.api.measuring import Measured, Site, mapped_of, measure
from spikegpt_neuro.api.models import GraphLike
from spikegpt_neuro.api.placing import checksum_of
from spikegpt_neuro.backends.cycle.timing.names import Timing, check_timing, timing_names
from spikegpt_neuro.descriptions import describe
from spikegpt_neuro.energy.accounting import Priced, counts_of, price
from spikegpt_neuro.energy.accounting.registry import choose
from spikegpt_neuro.energy.counts import Arrivals, arrivals_of
from spikegpt_neuro.energy.estimators import AS_ARRIVES, Timed, under_accounting
from spikegpt_neuro.energy.events import HardwareEvents
from spikegpt_neuro.energy.tables import figures, synops_over_dense
from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.evidence.validation import accuracy_of
from spikegpt_neuro.graph.artifact import is_artifact
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.profile import Profile, load_profile
from spikegpt_neuro.mapping.goal import Goal
from spikegpt_neuro.mapping.placement import Placement, load_placement
from spikegpt_neuro.mapping.requirements import Where
from spikegpt_neuro.quantization import BITS
from spikegpt_neuro.running import Backend, Progress
from spikegpt_neuro.schedules import SCHEDULES, Schedule, check_schedule

BY_BITS = "bits"
AXES = ("backend", "hw", "schedule", "timing", "accounting", "embedding", "head", BY_BITS)
"""What profiles may be compared by; by the bits of weights, a checkpoint is converted for each."""


@dataclass(frozen=True)
class Variant:
    """One profile: what may be compared; raises :class:`UsageError` for what is not known."""

    backend: str = DEFAULT_BACKEND
    hw: PathLike | Profile = DEFAULT_PROFILE
    schedule: Schedule = "pipelined"
    timing: Timing | None = None
    accounting: str = AS_ARRIVES
    embedding: Where = "host"
    head: Where = "chip"

    def __post_init__(self) -> None:
        describe(self.backend)
        check_schedule(self.schedule)
        if self.timing is not None:
            check_timing(self.timing)
        if self.accounting != AS_ARRIVES:
            choose(self.accounting)
        for name, place in (("embedding", self.embedding), ("head", self.head)):
            if place not in PLACES:
                raise UsageError(f"{name} is {place!r}, expected {' or '.join(PLACES)}")

    @property
    def time_model(self) -> Timing:
        """The timing model, which the backend may choose."""
        return self.timing or describe(self.backend).timing or DEFAULT_TIMING

    @property
    def hardware(self) -> str:
        """The profile as it was named."""
        return self.hw.name if isinstance(self.hw, Profile) else str(self.hw)

    @property
    def profile(self) -> Profile:
        """The hardware profile."""
        return self.hw if isinstance(self.hw, Profile) else load_profile(self.hw)

    @property
    def site(self) -> tuple[str, ...]:
        """What it shares with others of the same run on the same placement."""
        return (self.backend, self.hardware, self.embedding, self.head)

    def named(self) -> dict[str, str]:
        """What it is, under the names of the figures."""
        return {
            "backend": self.backend,
            "hardware": self.hardware,
            "schedule": self.schedule,
            "timing": self.time_model,
            "accounting": self.accounting,
            "embedding": self.embedding,
            "head": self.head,
        }


def variants(axes: Mapping[str, Sequence[Any]], setting: Mapping[str, Any]) -> tuple[Variant, ...]:
    """Every combination of the values in ``axes``, the rest from ``setting``; each one once.

    Raises :class:`UsageError` naming what is not known.
    """
    for name, values in axes.items():
        if name not in AXES:
            raise UsageError(f"cannot compare by {name!r}; expected one of {', '.join(AXES)}")
        _check_axis(name, values)
    own = {name: values for name, values in axes.items() if name != BY_BITS}
    combinations = product(*own.values())
    found = [
        Variant(**{**setting, **dict(zip(own, values, strict=True))}) for values in combinations
    ]
    return tuple(dict.fromkeys(found))


def widths(model: GraphLike, axes: Mapping[str, Sequence[Any]]) -> tuple[int, ...] | None:
    """The bits of weights to compare by, each once; None where it is by other things alone.

    Raises :class:`UsageError` for a model whose weights are rounded already.
    """
    if BY_BITS not in axes:
        return None
    if isinstance(model, SpikingGraph) or is_artifact(Path(model)):
        what = "a graph" if isinstance(model, SpikingGraph) else model
        raise UsageError(
            f"cannot compare {what} by bits: its weights are rounded already; give the checkpoint"
        )
    return tuple(dict.fromkeys(axes[BY_BITS]))


def _check_axis(name: str, values: Sequence[Any]) -> None:
    known = {
        "schedule": SCHEDULES,
        "timing": timing_names(),
        "embedding": PLACES,
        "head": PLACES,
        BY_BITS: BITS,
    }.get(name)
    for value in values:
        if known is not None and value not in known:
            said = ", ".join(map(str, known))
            raise UsageError(f"cannot compare {name} {value!r}; expected one of {said}")
    if not values or isinstance(values, str):
        raise UsageError(f"cannot compare by {name}: expected a list of values, found {values!r}")


@dataclass
class Bench:
    """Runs once per backend, places once per hardware, times once per schedule and model.

    ``placement``  a placement or its file; None: placed by the measured activity.
    ``artifact``   where the graph was loaded from, if it was.
    ``context``    tokens that a transformer looks back on, for accountings that compare with one.
    """

    graph: SpikingGraph
    tokens: NDArray[np.int64]
    artifact: PathLike | None = None
    placement: PathLike | Placement | None = None
    seed: int = 0
    context: int = 1024
    _measured: dict[str, Measured] = field(default_factory=dict, init=False)
    _hardware: dict[str, Backend] = field(default_factory=dict, init=False)
    _sites: dict[tuple[str, ...], Site] = field(default_factory=dict, init=False)
    _timed: dict[tuple[str, ...], tuple[Timed, Mapping[str, HardwareEvents]]] = field(
        default_factory=dict, init=False
    )

    def measure(self, name: str, backend: Backend | None, progress: Progress | None = None) -> None:
        """Run the tokens on the backend ``name``; None: the reference's integers.

        What hardware measures is measured when it is asked for, with its probes.
        """
        is_measured = describe(name).resolve("is_measured")
        if backend is not None and is_measured is not None and is_measured(backend):
            self._hardware[name], backend = backend, None
        self._measured[name] = measure(self.graph, self.tokens, backend, progress)

    def know(self, name: str, measured: Measured) -> None:
        """Take a run of the backend ``name`` that was measured before."""
        self._measured[name] = measured

    def cost(self, variant: Variant, progress: Progress | None = None) -> TokenCost:
        """Everything there is to say about one variant.

        Raises :class:`DoesNotFit` if the model does not fit the hardware.
        """
        if variant.backend in self._hardware:
            return self._probed(variant, progress)
        site = self._site(variant)
        timed, events = self._time(variant, site, progress)
        counted = events if describe(variant.backend).counts_events else None
        record = site.record(variant.backend, timed, counted)
        constants = [site.profile[key] for key in record.constants]
        if variant.accounting != AS_ARRIVES:
            priced = self._priced(variant)
            record, constants = under_accounting(record, priced), list(priced.constants)
        arrivals = arrivals_of(self.graph, self._measured[variant.backend].activity)
        where = {"embedding": site.placement.embedding, "head": site.placement.head}
        sparse = self._sparse(arrivals)
        said = figures(record, arrivals, constants) | sparse | where
        return TokenCost(said | {"accuracy": _accuracy(variant, site.profile)}, record)

    def _probed(self, variant: Variant, progress: Progress | None) -> TokenCost:
        """What the probes of the hardware said, and whether its integers were the reference's."""
        run_and_probe = describe(variant.backend).resolve("measure")
        backend = self._hardware[variant.backend]
        activity = self._measured[variant.backend].activity
        found = run_and_probe(backend, self.graph, self.tokens, variant.profile, progress)
        rows = [asdict(row) | {"ratio": row.ratio} for row in found.rows]
        arrivals = arrivals_of(self.graph, activity)
        said = (
            figures(found.record, arrivals, [])
            | self._sparse(arrivals)
            | {
                "embedding": "host",
                "head": found.head,
                "matches_reference": found.first_mismatch is None,
                "first_mismatch": found.first_mismatch,
                "comparison": rows,
            }
        )
        return TokenCost(said, found.record)

    def _sparse(self, arrivals: Sequence[Arrivals]) -> dict[str, float]:
        """Which shares of the dense operations happen, and of the dense synapses exist."""
        return {
            "synops_over_dense": synops_over_dense(arrivals),
            "weight_density": self.graph.weight_density,
        }

    def _site(self, variant: Variant) -> Site:
        if variant.site not in self._sites:
            measured, profile = self._measured[variant.backend], variant.profile
            self._sites[variant.site] = Site(measured, profile, self._placed(variant, profile))
        return self._sites[variant.site]

    def _placed(self, variant: Variant, profile: Profile) -> Placement:
        if self.placement is not None:
            given = self.placement
            placement = given if isinstance(given, Placement) else load_placement(given)
            return placement.check(self.graph, profile)
        measured = self._measured[variant.backend]
        return mapped_of(
            self.graph,
            lambda: measured,
            profile,
            Goal(),
            variant.embedding,
            variant.head,
            self.seed,
            checksum_of(self.artifact),
        ).placement

    def _time(
        self, variant: Variant, site: Site, progress: Progress | None
    ) -> tuple[Timed, Mapping[str, HardwareEvents]]:
        key = (*variant.site, variant.schedule, variant.time_model)
        if key not in self._timed:
            self._timed[key] = site.time(variant.schedule, variant.time_model, progress)
        return self._timed[key]

    def _priced(self, variant: Variant) -> Priced:
        activity = self._measured[variant.backend].activity
        return price(variant.accounting, counts_of(self.graph, activity, self.context))


def _accuracy(variant: Variant, profile: Profile) -> dict[str, Any]:
    """Quantity -> how near the profile comes to published runs; nothing by other accountings."""
    if variant.accounting != AS_ARRIVES:
        return {}
    return {
        quantity: {**asdict(accuracy), "said": str(accuracy)}
        for quantity, accuracy in accuracy_of(profile).items()
    }
