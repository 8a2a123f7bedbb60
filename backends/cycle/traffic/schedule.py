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

    @property
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

    def tokens_at(self, step: int) -> NDArray[np.int64]:
        """(P,) the token that each population works on, or :data:`IDLE`."""
        if self.schedule == "fall-through":
            token, stage = divmod(step, self.depth + 1)
            return np.where(self.stage == stage, token, IDLE)
        entered = step - self.stage
        return np.where((entered >= 0) & (entered < self.tokens), entered, IDLE)

    def newest(self, step: int) -> int:
        """The last token that this step needs."""
        if self.schedule == "pipelined":
            return min(step, self.tokens - 1)
        return step // (self.depth + 1)

    def done(self, stop: int) -> int:
        """Tokens that have left the last stage in the simulated steps before ``stop``."""
        steps = max(0, stop - self.steps.start)
        if self.schedule == "fall-through":
            return steps // (self.depth + 1)
        return max(0, steps - self.depth) if self.fill else steps
