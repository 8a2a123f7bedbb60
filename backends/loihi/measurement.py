"""A measured run: one run on hardware for each probe, and one record of what they said."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.backends.loihi.backend import LoihiBackend
from spikegpt_neuro.backends.loihi.capacity import Capacity
from spikegpt_neuro.backends.loihi.job import PROBES, Probe
from spikegpt_neuro.backends.loihi.probes import COUNTERS, POWERS
from spikegpt_neuro.energy.record import Estimate, Range
from spikegpt_neuro.errors import CheckFailed
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.running import Progress, Run

LOG = logging.getLogger(__name__)
NEEDED: tuple[Probe, ...] = ("time", "energy")
"""No record can do without them."""
Raw = Mapping[str, Mapping[str, Any]]
"""Probe -> what it said."""


@dataclass(frozen=True)
class Measurement:
    """``runs``: one per probe, all of the same tokens, with the logits only.

    ``not_run``  probes that an interrupt left out.
    """

    raw: Raw
    runs: tuple[Run, ...]
    not_run: tuple[Probe, ...] = ()


def measure(
    backend: LoihiBackend,
    graph: SpikingGraph,
    tokens: NDArray[np.int64],
    probes: Sequence[Probe] = PROBES,
    progress: Progress | None = None,
) -> Measurement:
    """Run ``tokens`` once for each probe, each run in a process of its own.

    Interrupted, it gives what was measured so far if a record can be made of that.
    """
    raw: dict[str, Mapping[str, Any]] = {}
    runs: list[Run] = []
    for index, probe in enumerate(probes):
        if progress is not None:
            progress(index, len(probes))
        try:
            run, values = backend.measure(graph, tokens, probe)
        except KeyboardInterrupt:
            if not set(NEEDED) <= raw.keys():
                raise
            not_run = tuple(probes[index:])
            LOG.warning("interrupted: the record lacks the probes %s", ", ".join(not_run))
            return Measurement(raw, tuple(runs), not_run)
        raw[probe] = values
        runs.append(run)
    return Measurement(raw, tuple(runs))


def record(measured: Measurement, plan: Capacity, backend: LoihiBackend, exact: bool) -> Estimate:
    """What was measured, in the record of all estimators.

    The probes tell static from dynamic energy, not what the dynamic part was spent on: that is
    ``undivided``. Figures are of the whole run, the filling of the pipeline included.
    ``exact``: whether every run gave the reference's logits.

    Raises :class:`CheckFailed` where the figures contradict each other.
    """
    time, energy = measured.raw["time"], measured.raw["energy"]
    seconds = float(np.sum(time["execution_time"]))
    total, static = (float(np.sum(energy[key])) for key in ("energy", "static_energy"))
    if seconds <= 0 or not 0 <= static <= total:
        raise CheckFailed(
            f"measured figures contradict each other: {total:g} J in all, {static:g} J static, "
            f"{seconds:g} s; run more tokens"
        )
    return Estimate(
        estimator="loihi",
        accounting="measured",
        hardware=plan.profile.name,
        tokens=len(measured.runs[0].tokens),
        joules={"static": Range.exactly(static)},
        seconds=Range.exactly(seconds),
        chips=plan.chips,
        cores=plan.cores,
        schedule="pipelined",
        timing="measured",
        steps=int(time["steps"]),
        is_steady=False,
        undivided=Range.exactly(total - static),
        by_kind={"measured": total},
        not_modelled=(
            "the host's own work, and everything of the graph that runs there",
            "chips and cores are the mapper's; Lava's compiler places in its own way",
        ),
        is_measured=True,
        raw={
            **measured.raw,
            "watts": watts(energy),
            "counts": counts(measured.raw),
            "deployment": asdict(backend.settings()),
            "matches_reference": exact,
            "not_run": list(measured.not_run),
        },
    )


def watts(energy: Mapping[str, Any]) -> dict[str, float]:
    """Mean power: in all, and by rail (and static and dynamic) where the profiler told."""
    names = ("power", *(name for name in POWERS if name in energy))
    return {name: float(np.mean(energy[name])) for name in names}


def counts(raw: Raw) -> dict[str, int]:
    """Activity counters, added up over cores and time; none without an activity run."""
    activity = raw.get("activity", {})
    return {name: round(float(np.sum(activity[name]))) for name in COUNTERS if name in activity}
