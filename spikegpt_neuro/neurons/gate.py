r"""Gate: the channel mix's output, a value let through by a sigmoid of the receptance.

.. math:: y = \sigma(r) \, v

v and r are what two projections accumulated, each requantized per neuron: v to the units of
the receiver (a LIF's current, or the residual stream), r to fraction 12.
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
from spikegpt_neuro.arithmetic.tables import UNIT_FRACTION, sigmoid
from spikegpt_neuro.neurons.program import Advance, Counts, EventFormat, IntArray, Program, State


@dataclass(frozen=True, eq=False)
class Gate(Program):
    """``value_*``, ``receptance_*`` (n,): mantissa and shift of each port; ``bits`` of y."""

    kind: ClassVar[str] = "gate"
    ports: ClassVar[tuple[str, ...]] = ("value", "receptance")

    value_mantissa: IntArray
    value_shift: IntArray
    receptance_mantissa: IntArray
    receptance_shift: IntArray
    bits: int

    @property
    def events(self) -> EventFormat:
        return EventFormat(self.bits, signed=True)

    def advance(self, state: State, *inputs: IntArray) -> Advance:
        value, receptance = inputs
        payloads = np.empty_like(value)
        saturations = advance_gate(
            value,
            receptance,
            self.value_mantissa,
            self.value_shift,
            self.receptance_mantissa,
            self.receptance_shift,
            self.events.high,
            payloads,
        )
        return Advance(state, payloads, Counts(saturations))


@kernel
def advance_gate(
    value: IntArray,
    receptance: IntArray,
    value_mantissa: IntArray,
    value_shift: IntArray,
    receptance_mantissa: IntArray,
    receptance_shift: IntArray,
    high: int,
    payloads: IntArray,
) -> int:
    """Fill ``payloads`` (T, n); returns saturations."""
    saturations = 0
    for t in range(value.shape[0]):
        for i in range(value.shape[1]):
            a_v, a_r = int(value[t, i]), int(receptance[t, i])
            bounded_v = saturate(a_v, ACCUMULATOR_LIMIT)
            bounded_r = saturate(a_r, ACCUMULATOR_LIMIT)
            scaled = rescale(bounded_v, value_mantissa[i], value_shift[i])
            v = saturate(scaled, high)
            r = rescale(bounded_r, receptance_mantissa[i], receptance_shift[i])
            saturations += (bounded_v != a_v) + (bounded_r != a_r) + (v != scaled)
            payloads[t, i] = round_shift(sigmoid(r) * v, UNIT_FRACTION)
    return saturations
