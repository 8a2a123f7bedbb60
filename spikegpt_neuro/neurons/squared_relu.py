r"""Squared ReLU: the hidden layer of SpikeGPT's channel mix (SRFFN).

.. math:: payload = \mathrm{clip}(\mathrm{round}(\max(0, k)^2 / scale))

k is what the key projection accumulated, requantized per neuron to 12 unsigned bits, so that
its square fits 24; payloads are unsigned. Silent wherever k <= 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikegpt_neuro.arithmetic.fixed_point import ACCUMULATOR_LIMIT, rescale, saturate
from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.neurons.program import Advance, Counts, EventFormat, IntArray, Program, State

KEY_BITS = 12


@dataclass(frozen=True, eq=False)
class SquaredReLU(Program):
    """``mantissa``, ``shift`` (n,): accumulator to k; ``square_*``: k squared to payload."""

    kind: ClassVar[str] = "squared_relu"
    ports: ClassVar[tuple[str, ...]] = ("key",)

    mantissa: IntArray
    shift: IntArray
    square_mantissa: int
    square_shift: int
    bits: int

    @property
    def events(self) -> EventFormat:
        return EventFormat(self.bits, signed=False)

    def advance(self, state: State, *inputs: IntArray) -> Advance:
        (key,) = inputs
        payloads = np.empty_like(key)
        saturations, clipped = advance_squared_relu(
            key,
            self.mantissa,
            self.shift,
            self.square_mantissa,
            self.square_shift,
            self.events.high,
            payloads,
        )
        return Advance(state, payloads, Counts(saturations, clipped))


@kernel
def advance_squared_relu(
    key: IntArray,
    mantissa: IntArray,
    shift: IntArray,
    square_mantissa: int,
    square_shift: int,
    high: int,
    payloads: IntArray,
) -> tuple[int, int]:
    """Fill ``payloads`` (T, n); (saturations, clipped)."""
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
            payloads[t, i] = payload
    return saturations, clipped
