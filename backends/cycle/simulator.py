"""The simulator: integers from the reference, routes from the placement, time from a model.

Function and time are separate: the reference runs the tokens in chunks and leaves bit masks of who
had an event; each *lane* (a schedule, a timing model, an end of the assumed constants) turns masks
into the messages of its steps and times them. Memory is that of the tokens in flight and of one
step's messages.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.backends.cycle.crew import Crew
from spikegpt_neuro.backends.cycle.lane import WINDOW_STEPS, Lane
from spikegpt_neuro.backends.cycle.naming import core_names, link_names
from spikegpt_neuro.backends.cycle.result import CoreLoads, LinkLoads, Series, Simulation
from spikegpt_neuro.backends.cycle.timing.models import timing_model
from spikegpt_neuro.backends.cycle.timing.names import DEFAULT, Timing, check_timing
from spikegpt_neuro.backends.cycle.traffic.accounts import by_core
from spikegpt_neuro.backends.cycle.traffic.masks import (
    CHUNK_TOKENS,
    Chunk,
    Layout,
    Masks,
    integer_run,
    joined,
)
from spikegpt_neuro.backends.cycle.traffic.schedule import Timetable
from spikegpt_neuro.backends.cycle.traffic.step_messages import NeuronWork
from spikegpt_neuro.backends.cycle.watch import Watch
from spikegpt_neuro.energy.hardware import Accounts
from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.machine import Machine
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.hardware.topology import Topology
from spikegpt_neuro.mapping.placed_machine import End, left_out, machine_of
from spikegpt_neuro.mapping.placement import Placement
from spikegpt_neuro.mapping.routes import Routes, with_one_token_id
from spikegpt_neuro.running import Progress, Record, Run, check_tokens
from spikegpt_neuro.schedules import Schedule

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setting:
    """One way of timing a run; ``fill`` as in :class:`Timetable`."""

    schedule: Schedule = "pipelined"
    timing: Timing = DEFAULT
    end: End = "value"
    fill: bool = True


def simulate(
    graph: SpikingGraph,
    tokens: NDArray[np.int64],
    profile: Profile,
    placement: Placement,
    timing: Timing = DEFAULT,
    schedule: Schedule = "pipelined",
    *,
    end: End = "value",
    record: Record = "logits",
    progress: Progress | None = None,
) -> tuple[Run, Simulation]:
    """Run ``tokens`` (T,) on placed hardware: the reference's integers, and what time they take.

    ``end`` takes assumed constants at their value, all fastest (``low``) or all slowest
    (``high``). A KeyboardInterrupt ends the run: the result then holds the steps that were
    finished and says ``interrupted``.

    Raises
    ------
    UnsupportedInput
        The placement is of another model or hardware, or the profile lacks a constant.
    UsageError
        No timing model or schedule has this name, or there are no tokens.
    """
    setting = Setting(schedule, check_timing(timing), end)
    run, (simulation,) = simulate_all(
        graph, tokens, profile, placement, (setting,), record=record, progress=progress
    )
    return run, simulation


def simulate_all(
    graph: SpikingGraph,
    tokens: NDArray[np.int64],
    profile: Profile,
    placement: Placement,
    settings: Sequence[Setting],
    *,
    record: Record = "logits",
    progress: Progress | None = None,
) -> tuple[Run, tuple[Simulation, ...]]:
    """One run of the integers, timed in several ways; see :func:`simulate`."""
    tokens = check_tokens(graph, tokens)
    placed = PlacedGraph.of(graph, profile, placement)
    chunks = integer_run(graph, tokens, record)
    runs, simulations = time_chunks(placed, chunks, len(tokens), settings, progress)
    empty = Run(tokens[:0], np.zeros((0, graph.output.size), np.int32), graph.logit_scale, {})
    return joined(runs, empty), simulations


@dataclass(frozen=True)
class PlacedGraph:
    """A graph on its cores: all that lanes share. ``stage`` (P,) is 0 for what sends nothing."""

    layout: Layout
    profile: Profile
    placement: Placement
    weight_bits: int
    routes: Routes
    stage: NDArray[np.int64]
    accounts: Accounts

    @staticmethod
    def of(graph: SpikingGraph, profile: Profile, placement: Placement) -> PlacedGraph:
        """Raises :class:`UnsupportedInput` where the placement or the profile does not fit."""
        placement.check(graph, profile)
        machine = machine_of(profile, placement, weight_bits=graph.weight_bits)
        load = placement.workload(graph, profile)
        layout = Layout.of(graph)
        routes = placement.routes(with_one_token_id(load), profile)
        stage = load.stages
        present = set(routes.population.tolist())
        accounts = Accounts.of(graph, load, routes, machine.mesh)
        if (accounts.micro_operations * accounts.on_chip).any():
            _ = profile["latency.micro_operation"]
        return PlacedGraph(
            layout=layout,
            profile=profile,
            placement=placement,
            weight_bits=graph.weight_bits,
            routes=routes,
            stage=np.array(
                [stage.get(n, 0) if k in present else 0 for k, n in enumerate(layout.sources)],
                np.int64,
            ),
            accounts=accounts,
        )

    def machine(self, end: End) -> Machine:
        """The machine at one end of the assumed constants."""
        return machine_of(self.profile, self.placement, weight_bits=self.weight_bits, end=end)

    def lane(self, setting: Setting, tokens: int, window: int = WINDOW_STEPS) -> Lane:
        """A lane for ``tokens`` tokens."""
        machine = self.machine(setting.end)
        return Lane(
            Timetable(setting.schedule, self.stage, tokens, setting.fill),
            self.routes,
            NeuronWork.of(machine.latencies, self.accounts),
            timing_model(setting.timing, machine),
            machine,
            window,
        )

    def result(self, setting: Setting, lane: Lane, interrupted: bool) -> Simulation:
        """What a lane has found so far."""
        machine, tally = self.machine(setting.end), lane.tally
        done = slice(0, tally.steps)
        series = lane.series
        return Simulation(
            hardware=self.profile.name,
            timing=setting.timing,
            end=setting.end,
            timetable=lane.timetable,
            mesh=machine.mesh,
            chips=self.placement.chips,
            barrier=machine.latencies.barrier,
            step_seconds=lane.step_seconds[done],
            core_seconds=lane.core_seconds[done],
            link_seconds=lane.link_seconds[done],
            by_population=self.accounts.by_population(tally.events, tally.active, tally.steps),
            cores=self._cores(lane),
            links=self._links(lane, machine),
            series=Series(*(getattr(series, name)[done] for name in Series.__annotations__)),
            left_out=left_out(self.profile),
            interrupted=interrupted,
        )

    def _cores(self, lane: Lane) -> CoreLoads:
        tally = lane.tally
        return CoreLoads(
            names=core_names(self.placement),
            generating=tally.generating,
            processing=tally.processing,
            busy=tally.busy,
            stalled=tally.stalled,
            queue=tally.core_queue,
            **by_core(self.routes, tally.events),
        )

    def _links(self, lane: Lane, machine: Machine) -> LinkLoads:
        tally = lane.tally
        topology = Topology.of(self.profile, self.placement.chips)
        return LinkLoads(
            names=link_names(machine.mesh, topology),
            messages=tally.link_messages,
            occupied=machine.link_seconds(tally.link_messages),
            stalled=tally.link_stalled,
            queue=tally.link_queue,
        )


def time_chunks(
    placed: PlacedGraph,
    chunks: Iterable[Chunk],
    tokens: int,
    settings: Sequence[Setting],
    progress: Progress | None = None,
) -> tuple[list[Run], tuple[Simulation, ...]]:
    """Time ``tokens`` tokens that arrive in chunks; returns the chunks' runs and a result each."""
    if not settings:
        raise UsageError("nothing to simulate; give at least one setting")
    lanes = [placed.lane(setting, tokens) for setting in settings]
    depth = max(lane.timetable.depth for lane in lanes)
    masks = Masks(placed.layout, depth + CHUNK_TOKENS)
    watch = Watch(lanes, tokens, progress)
    runs: list[Run] = []
    interrupted = False
    try:
        with Crew() as crew:
            for chunk in chunks:
                masks.push(chunk.rows)
                if chunk.run is not None:
                    runs.append(chunk.run)
                for lane in lanes:
                    for _ in lane.advance(masks, crew):
                        watch.look()
    except KeyboardInterrupt:
        interrupted = True
        LOG.warning("interrupted: the result holds the steps that were finished")
    pairs = zip(settings, lanes, strict=True)
    return runs, tuple(placed.result(s, lane, interrupted) for s, lane in pairs)
