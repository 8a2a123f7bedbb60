r"""Squared ReLU: the hidden layer of SpikeGPT's channel mix (SRFFN).

.. math:: payload = \mathrm{clip}(\mathrm{round}(\max(0, k)^2 / scale))

k is what the key projection accumulated, requantized per neuron to 12 unsigned bits, so that
its square fits 24; payloads are unsigned. Silent wherever k <= 0.
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
    saturate,
)
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

KEY_BITS = 12


@dataclass(frozen=True, eq=False)
class SquaredReLU(Program):
    """``mantissa``, ``shift`` (n,): accumulator to k; ``square_*``: k squared to payload.

    ``dead_zone`` (n,) or None: see :func:`~spikegpt_neuro.neurons.program.dead_zone`.
    """

    kind: ClassVar[str] = "squared_relu"
    ports: ClassVar[tuple[str, ...]] = ("key",)

    mantissa: IntArray = vector(0, MANTISSA_MAX)
    shift: IntArray = vector(0, SHIFT_MAX)
    square_mantissa: int = scalar(0, MANTISSA_MAX)
    square_shift: int = scalar(0, SHIFT_MAX)
    bits: int = scalar(1, PAYLOAD_BITS_MAX)
    dead_zone: IntArray | None = dead_zone()

    @property
    def events(self) -> EventFormat:
        return EventFormat(self.bits, signed=False)

    def scalars(self) -> tuple[int, ...]:
        return self.square_mantissa, self.square_shift, self.events.high


@kernel_of(SquaredReLU)
def advance_squared_relu(
    key: IntArray,
    _: IntArray,
    __: IntArray,
    ___: IntArray,
    vectors: IntArray,
    scalars: NDArray[np.int64],
    events: IntArray,
) -> tuple[int, int]:
    """Fill ``events`` (T, n); see :func:`kernel_of`."""
    mantissa, shift = vectors[0], vectors[1]
    square_mantissa, square_shift, high = scalars[0], scalars[1], scalars[2]
    saturations = 0
    clipped = 0
    for t in range(key.shape[0]):
        for i in range(key.shape[1]):
            a = int(key[t, i])
            bounded = saturate(a, ACCUMULATOR_LIMIT)
            rectified = max(0, rescale(bounded, mantissa[i], shift[i]))
            k = min((1 << KEY_BITS) - 1, rectified)
            saturations += (bounded != a) or (k != rectified)
            square = rescale(k * k, square_mantissa, square_shift)
            payload = min(high, square)
            clipped += payload != square
            events[t, i] = payload
    return saturations, clipped
