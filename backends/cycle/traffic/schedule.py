r"""Schedules: which token every population works on at a time step.

With the stage S(p) of every population (:mod:`spikegpt_neuro.graph.pipeline`, counted as on a
chip) and the depth D, the largest of them:

*pipelined*: a token enters at every step; p works at step s on token s - S(p). T tokens take T + D
steps; a step's time is what one token takes once the pipeline is full.

*fall-through*: one token passes all stages before the next one enters; p works at step s on token
s // (D + 1) if its stage is s mod (D + 1). T tokens take T (D + 1) steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.schedules import Schedule, check_schedule

IDLE = -1


@dataclass(frozen=True)
class Timetable:
    """A schedule of ``tokens`` tokens through populations of ``stage`` (P,).

    ``fill``: False leaves out the steps in which a pipeline fills and drains, so that only
    those count in which every population has a token.
    """

    schedule: Schedule
    stage: NDArray[np.int64]
    tokens: int
    fill: bool = True

    def __post_init__(self) -> None:
        check_schedule(self.schedule)
        if not self.fill and self.schedule == "pipelined" and self.tokens <= self.depth:
            raise UsageError(
                f"{self.tokens} tokens never fill a pipeline of depth {self.depth}; "
                f"give more than {self.depth}"
            )

    @cached_property
    def depth(self) -> int:
        return int(self.stage.max(initial=0))

    @property
    def steps(self) -> range:
        """The steps that are simulated."""
        if self.schedule == "fall-through":
            return range(self.tokens * (self.depth + 1))
        return range(self.tokens + self.depth) if self.fill else range(self.depth, self.tokens)

    @property
    def steady(self) -> range:
        """The steps whose mean tells the throughput: all populations at work, or whole tokens."""
        if self.schedule == "fall-through":
            return self.steps
        return range(self.depth, max(self.depth, self.tokens))

    def tokens_at(self, steps: range) -> NDArray[np.int64]:
        """(B, P) the token that each population works on at each step, or :data:`IDLE`."""
        step = np.array(steps, np.int64)[:, None]
        if self.schedule == "fall-through":
            token, stage = np.divmod(step, self.depth + 1)
            return np.where(self.stage == stage, token, IDLE)
        entered = step - self.stage
        return np.where((entered >= 0) & (entered < self.tokens), entered, IDLE)

    def ready(self, tokens: int) -> int:
        """The first step that needs more than the first ``tokens`` tokens."""
        if tokens >= self.tokens:
            return self.steps.stop
        return tokens if self.schedule == "pipelined" else tokens * (self.depth + 1)

    def done(self, stop: int) -> int:
        """Tokens that have left the last stage in the simulated steps before ``stop``."""
        steps = max(0, stop - self.steps.start)
        if self.schedule == "fall-through":
            return steps // (self.depth + 1)
        return max(0, steps - self.depth) if self.fill else steps
