r"""Requantize: what synapses accumulated becomes a payload of another scale.

.. math:: y_i = \mathrm{clip}(\mathrm{round\_shift}(\mathrm{sat}_{24}(a_i) \, m_i, s_i))

m is a 15-bit mantissa and s a shift per neuron, so that each output channel of the weight
matrix may have its own scale. It stands before a stock LIF, whose scale is one per
population, before the head, and as the head's own readout.
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
    flag,
    kernel_of,
    scalar,
    vector,
)


@dataclass(frozen=True, eq=False)
class Requantize(Program):
    """``mantissa``, ``shift`` (n,): scale; ``bits``: of the signed payload.

    ``quantizer``: True where the payload's range was chosen by calibration, so that what
    lies beyond it is clipped by intent; False where it is a limit that must not be met.
    ``dead_zone`` (n,) or None: see :func:`~spikegpt_neuro.neurons.program.dead_zone`.
    """

    kind: ClassVar[str] = "requantize"
    ports: ClassVar[tuple[str, ...]] = ("input",)

    mantissa: IntArray = vector(0, MANTISSA_MAX)
    shift: IntArray = vector(0, SHIFT_MAX)
    bits: int = scalar(2, PAYLOAD_BITS_MAX)
    quantizer: bool = flag()
    dead_zone: IntArray | None = dead_zone()

    @property
    def events(self) -> EventFormat:
        return EventFormat(self.bits, signed=True)

    def scalars(self) -> tuple[int, ...]:
        return self.events.high, int(self.quantizer)


@kernel_of(Requantize)
def advance_requantize(
    accumulated: IntArray,
    _: IntArray,
    __: IntArray,
    ___: IntArray,
    vectors: IntArray,
    scalars: NDArray[np.int64],
    events: IntArray,
) -> tuple[int, int]:
    """Fill ``events`` (T, n); see :func:`kernel_of`."""
    mantissa, shift = vectors[0], vectors[1]
    high, quantizer = scalars[0], scalars[1]
    saturations = 0
    beyond = 0
    for t in range(accumulated.shape[0]):
        for i in range(accumulated.shape[1]):
            a = int(accumulated[t, i])
            bounded = saturate(a, ACCUMULATOR_LIMIT)
            saturations += bounded != a
            y = rescale(bounded, mantissa[i], shift[i])
            payload = saturate(y, high)
            beyond += payload != y
            events[t, i] = payload
    return (saturations, beyond) if quantizer else (saturations + beyond, 0)
