r"""Residual stream: the sum of what came so far and what a branch adds.

.. math:: x[t] = \mathrm{sat}_{24}(\mathrm{round\_shift}(stream[t] + branch[t], halve))

A LIF's spike arrives as ``1 << F`` (the projection's shift), a graded branch as it is.
``halve`` is 1 only where upstream's script halves x (``compat="upstream-run"``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.fixed_point import ACCUMULATOR_LIMIT, round_shift, saturate
from spikegpt_neuro.neurons.program import (
    STATE_BITS_MAX,
    EventFormat,
    IntArray,
    Program,
    kernel_of,
    scalar,
)


@dataclass(frozen=True)
class Residual(Program):
    """``halve``: 0, or 1 to divide the sum by two."""

    kind: ClassVar[str] = "residual"
    ports: ClassVar[tuple[str, ...]] = ("stream", "branch")

    halve: int = scalar(0, 1, default=0)

    @property
    def events(self) -> EventFormat:
        return EventFormat(STATE_BITS_MAX, signed=True)


@kernel_of(Residual)
def advance_residual(
    stream: IntArray,
    branch: IntArray,
    _: IntArray,
    __: IntArray,
    ___: IntArray,
    scalars: NDArray[np.int64],
    events: IntArray,
) -> tuple[int, int]:
    """Fill ``events`` (T, n); see :func:`kernel_of`."""
    halve = scalars[0]
    saturations = 0
    for t in range(stream.shape[0]):
        for i in range(stream.shape[1]):
            x = round_shift(int(stream[t, i]) + int(branch[t, i]), halve)
            payload = saturate(x, ACCUMULATOR_LIMIT)
            saturations += payload != x
            events[t, i] = payload
    return saturations, 0
