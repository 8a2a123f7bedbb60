"""One way of timing a run: step after step as tokens come in, totals kept, few steps in detail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.backends.cycle.crew import Crew
from spikegpt_neuro.backends.cycle.result import Series
from spikegpt_neuro.backends.cycle.timed_steps import TimedSteps, timer
from spikegpt_neuro.backends.cycle.timing.model import TimingModel
from spikegpt_neuro.backends.cycle.traffic.accounts import sent_by_core
from spikegpt_neuro.backends.cycle.traffic.masks import Masks
from spikegpt_neuro.backends.cycle.traffic.schedule import IDLE, Timetable
from spikegpt_neuro.backends.cycle.traffic.step_messages import NeuronWork
from spikegpt_neuro.hardware.machine import Machine
from spikegpt_neuro.mapping.routes import Routes

Seconds = NDArray[np.float64]
Indices = NDArray[np.int64]

WINDOW_STEPS = 512
"""Steps that are kept one by one: 25 MB for 1,500 cores on 12 chips."""
ONE_BY_ONE = sorted(set(Series.__annotations__) - {"sent"})
"""What of a timing is kept so; messages sent are counted from the events."""


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

    def plus(self, active: NDArray[np.bool_], found: TimedSteps) -> Totals:
        """Some steps further, in which the sources ``active`` (B, P) were at work."""
        step = found.timing
        return Totals(
            steps=self.steps + len(active),
            events=self.events + found.events.sum(axis=0),
            active=self.active + active.sum(axis=0),
            generating=_added(self.generating, step.generating),
            processing=_added(self.processing, step.processing),
            busy=_added(self.busy, step.busy),
            stalled=_added(self.stalled, step.stalled),
            core_queue=np.maximum(self.core_queue, step.core_queue.max(axis=0)),
            link_messages=self.link_messages + step.link_messages.sum(axis=0),
            link_stalled=_added(self.link_stalled, step.link_stalled),
            link_queue=np.maximum(self.link_queue, step.link_queue.max(axis=0)),
        )


def _added(total: Seconds, steps: Seconds) -> Seconds:
    """``total`` and one step after another: the same however many come at once."""
    found: Seconds = np.add.accumulate(np.concatenate([total[None], steps]), axis=0)[-1]
    return found


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
        self._routes, self._machine = routes, machine
        self._timer = timer(routes, work, model, machine)
        cores, links, steps = routes.cores, machine.mesh.links, len(timetable.steps)
        self.tally = Totals.start(len(routes.start), len(routes.sources), cores, links)
        self.step_seconds, self.core_seconds, self.link_seconds = np.zeros((3, steps))
        window = min(window, steps)
        self.series = Series(
            *(np.zeros((window, cores), np.float32) for _ in range(5)),
            *(np.zeros((window, links), np.float32) for _ in range(3)),
        )

    def advance(self, masks: Masks, crew: Crew) -> Iterator[None]:
        """Simulate every step that needs no more tokens than ``masks`` has; stops now and then.

        A barrier lies between steps, so that several can be timed at once. They count in order.
        """
        timetable, most = self.timetable, self._timer.most
        ready = range(timetable.steps.start + self.tally.steps, timetable.ready(masks.tokens))
        blocks = [timetable.tokens_at(ready[k : k + most]) for k in range(0, len(ready), most)]
        timed = crew.each(lambda at: self._timer.time(masks, at), blocks, self._timer.at_once)
        for at, found in zip(blocks, timed, strict=True):
            tally = self.tally.plus(at != IDLE, found)
            self._note(slice(self.tally.steps, tally.steps), found)
            self.tally = tally
            yield

    def _note(self, rows: slice, found: TimedSteps) -> None:
        step = found.timing
        self.step_seconds[rows] = step.seconds
        self.core_seconds[rows] = step.busy.max(axis=1)
        self.link_seconds[rows] = self._machine.link_seconds(step.link_messages).max(axis=1)
        kept = max(0, min(rows.stop, self.series.steps) - rows.start)
        if not kept:
            return
        rows, series = slice(rows.start, rows.start + kept), self.series
        for name in ONE_BY_ONE:
            getattr(series, name)[rows] = getattr(step, name)[:kept]
        series.sent[rows] = sent_by_core(self._routes, found.events[:kept])

    @property
    def steady_steps(self) -> Seconds:
        """Seconds of the steady steps so far."""
        begin = self.timetable.steady.start - self.timetable.steps.start
        return self.step_seconds[max(0, begin) : self.tally.steps]
