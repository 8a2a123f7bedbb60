"""From a run to records: one measurement of activity, priced on as many settings as asked for.

This is where backends and energy meet: a backend gives events, the cycle-level simulator gives
time, and :mod:`spikegpt_neuro.energy.estimators` makes a record of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.backends.cycle.result import Simulation
from spikegpt_neuro.backends.cycle.simulator import PlacedGraph, Setting, time_chunks
from spikegpt_neuro.backends.cycle.timing.names import Timing
from spikegpt_neuro.backends.cycle.traffic.masks import Chunk, Layout, integer_run
from spikegpt_neuro.energy.activity import Activity, Tally
from spikegpt_neuro.energy.estimators import Timed, estimate
from spikegpt_neuro.energy.events import HardwareEvents
from spikegpt_neuro.energy.hardware import hardware_events
from spikegpt_neuro.energy.pricing import Time, price, time_constants
from spikegpt_neuro.energy.record import Estimate, Range, added
from spikegpt_neuro.errors import UnsupportedInput, UsageError
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.mapping.goal import Goal
from spikegpt_neuro.mapping.mapper import Mapped, place_by_activity
from spikegpt_neuro.mapping.placed_machine import NUDGE, End
from spikegpt_neuro.mapping.placement import Placement
from spikegpt_neuro.mapping.requirements import Where
from spikegpt_neuro.mapping.traffic import Rates
from spikegpt_neuro.running import Backend, Progress, Run
from spikegpt_neuro.schedules import Schedule

ENDS: tuple[End, ...] = ("value", "low", "high", "nudged")


@dataclass(frozen=True)
class Measured:
    """A run's activity, and a bit for every neuron and token: who had an event."""

    graph: SpikingGraph
    activity: Activity
    chunks: tuple[Chunk, ...]


def measure(
    graph: SpikingGraph,
    tokens: NDArray[np.int64],
    backend: Backend | None = None,
    progress: Progress | None = None,
) -> Measured:
    """Run ``tokens`` and count.

    Without a backend the reference's integers run chunk by chunk, so that no more than a bit for
    each neuron and token stays in memory.
    """
    tally, chunks, done = Tally(graph), [], 0
    for chunk, run in _chunks(graph, tokens, backend, progress):
        for name, events in run.events.items():
            tally.see(name, events)
        tally.see(graph.output.name, run.logits_int)
        chunks.append(chunk)
        done += len(run.tokens)
        if progress is not None:
            progress(done, len(tokens))
    return Measured(graph, tally.activity(), tuple(chunks))


def _chunks(
    graph: SpikingGraph,
    tokens: NDArray[np.int64],
    backend: Backend | None,
    progress: Progress | None,
) -> Iterator[tuple[Chunk, Run]]:
    if backend is None:
        for chunk in integer_run(graph, tokens, "events"):
            assert chunk.run is not None
            yield Chunk(chunk.rows, None), chunk.run
        return
    run = backend.run(graph, tokens, record="events", progress=progress)
    layout = Layout.of(graph)
    rows = layout.empty(len(tokens))
    for name, events in (*run.events.items(), (graph.output.name, run.logits_int)):
        layout.write(rows, name, events)
    yield Chunk(rows, None), run


def mapped_of(
    graph: SpikingGraph,
    measured: Callable[[], Measured],
    profile: Profile,
    goal: Goal,
    embedding: Where,
    head: Where,
    seed: int,
    artifact: str | None = None,
) -> Mapped:
    """Place the graph by the measured activity, which is asked for where it can be placed.

    Raises :class:`DoesNotFit` naming the first limit that does not hold.
    """

    def rates() -> Rates:
        activity = measured().activity
        return {name: counts / activity.tokens for name, counts in activity.per_neuron.items()}

    return place_by_activity(
        graph,
        profile,
        rates,
        goal=goal,
        embedding=embedding,
        head=head,
        seed=seed,
        artifact=artifact,
    )


def joules_of(measured: Measured, profile: Profile, found: Mapped) -> dict[str, float] | None:
    """Schedule -> joules per token, in the predicted time; None where none is predicted."""
    if found.prediction is None:
        return None
    tokens, placement = measured.activity.tokens, found.placement
    joules = {}
    for schedule, seconds in found.prediction.seconds.items():
        steps = tokens * (found.prediction.steps if schedule == "fall-through" else 1)
        events = hardware_events(measured.graph, measured.activity, profile, placement, steps)
        time = Time(Range.exactly(seconds * tokens))
        joules[schedule] = added(price(events, time, placement.chips, profile).joules.values())
    return {schedule: total.value / tokens for schedule, total in joules.items()}


CONFIRMED_TOKENS = 2


def confirm(measured: Measured, profile: Profile, found: Mapped) -> float | None:
    """Seconds per token by the clocked simulation, of a few tokens; None where it cannot be."""
    schedule = Goal(found.placement.objective, found.placement.schedule).timed
    site = Site(measured, profile, found.placement)
    try:
        setting = Setting(schedule, "cycle", fill=schedule == "fall-through")
        tokens = CONFIRMED_TOKENS
        if schedule == "pipelined":
            tokens += int(site.placed.stage.max())
        if tokens > measured.activity.tokens:
            return None
        _, (simulated,) = time_chunks(site.placed, measured.chunks, tokens, [setting])
    except (UnsupportedInput, UsageError):  # constants are missing, or parts of cores add up
        return None
    return simulated.seconds_per_token


@dataclass(frozen=True)
class Site:
    """A measured run on placed hardware."""

    measured: Measured
    profile: Profile
    placement: Placement

    @cached_property
    def placed(self) -> PlacedGraph:
        """What all timings share."""
        return PlacedGraph.of(self.measured.graph, self.profile, self.placement)

    def time(
        self, schedule: Schedule, timing: Timing, progress: Progress | None = None
    ) -> tuple[Timed, Mapping[str, HardwareEvents]]:
        """Time the run at both ends of its constants, and count what happened.

        Once more with assumed times a little longer, which tells how much of it rests on them.
        """
        settings = [Setting(schedule, timing, end) for end in ENDS]
        measured = self.measured
        tokens = measured.activity.tokens
        _, found = time_chunks(self.placed, measured.chunks, tokens, settings, progress)
        if any(simulation.interrupted for simulation in found):
            raise KeyboardInterrupt
        constants = time_constants(self.profile, self.placement.chips)
        return timed_of(found, tokens, constants), found[0].by_population

    def record(
        self,
        estimator: str,
        timed: Timed,
        events: Mapping[str, HardwareEvents] | None = None,
    ) -> Estimate:
        """The record, priced by ``events`` that a simulation counted; None: worked out here."""
        measured = self.measured
        return estimate(
            estimator,
            measured.graph,
            measured.activity,
            self.profile,
            self.placement,
            timed,
            events,
        )


def timed_of(simulations: Sequence[Simulation], tokens: int, constants: tuple[str, ...]) -> Timed:
    """Steady state and filling of a run simulated at value, low, high and nudged."""
    *simulations, nudged = simulations
    first = simulations[0]
    pipelined, steady = first.schedule == "pipelined", first.is_steady
    steady_seconds = [(s.seconds_per_token or 0.0) * tokens for s in simulations]
    # Tokens at the ends of a text may be lighter than those between.
    filling = [max(0.0, s.seconds - t) for s, t in zip(simulations, steady_seconds, strict=True)]
    fills = pipelined and steady
    return Timed(
        schedule=first.schedule,
        timing=first.timing,
        steps=tokens if fills else first.steps,
        seconds=_range(steady_seconds),
        constants=constants,
        filling_steps=first.depth if fills else 0,
        filling_seconds=_range(filling) if fills else Range(),
        is_steady=steady,
        assumed=_assumed(first.seconds_per_token, nudged.seconds_per_token),
        left_out=first.left_out,
    )


def _assumed(seconds: float | None, nudged: float | None) -> float | None:
    """The share of the time that moves with assumed constants."""
    if not seconds or not nudged:
        return None
    return min(1.0, max(0.0, (nudged / seconds - 1) / (NUDGE - 1)))


def _range(values: Sequence[float]) -> Range:
    """Value first, then the ends: a faster part may hold up another one."""
    return Range(values[0], min(values), max(values))
