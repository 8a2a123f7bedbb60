"""Progress of a simulation, and what to expect of a long one."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from spikegpt_neuro.backends.cycle.lane import Lane
from spikegpt_neuro.running import Progress

LOG = logging.getLogger(__name__)
LONG_RUN_SECONDS = 10.0
"""A run that is expected to go on for longer says so once."""
SAMPLE_STEPS = 8
"""Steps of a full pipeline after which their mean says something."""


class Watch:
    """Tells how far the lanes are, and once on a long run what to expect."""

    def __init__(self, lanes: Sequence[Lane], tokens: int, progress: Progress | None) -> None:
        self._lanes, self._tokens, self._progress = lanes, tokens, progress
        self._steps = sum(len(lane.timetable.steps) for lane in lanes)
        self._reported = -1
        self._sampled: tuple[float, int] | None = None
        self._told = False

    def look(self) -> None:
        """After each step."""
        done = sum(lane.tally.steps for lane in self._lanes)
        tokens = self._tokens * done // self._steps
        if self._progress is not None and tokens > self._reported:
            self._reported = tokens
            self._progress(tokens, self._tokens)
        if not self._told:
            self._sample(time.perf_counter(), done)

    def _sample(self, now: float, done: int) -> None:
        """Time some steady steps of the first lane: those of a filling pipeline are quick."""
        lane = self._lanes[0]
        pipelined = lane.timetable.schedule == "pipelined"
        steps_of_a_token = 1 if pipelined else lane.timetable.depth + 1
        steady = lane.steady_steps
        if self._sampled is None:
            self._sampled = (now, done) if len(steady) else None
        elif len(steady) > max(SAMPLE_STEPS, steps_of_a_token):
            self._told = True
            since, before = self._sampled
            left = (now - since) / (done - before) * (self._steps - done)
            if left > LONG_RUN_SECONDS:
                LOG.info(
                    "about %.0f s to go for %d tokens; the hardware makes about %.4g tokens/s (%s)",
                    left,
                    self._tokens,
                    1.0 / (float(steady.mean()) * steps_of_a_token),
                    lane.timetable.schedule,
                )
