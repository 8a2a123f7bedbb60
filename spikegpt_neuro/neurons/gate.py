r"""Gate: the channel mix's output, a value let through by a sigmoid of the receptance.

.. math:: y = \sigma(r) \, v

v and r are what two projections accumulated, each requantized per neuron: v to the units of
the receiver (a LIF's current, or the residual stream), r to fraction 12.
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
from spikegpt_neuro.arithmetic.tables import SIGMOID_TABLE, UNIT_FRACTION, sigmoid
from spikegpt_neuro.neurons.program import (
    PAYLOAD_BITS_MAX,
    EventFormat,
    IntArray,
    Program,
    kernel_of,
    scalar,
    vector,
)


@dataclass(frozen=True, eq=False)
class Gate(Program):
    """``value_*``, ``receptance_*`` (n,): mantissa and shift of each port; ``bits`` of y."""

    kind: ClassVar[str] = "gate"
    ports: ClassVar[tuple[str, ...]] = ("value", "receptance")
    tables: ClassVar[tuple[IntArray, ...]] = (SIGMOID_TABLE,)

    value_mantissa: IntArray = vector(0, MANTISSA_MAX)
    value_shift: IntArray = vector(0, SHIFT_MAX)
    receptance_mantissa: IntArray = vector(0, MANTISSA_MAX)
    receptance_shift: IntArray = vector(0, SHIFT_MAX)
    bits: int = scalar(2, PAYLOAD_BITS_MAX)

    @property
    def events(self) -> EventFormat:
        return EventFormat(self.bits, signed=True)

    def scalars(self) -> tuple[int, ...]:
        return (self.events.high,)


@kernel_of(Gate)
def advance_gate(
    value: IntArray,
    receptance: IntArray,
    _: IntArray,
    __: IntArray,
    vectors: IntArray,
    scalars: NDArray[np.int64],
    events: IntArray,
) -> tuple[int, int]:
    """Fill ``events`` (T, n); see :func:`kernel_of`."""
    value_mantissa, value_shift = vectors[0], vectors[1]
    receptance_mantissa, receptance_shift = vectors[2], vectors[3]
    high = scalars[0]
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
            events[t, i] = round_shift(sigmoid(r) * v, UNIT_FRACTION)
    return saturations, 0
