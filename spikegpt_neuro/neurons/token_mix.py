r"""Token mix: every channel blends this token's value with the previous token's.

.. math::
    x[t] = m \, y[t] + (1 - m) \, y[t-1], \qquad
    payload[t] = \mathrm{clip}(\mathrm{round}(x[t] / scale))

RWKV's time shift (arXiv 2305.13048, equations 11-13), y[-1] = 0. The coefficient m has
fraction 12 and may lie outside [0, 1]; the sum is rounded once to the fraction of y, and once
more to the payload.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikegpt_neuro.arithmetic.fixed_point import (
    ACCUMULATOR_LIMIT,
    rescale,
    round_shift,
    saturate,
)
from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.neurons.program import Advance, Counts, EventFormat, IntArray, Program, State

COEFFICIENT_FRACTION = 12
COEFFICIENT_BITS = 16


@dataclass(frozen=True, eq=False)
class TokenMix(Program):
    """``coefficient`` (n,) with fraction 12; ``mantissa``, ``shift`` (n,): y to payload units."""

    kind: ClassVar[str] = "token_mix"
    ports: ClassVar[tuple[str, ...]] = ("input",)
    state_names: ClassVar[tuple[str, ...]] = ("previous",)

    coefficient: IntArray
    mantissa: IntArray
    shift: IntArray
    bits: int

    @property
    def events(self) -> EventFormat:
        return EventFormat(self.bits, signed=True)

    def advance(self, state: State, *inputs: IntArray) -> Advance:
        (y,) = inputs
        previous = state[0].copy()
        payloads = np.empty_like(y)
        saturations, clipped = advance_token_mix(
            previous, y, self.coefficient, self.mantissa, self.shift, self.events.high, payloads
        )
        return Advance((previous,), payloads, Counts(saturations, clipped))


@kernel
def token_mix_step(y: int, previous: int, coefficient: int) -> int:
    """The blend of one channel, in the units of y."""
    one = 1 << COEFFICIENT_FRACTION
    return round_shift(y * coefficient + previous * (one - coefficient), COEFFICIENT_FRACTION)


@kernel
def advance_token_mix(
    previous: IntArray,
    y: IntArray,
    coefficient: IntArray,
    mantissa: IntArray,
    shift: IntArray,
    high: int,
    payloads: IntArray,
) -> tuple[int, int]:
    """Fill ``payloads`` (T, n), leave the last y in ``previous``; (saturations, clipped)."""
    saturations = 0
    clipped = 0
    for t in range(y.shape[0]):
        for i in range(y.shape[1]):
            x = token_mix_step(int(y[t, i]), int(previous[i]), int(coefficient[i]))
            bounded = saturate(x, ACCUMULATOR_LIMIT)
            saturations += bounded != x
            unclipped = rescale(bounded, mantissa[i], shift[i])
            payload = saturate(unclipped, high)
            clipped += payload != unclipped
            payloads[t, i] = payload
            previous[i] = y[t, i]
    return saturations, clipped
