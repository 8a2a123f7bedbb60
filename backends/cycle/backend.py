"""The cycle-level simulator behind the common interface: the reference's integers, and time."""

from __future__ import annotations

import logging
import time
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.backends.cycle.congestion import draw_congestion
from spikegpt_neuro.backends.cycle.result import Simulation
from spikegpt_neuro.backends.cycle.simulator import simulate
from spikegpt_neuro.backends.cycle.timing.names import DEFAULT, check_timing
from spikegpt_neuro.backends.cycle.trace import write_trace
from spikegpt_neuro.backends.reference.backend import ReferenceBackend
from spikegpt_neuro.files import check_output_file, write_atomically
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.profile import Profile, load_profile
from spikegpt_neuro.mapping.mapper import measured_rates, place_by_activity
from spikegpt_neuro.mapping.placement import Placement, load_placement
from spikegpt_neuro.mapping.traffic import Rates
from spikegpt_neuro.running import Progress, Record, Run, Session, check_tokens
from spikegpt_neuro.schedules import Schedule, check_schedule

LOG = logging.getLogger(__name__)
ACTIVITY_TOKENS = 128


class CycleBackend:
    """Runs a graph as the reference does, and simulates the time on placed hardware.

    ``hw``         a hardware profile: its name, the path of a file, or a :class:`Profile`.
    ``timing``     ``bound``, ``simple``, ``detailed``, ``cycle``, or one that is registered.
    ``schedule``   ``pipelined`` or ``fall-through``.
    ``placement``  a saved placement (a file), or a :class:`Placement`; None places the graph
                   by its activity on the first tokens.
    ``trace``, ``svg``  files to write after each run: a trace, and a picture of congestion.

    ``simulation`` is what the last run found; None before.
    """

    name = "cycle"

    def __init__(
        self,
        hw: str | Path | Profile = "loihi2",
        timing: str = DEFAULT,
        schedule: Schedule = "pipelined",
        placement: str | Path | Placement | None = None,
        trace: str | Path | None = None,
        svg: str | Path | None = None,
    ) -> None:
        self.timing = check_timing(timing)
        self.schedule = check_schedule(schedule)
        self.profile = hw if isinstance(hw, Profile) else load_profile(hw)
        self._given = placement
        self._trace, self._svg = (None if f is None else Path(f) for f in (trace, svg))
        for file in filter(None, (self._trace, self._svg)):
            check_output_file(file, force=True)
        self.simulation: Simulation | None = None

    def run(
        self,
        graph: SpikingGraph,
        tokens: NDArray[np.int64],
        *,
        record: Record = "spikes",
        progress: Progress | None = None,
    ) -> Run:
        """Run ``tokens``; the result is the reference's, :attr:`simulation` holds the time.

        ``seconds`` are those of the integers and of their simulation, ``startup_seconds`` those of
        placing. A KeyboardInterrupt ends it early: the run then holds the tokens that were
        computed.
        """
        begin = time.perf_counter()
        tokens = check_tokens(graph, tokens)
        placement = self.placement_of(graph, tokens)
        placed = time.perf_counter()
        run, self.simulation = simulate(
            graph,
            tokens,
            self.profile,
            placement,
            self.timing,
            self.schedule,
            record=record,
            progress=progress,
        )
        simulated = time.perf_counter()
        if self._trace is not None:
            write_trace(self._trace, self.simulation)
        if self._svg is not None:
            title = f"Congestion on {self.profile.name}"
            picture = draw_congestion(self.simulation, self.profile, placement, title)
            write_atomically(self._svg, picture)
        return replace(
            run,
            seconds=simulated - placed,
            startup_seconds=placed - begin,
            simulation=self.simulation,
        )

    def session(self, graph: SpikingGraph) -> AbstractContextManager[Session]:
        """Token mode, for generation: the reference's, without time."""
        return ReferenceBackend().session(graph)

    def placement_of(self, graph: SpikingGraph, tokens: NDArray[np.int64]) -> Placement:
        """The given placement, or one that is made here.

        Raises :class:`DoesNotFit` naming the limits that do not hold, and
        :class:`UnsupportedInput` where the given one is not of this graph and hardware.
        """
        if self._given is not None:
            given = self._given
            placement = given if isinstance(given, Placement) else load_placement(given)
            return placement.check(graph, self.profile)
        LOG.info("placing the graph on %s; placement=... takes a saved one", self.profile.name)

        def measure() -> Rates:
            run = ReferenceBackend().run(graph, tokens[:ACTIVITY_TOKENS], record="events")
            return measured_rates(graph, run)

        return place_by_activity(graph, self.profile, measure).placement
