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
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.fixed_point import (
    ACCUMULATOR_LIMIT,
    MANTISSA_MAX,
    SHIFT_MAX,
    rescale,
    round_shift,
    saturate,
)
from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.neurons.program import (
    PAYLOAD_BITS_MAX,
    EventFormat,
    IntArray,
    Program,
    dead_zone,
    kernel_of,
    scalar,
    vector,
)

COEFFICIENT_FRACTION = 12
COEFFICIENT_BITS = 16
COEFFICIENT_LIMIT = (1 << (COEFFICIENT_BITS - 1)) - 1


@dataclass(frozen=True, eq=False)
class TokenMix(Program):
    """``coefficient`` (n,) with fraction 12; ``mantissa``, ``shift`` (n,): y to payload units.

    ``dead_zone`` (n,) or None: see :func:`~spikegpt_neuro.neurons.program.dead_zone`.
    """

    kind: ClassVar[str] = "token_mix"
    ports: ClassVar[tuple[str, ...]] = ("input",)
    state_names: ClassVar[tuple[str, ...]] = ("previous",)

    coefficient: IntArray = vector(-COEFFICIENT_LIMIT, COEFFICIENT_LIMIT)
    mantissa: IntArray = vector(0, MANTISSA_MAX)
    shift: IntArray = vector(0, SHIFT_MAX)
    bits: int = scalar(2, PAYLOAD_BITS_MAX)
    dead_zone: IntArray | None = dead_zone()

    @property
    def events(self) -> EventFormat:
        return EventFormat(self.bits, signed=True)

    def scalars(self) -> tuple[int, ...]:
        return (self.events.high,)


@kernel
def token_mix_step(y: int, previous: int, coefficient: int) -> int:
    """The blend of one channel, in the units of y."""
    one = 1 << COEFFICIENT_FRACTION
    return round_shift(y * coefficient + previous * (one - coefficient), COEFFICIENT_FRACTION)


@kernel_of(TokenMix)
def advance_token_mix(
    y: IntArray,
    _: IntArray,
    __: IntArray,
    state: IntArray,
    vectors: IntArray,
    scalars: NDArray[np.int64],
    events: IntArray,
) -> tuple[int, int]:
    """Fill ``events`` (T, n), leave the last y in ``state``; see :func:`kernel_of`."""
    previous = state[0]
    coefficient, mantissa, shift = vectors[0], vectors[1], vectors[2]
    high = scalars[0]
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
            events[t, i] = payload
            previous[i] = y[t, i]
    return saturations, clipped
