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

from spikegpt_neuro.arithmetic.fixed_point import ACCUMULATOR_LIMIT, rescale, saturate
from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.neurons.program import Advance, Counts, EventFormat, IntArray, Program, State


@dataclass(frozen=True, eq=False)
class Requantize(Program):
    """``mantissa``, ``shift`` (n,): scale; ``bits``: of the signed payload.

    ``quantizer``: True where the payload's range was chosen by calibration, so that what
    lies beyond it is clipped by intent; False where it is a limit that must not be met.
    """

    kind: ClassVar[str] = "requantize"
    ports: ClassVar[tuple[str, ...]] = ("input",)

    mantissa: IntArray
    shift: IntArray
    bits: int
    quantizer: bool

    @property
    def events(self) -> EventFormat:
        return EventFormat(self.bits, signed=True)

    def advance(self, state: State, *inputs: IntArray) -> Advance:
        (accumulated,) = inputs
        payloads = np.empty_like(accumulated)
        saturations, beyond = advance_requantize(
            accumulated, self.mantissa, self.shift, self.events.high, payloads
        )
        if self.quantizer:
            return Advance(state, payloads, Counts(saturations, clipped=beyond))
        return Advance(state, payloads, Counts(saturations + beyond))


@kernel
def advance_requantize(
    accumulated: IntArray, mantissa: IntArray, shift: IntArray, high: int, payloads: IntArray
) -> tuple[int, int]:
    """Fill ``payloads`` (T, n); returns saturated accumulators and payloads beyond ``high``."""
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
            payloads[t, i] = payload
    return saturations, beyond
