"""What ``report`` gathers: one run, placed, timed in both schedules, scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro import api
from spikegpt_neuro.backends.cycle.timing.names import Timing
from spikegpt_neuro.cli.common import Output
from spikegpt_neuro.cli.profiling import Measured, Site, mapped_of, measure
from spikegpt_neuro.energy.record import Estimate
from spikegpt_neuro.evaluation import evaluate
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.mapping.mapper import Mapped
from spikegpt_neuro.mapping.requirements import Where
from spikegpt_neuro.model.spikegpt import Compat
from spikegpt_neuro.report.content import Material, Score
from spikegpt_neuro.report.model import RASTER_TOKENS
from spikegpt_neuro.running import Backend
from spikegpt_neuro.schedules import Schedule

SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)


@dataclass(frozen=True)
class Hardware:
    """Where the model is placed, and how its time is found."""

    profile: Profile
    embedding: Where
    head: Where
    seed: int
    timing: Timing


@dataclass(frozen=True)
class Origin:
    """What the page says about how it came to be."""

    title: str
    text: str
    command: str
    context: int


def gather(
    out: Output,
    graph: SpikingGraph,
    tokens: NDArray[np.int64],
    backend: tuple[str, Backend | None],
    hardware: Hardware,
    against: str | None,
    origin: Origin,
) -> Material:
    """Run, place, time and score; ``backend`` is a name and None for the reference's integers.

    Raises :class:`CheckFailed` naming the first limit of the hardware that does not hold.
    """
    score = _score(out, graph, tokens, against)
    with out.progress(f"measuring activity on {backend[0]}") as progress:
        measured = measure(graph, tokens, backend[1], progress)
    mapped = mapped_of(measured, hardware.profile, hardware.embedding, hardware.head, hardware.seed)
    return Material(
        title=origin.title,
        graph=graph,
        text=origin.text,
        run=api.run(graph, tokens[:RASTER_TOKENS], record="spikes"),
        activity=measured.activity,
        score=score,
        profile=hardware.profile,
        mapped=mapped,
        estimates=_estimates(out, backend[0], measured, mapped, hardware),
        context=origin.context,
        command=origin.command,
    )


def _score(
    out: Output, graph: SpikingGraph, tokens: NDArray[np.int64], against: str | None
) -> Score:
    # The float model speaks the semantics that the graph was converted with.
    compat: Compat = "upstream-run" if graph.shape.rescale_every else "training"
    floating = api.float_model(against, compat=compat) if against else None
    with out.progress("evaluating") as progress:
        found = evaluate(graph, tokens, against=floating, progress=progress)
    return Score(found, floating.model.provenance.file if floating else None)


def _estimates(
    out: Output, backend: str, measured: Measured, mapped: Mapped, hardware: Hardware
) -> tuple[Estimate, ...]:
    """One record per schedule."""
    site = Site(measured, hardware.profile, mapped.placement)
    found = []
    for schedule in SCHEDULES:
        with out.progress(f"timing, {schedule}") as progress:
            timed, events = site.time(schedule, hardware.timing, progress)
        found.append(site.record(backend, timed, events))
    return tuple(found)
