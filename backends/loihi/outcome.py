"""What a rehearsal or a measured run comes to: figures, and the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.backends.loihi.access import require_extension
from spikegpt_neuro.backends.loihi.backend import LoihiBackend
from spikegpt_neuro.backends.loihi.capacity import Capacity, capacity
from spikegpt_neuro.backends.loihi.comparison import ComparedQuantity, compare
from spikegpt_neuro.backends.loihi.job import PROBES, Probe
from spikegpt_neuro.backends.loihi.measurement import NEEDED, measure, record
from spikegpt_neuro.backends.reference.backend import ReferenceBackend
from spikegpt_neuro.energy.record import Estimate
from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.mapping.requirements import Where
from spikegpt_neuro.running import Progress, first_mismatch


@dataclass(frozen=True)
class MeasuredProfile:
    """``rows``: measured beside estimated; ``figures``: the main ones, by name.

    ``head``  where the logits were made. ``is_cut_short``: an interrupt left out some probes.
    """

    record: Estimate
    rows: Sequence[ComparedQuantity]
    first_mismatch: str | None
    head: Where
    is_cut_short: bool = False

    @property
    def figures(self) -> Mapping[str, Any]:
        found, tokens = self.record, self.record.tokens
        return {
            "backend": "loihi",
            "hardware": found.hardware,
            "tokens": tokens,
            "steps": found.steps,
            "seconds_per_token": found.seconds.value / tokens,
            "tokens_per_second": tokens / found.seconds.value,
            "joules_per_token": found.total.value / tokens,
            "static_joules_per_token": found.joules["static"].value / tokens,
            "dynamic_joules_per_token": found.undivided.value / tokens,
            "watts": found.raw["watts"],
            "counts": found.raw["counts"],
            "chips": found.chips,
            "cores": found.cores,
            "matches_reference": self.first_mismatch is None,
            "first_mismatch": self.first_mismatch,
        }


def measured_profile(
    backend: LoihiBackend,
    plan: Capacity,
    tokens: NDArray[np.int64],
    probes: Sequence[Probe],
    progress: Progress | None = None,
) -> MeasuredProfile:
    """Measure, compare every logit with the reference, and price the same run beside it."""
    if missing := [probe for probe in NEEDED if probe not in probes]:
        raise UsageError(f"a measured run needs the probes time and energy, not given: {missing}")
    graph = plan.deployment.graph
    measured = measure(backend, graph, tokens, probes, progress)
    reference = ReferenceBackend().run(graph, tokens, record="events")
    mismatches = (first_mismatch(graph, run, reference) for run in measured.runs)
    first = next((found for found in mismatches if found is not None), None)
    found = record(measured, plan, backend, first is None)
    return MeasuredProfile(
        found,
        compare(found, plan, reference),
        first,
        plan.placement().head,
        is_cut_short=bool(measured.not_run),
    )


def check_ready(options: Mapping[str, Any]) -> None:
    """Raise :class:`MissingBackend` where a measured run was asked for and cannot be here."""
    if not options.get("rehearse") and options.get("lava_python") is None:
        require_extension()


def is_measured(backend: LoihiBackend) -> bool:
    """True where what runs is the chip."""
    return not backend.rehearse


def measured_run(
    backend: LoihiBackend,
    graph: SpikingGraph,
    tokens: NDArray[np.int64],
    profile: Profile,
    progress: Progress | None = None,
) -> MeasuredProfile:
    """:func:`measured_profile` with all probes, of the deployment that ``backend`` asks for."""
    plan = capacity(backend.deployment(graph), profile)
    return measured_profile(backend, plan, tokens, PROBES, progress)


def rehearsal(
    backend: LoihiBackend,
    graph: SpikingGraph,
    tokens: NDArray[np.int64],
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run on the CPU and compare every event and logit with the reference."""
    run = backend.run(graph, tokens, record="events", progress=progress)
    reference = ReferenceBackend().run(graph, tokens, record="events")
    mismatch = first_mismatch(graph, run, reference)
    return {
        "backend": "loihi",
        "rehearse": True,
        "tokens": len(tokens),
        "seconds": run.seconds,
        "startup_seconds": run.startup_seconds,
        "matches_reference": mismatch is None,
        "first_mismatch": mismatch,
    }
