"""One activity, many prices: the settings that ``profile`` compares, and their figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.backends.cycle.timing.names import Timing, timing_names
from spikegpt_neuro.backends.loihi.backend import LoihiBackend
from spikegpt_neuro.backends.loihi.capacity import capacity
from spikegpt_neuro.backends.loihi.job import PROBES
from spikegpt_neuro.backends.loihi.outcome import MeasuredProfile, measured_profile
from spikegpt_neuro.cli.profiling import Measured, Site, measure, placement_of
from spikegpt_neuro.energy.accounting import Priced, counts_of, price
from spikegpt_neuro.energy.accounting.registry import choose
from spikegpt_neuro.energy.counts import arrivals_of
from spikegpt_neuro.energy.estimators import AS_ARRIVES, Timed, under_accounting
from spikegpt_neuro.energy.events import HardwareEvents
from spikegpt_neuro.energy.tables import figures
from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.files import sha256_of
from spikegpt_neuro.graph.artifact import CONFIG
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.profile import Profile, load_profile
from spikegpt_neuro.mapping.placement import Placement, load_placement
from spikegpt_neuro.mapping.requirements import Where
from spikegpt_neuro.running import Backend, Progress
from spikegpt_neuro.schedules import Schedule

CHOICES: Mapping[str, tuple[str, ...] | None] = {
    "backend": None,
    "hw": None,
    "schedule": get_args(Schedule),
    "timing": timing_names(),
    "accounting": None,
    "embedding": get_args(Where),
    "head": get_args(Where),
}
"""What may be compared, and its values where they are known beforehand."""


@dataclass(frozen=True)
class Variant:
    """One profile: the options that may be compared."""

    backend: str
    hw: str
    schedule: Schedule
    timing: Timing | None
    accounting: str
    embedding: Where
    head: Where

    @property
    def time_model(self) -> Timing:
        """The timing model: the clocked one where the simulator is the estimator."""
        return self.timing or ("cycle" if self.backend == "cycle" else "bound")

    def named(self) -> dict[str, str]:
        """What it is, under the names of the figures."""
        return {
            "backend": self.backend,
            "hardware": self.hw,
            "schedule": self.schedule,
            "timing": self.time_model,
            "accounting": self.accounting,
            "embedding": self.embedding,
            "head": self.head,
        }


def variants(setting: Mapping[str, Any], compare: Sequence[str]) -> tuple[Variant, ...]:
    """Every combination of the values in ``compare`` ("hw=loihi2,loihi1"), else of ``setting``.

    Raises :class:`UsageError` naming what is not known.
    """
    axes: dict[str, list[str]] = {}
    for text in (part for option in compare for part in option.split()):
        name, _, values = text.partition("=")
        if name not in CHOICES or not values:
            raise UsageError(
                f"--compare {text}: expected NAME=A,B with NAME one of {', '.join(CHOICES)}"
            )
        for value in values.split(","):
            known = CHOICES[name]
            if known is not None and value not in known:
                raise UsageError(f"--compare {name}={value}: expected one of {', '.join(known)}")
            axes.setdefault(name, []).append(value)
    found = [
        Variant(**{**setting, **dict(zip(axes, values, strict=True))})
        for values in product(*axes.values())
    ]
    for variant in found:
        if variant.accounting != AS_ARRIVES:
            choose(variant.accounting)
    return tuple(dict.fromkeys(found))


@dataclass
class Bench:
    """Runs once per backend, places once per hardware, times once per schedule and model.

    ``placement``  a file; None: placed by the measured activity.
    ``context``    tokens that a transformer looks back on, for accountings that compare with one.
    """

    graph: SpikingGraph
    tokens: NDArray[np.int64]
    artifact: str
    placement: str | None = None
    seed: int = 0
    context: int = 1024
    _measured: dict[str, Measured] = field(default_factory=dict, init=False)
    _hardware: dict[str, LoihiBackend] = field(default_factory=dict, init=False)
    probed: MeasuredProfile | None = field(default=None, init=False)
    _sites: dict[tuple[str, ...], Site] = field(default_factory=dict, init=False)
    _timed: dict[tuple[str, ...], tuple[Timed, Mapping[str, HardwareEvents]]] = field(
        default_factory=dict, init=False
    )

    def measure(self, name: str, backend: Backend | None, progress: Progress | None = None) -> None:
        """Run the tokens on the backend ``name``; None: the reference's integers.

        What hardware measures is measured when it is asked for, with its probes.
        """
        if isinstance(backend, LoihiBackend) and not backend.rehearse:
            self._hardware[name], backend = backend, None
        self._measured[name] = measure(self.graph, self.tokens, backend, progress)

    def figures(self, variant: Variant, progress: Progress | None = None) -> dict[str, Any]:
        """Everything there is to say about one variant, as JSON values.

        Raises :class:`CheckFailed` if the model does not fit the hardware.
        """
        if variant.backend in self._hardware:
            return self._probed(variant, progress)
        site = self._site(variant)
        timed, events = self._time(variant, site, progress)
        record = site.record(variant.backend, timed, events)
        constants = [site.profile[key] for key in record.constants]
        if variant.accounting != AS_ARRIVES:
            priced = self._priced(variant)
            record, constants = under_accounting(record, priced), list(priced.constants)
        arrivals = arrivals_of(self.graph, self._measured[variant.backend].activity)
        where = {"embedding": site.placement.embedding, "head": site.placement.head}
        return figures(record, arrivals, constants) | where

    def _probed(self, variant: Variant, progress: Progress | None) -> dict[str, Any]:
        """What the probes of the hardware said, and whether its integers were the reference's."""
        backend = self._hardware[variant.backend]
        activity = self._measured[variant.backend].activity
        plan = capacity(backend.deployment(self.graph), load_profile(variant.hw))
        found = measured_profile(backend, plan, self.tokens, PROBES, progress)
        self.probed = found
        return figures(found.record, arrivals_of(self.graph, activity), []) | {
            "embedding": "host",
            "head": plan.placement().head,
            "matches_reference": found.first_mismatch is None,
            "first_mismatch": found.first_mismatch,
            "comparison": [asdict(row) | {"ratio": row.ratio} for row in found.rows],
        }

    def _site(self, variant: Variant) -> Site:
        key = (variant.backend, variant.hw, variant.embedding, variant.head)
        if key not in self._sites:
            measured, profile = self._measured[variant.backend], load_profile(variant.hw)
            self._sites[key] = Site(measured, profile, self._placed(variant, profile))
        return self._sites[key]

    def _placed(self, variant: Variant, profile: Profile) -> Placement:
        if self.placement is not None:
            return load_placement(self.placement).check(self.graph, profile)
        return placement_of(
            self._measured[variant.backend],
            profile,
            variant.embedding,
            variant.head,
            self.seed,
            sha256_of(Path(self.artifact) / CONFIG),
        )

    def _time(
        self, variant: Variant, site: Site, progress: Progress | None
    ) -> tuple[Timed, Mapping[str, HardwareEvents]]:
        model = variant.time_model
        site_key = (variant.backend, variant.hw, variant.embedding, variant.head)
        key = (*site_key, variant.schedule, model)
        if key not in self._timed:
            self._timed[key] = site.time(variant.schedule, model, progress)
        return self._timed[key]

    def _priced(self, variant: Variant) -> Priced:
        activity = self._measured[variant.backend].activity
        return price(variant.accounting, counts_of(self.graph, activity, self.context))
