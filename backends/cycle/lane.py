"""One way of timing a run: step after step as tokens come in, totals kept, few steps in detail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.backends.cycle.crew import Crew
from spikegpt_neuro.backends.cycle.result import Series
from spikegpt_neuro.backends.cycle.timing.model import StepTiming, TimingModel
from spikegpt_neuro.backends.cycle.traffic.masks import Masks
from spikegpt_neuro.backends.cycle.traffic.messages import StepMessages
from spikegpt_neuro.backends.cycle.traffic.schedule import Timetable
from spikegpt_neuro.backends.cycle.traffic.step_messages import NeuronWork, messages_of, reach_of
from spikegpt_neuro.hardware.machine import Machine
from spikegpt_neuro.mapping.routes import Routes

Seconds = NDArray[np.float64]
Indices = NDArray[np.int64]

WINDOW_STEPS = 512
"""Steps that are kept one by one: 25 MB for 1,500 cores on 12 chips."""


@dataclass(frozen=True)
class Totals:
    """Sums over the steps so far: of segments (S,), sources (P,), cores (C,) and links (L,).

    Each step makes a new one, so that an interrupt leaves the last finished step's.
    """

    steps: int
    events: Indices
    active: Indices
    generating: Seconds
    processing: Seconds
    busy: Seconds
    stalled: Seconds
    core_queue: NDArray[np.int32]
    link_messages: Indices
    link_stalled: Seconds
    link_queue: NDArray[np.int32]

    @staticmethod
    def start(segments: int, sources: int, cores: int, links: int) -> Totals:
        """Nothing has happened yet."""
        return Totals(
            steps=0,
            events=np.zeros(segments, np.int64),
            active=np.zeros(sources, np.int64),
            generating=np.zeros(cores),
            processing=np.zeros(cores),
            busy=np.zeros(cores),
            stalled=np.zeros(cores),
            core_queue=np.zeros(cores, np.int32),
            link_messages=np.zeros(links, np.int64),
            link_stalled=np.zeros(links),
            link_queue=np.zeros(links, np.int32),
        )

    def plus(self, events: Indices, active: NDArray[np.bool_], step: StepTiming) -> Totals:
        """One step further."""
        return Totals(
            steps=self.steps + 1,
            events=self.events + events,
            active=self.active + active,
            generating=self.generating + step.generating,
            processing=self.processing + step.processing,
            busy=self.busy + np.maximum(step.generating, step.processing),
            stalled=self.stalled + step.stalled,
            core_queue=np.maximum(self.core_queue, step.core_queue),
            link_messages=self.link_messages + step.link_messages,
            link_stalled=self.link_stalled + step.link_stalled,
            link_queue=np.maximum(self.link_queue, step.link_queue),
        )


class TimedStep(NamedTuple):
    """What a lane adds to its totals: which populations were ``active`` (P,), ``events`` (S,)."""

    messages: StepMessages
    events: Indices
    active: NDArray[np.bool_]
    timing: StepTiming


class Lane:
    """Times the steps of one timetable with one model.

    ``tally``, ``step_seconds``, ``core_seconds``, ``link_seconds`` and ``series`` hold what is
    finished; entries of the arrays from ``tally.steps`` on have no meaning.
    """

    def __init__(
        self,
        timetable: Timetable,
        routes: Routes,
        work: NeuronWork,
        model: TimingModel,
        machine: Machine,
        window: int = WINDOW_STEPS,
    ) -> None:
        self.timetable = timetable
        self._routes, self._work, self._model, self._machine = routes, work, model, machine
        self._reach = reach_of(routes)
        cores, links, steps = routes.cores, machine.mesh.links, len(timetable.steps)
        self.tally = Totals.start(len(routes.start), len(routes.sources), cores, links)
        self.step_seconds, self.core_seconds, self.link_seconds = np.zeros((3, steps))
        window = min(window, steps)
        self.series = Series(
            *(np.zeros((window, cores), np.float32) for _ in range(5)),
            *(np.zeros((window, links), np.float32) for _ in range(3)),
        )

    def advance(self, masks: Masks, crew: Crew) -> Iterator[None]:
        """Simulate every step that needs no more tokens than ``masks`` has; stops after each.

        A barrier lies between steps, so that several can be timed at once. They count in order.
        """
        ready = range(self.tally.steps, self._ready(masks.tokens))
        at_once = getattr(self._model, "at_once", False)
        steps = crew.each(lambda row: self._time(row, masks), ready, at_once)
        for row, step in zip(ready, steps, strict=True):
            tally = self.tally.plus(step.events, step.active, step.timing)
            self._note(row, step.messages, step.timing)
            self.tally = tally
            yield

    def _ready(self, tokens: int) -> int:
        """How many of all steps ``tokens`` tokens are enough for."""
        steps, done = self.timetable.steps, self.tally.steps
        while done < len(steps) and self.timetable.newest(steps[done]) < tokens:
            done += 1
        return done

    def _time(self, row: int, masks: Masks) -> TimedStep:
        at = self.timetable.tokens_at(self.timetable.steps[row])
        messages, events = messages_of(self._routes, self._reach, self._work, masks, at)
        return TimedStep(messages, events, at >= 0, self._model.step(messages))

    def _note(self, row: int, messages: StepMessages, timing: StepTiming) -> None:
        self.step_seconds[row] = timing.seconds
        self.core_seconds[row] = max(timing.generating.max(), timing.processing.max())
        self.link_seconds[row] = self._machine.link_seconds(timing.link_messages).max()
        if row >= self.series.steps:
            return
        series = self.series
        series.generating[row] = timing.generating
        series.processing[row] = timing.processing
        series.stalled[row] = timing.stalled
        series.core_queue[row] = timing.core_queue
        series.sent[row] = messages.sent
        series.link_messages[row] = timing.link_messages
        series.link_stalled[row] = timing.link_stalled
        series.link_queue[row] = timing.link_queue

    @property
    def steady_steps(self) -> Seconds:
        """Seconds of the steady steps so far."""
        begin = self.timetable.steady.start - self.timetable.steps.start
        return self.step_seconds[max(0, begin) : self.tally.steps]
