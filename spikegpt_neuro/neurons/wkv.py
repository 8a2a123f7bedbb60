r"""WKV: RWKV's recurrent attention, gated by the receptance (SpikeGPT's SRWKV).

.. math::
    wkv[t] &= \frac{a + 2^{u+k} v}{b + 2^{u+k}}, \qquad y[t] = \sigma(r) \, wkv[t] \\
    a &\leftarrow 2^{w} a + 2^{k} v, \qquad b \leftarrow 2^{w} b + 2^{k}

(arXiv 2305.13048, equations 14-16 and appendix D, with k, u and w in units of log 2.) As in
floating point, a and b are kept as multiples of :math:`2^p` with one exponent p per neuron;
here p also takes up the growth of the sums, so that b stays in [1, 2) however slow the decay:

.. math::
    q = \max(p + w, k); \quad
    a \leftarrow 2^{p+w-q} a + 2^{k-q} v; \quad
    b \leftarrow 2^{p+w-q} b + 2^{k-q}; \quad
    \text{if } b \ge 2: a, b \leftarrow a/2, b/2, \; q \leftarrow q + 1; \quad p \leftarrow q

All powers are of non-positive exponents, the denominator lies in [1, 3), and the division is a
table of reciprocals. Fractions: k, u, w, p 16; a (that of v) + 6; b 21; powers and sigmoid 15.
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
from spikegpt_neuro.arithmetic.tables import (
    EXPONENT_FRACTION,
    MANTISSA_FRACTION,
    RECIPROCAL_FRACTION,
    UNIT_FRACTION,
    exp2_negative,
    reciprocal,
    sigmoid,
)
from spikegpt_neuro.neurons.program import Advance, Counts, EventFormat, IntArray, Program, State

VALUE_BITS = 16
GUARD_BITS = MANTISSA_FRACTION - UNIT_FRACTION  # a and b carry 6 bits below v and the powers
VALUE_LIMIT = (1 << (VALUE_BITS - 1)) - 1
TWO = 2 << MANTISSA_FRACTION


@dataclass(frozen=True, eq=False)
class WKV(Program):
    """Time-mix neurons; arrays are (n,).

    ``decay``       w <= 0, fraction 16 in units of log 2: -exp(time_decay) log2(e).
    ``first``       u, fraction 16 in units of log 2: time_first log2(e).
    ``key_*``, ``value_*``, ``receptance_*``  mantissa and shift of each port: accumulator to
                    fraction 16 in units of log 2, to 16 bits, to fraction 12.
    ``output_*``    mantissa and shift: gated value to payload.
    """

    kind: ClassVar[str] = "wkv"
    ports: ClassVar[tuple[str, ...]] = ("key", "value", "receptance")
    state_names: ClassVar[tuple[str, ...]] = ("a", "b", "p")

    decay: IntArray
    first: IntArray
    key_mantissa: IntArray
    key_shift: IntArray
    value_mantissa: IntArray
    value_shift: IntArray
    receptance_mantissa: IntArray
    receptance_shift: IntArray
    output_mantissa: IntArray
    output_shift: IntArray
    bits: int

    @property
    def events(self) -> EventFormat:
        return EventFormat(self.bits, signed=True)

    def initial_state(self, size: int) -> State:
        """Empty sums: a = b = 0 under the smallest exponent."""
        zero = np.zeros(size, np.int32)
        return zero, zero.copy(), np.full(size, -ACCUMULATOR_LIMIT, np.int32)

    def advance(self, state: State, *inputs: IntArray) -> Advance:
        key_sum, value_sum, receptance_sum = inputs
        key, key_losses = _requantize(key_sum, self.key_mantissa, self.key_shift, ACCUMULATOR_LIMIT)
        value, value_losses = _requantize(
            value_sum, self.value_mantissa, self.value_shift, VALUE_LIMIT
        )
        # Beyond +-8 the sigmoid is flat: limiting its argument there loses nothing.
        receptance, _ = _requantize(
            receptance_sum, self.receptance_mantissa, self.receptance_shift, ACCUMULATOR_LIMIT
        )
        a, b, p = state
        a, b, p, gated, losses = _advance(a, b, p, key, value, receptance, self.decay, self.first)
        payloads, clipped = _quantize(
            gated, self.output_mantissa, self.output_shift, self.events.high
        )
        counts = Counts(key_losses + value_losses + losses, clipped)
        return Advance((a, b, p), payloads, counts)

    def problems(self, size: int) -> list[str]:
        found = super().problems(size)
        if not found and int(self.decay.max()) > 0:
            found.append("decay is positive")
        return found


@kernel
def wkv_read(k: int, v: int, a: int, b: int, p: int, first: int) -> int:
    """Wkv of one neuron, in the units of v."""
    bonus = max(-ACCUMULATOR_LIMIT, first + k)
    q = max(p, bonus)
    old, new = exp2_negative(q - p), exp2_negative(q - bonus)
    numerator = round_shift(old * a, UNIT_FRACTION) + round_shift(
        new * v, UNIT_FRACTION - GUARD_BITS
    )
    denominator = round_shift(old * b, UNIT_FRACTION) + (new << GUARD_BITS)
    halved = 1 if denominator >= TWO else 0
    inverse = reciprocal(round_shift(denominator, halved))
    return round_shift(numerator * inverse, RECIPROCAL_FRACTION + GUARD_BITS + halved)


@kernel
def wkv_update(k: int, v: int, a: int, b: int, p: int, decay: int) -> tuple[int, int, int]:
    """Next (a, b, p) of one neuron; p is not yet limited to 24 bits."""
    q = max(p + decay, k)
    old, new = exp2_negative(q - (p + decay)), exp2_negative(q - k)
    a = round_shift(old * a, UNIT_FRACTION) + round_shift(new * v, UNIT_FRACTION - GUARD_BITS)
    b = round_shift(old * b, UNIT_FRACTION) + (new << GUARD_BITS)
    if b >= TWO:
        return round_shift(a, 1), round_shift(b, 1), q + (1 << EXPONENT_FRACTION)
    return a, b, q


@kernel
def _advance(
    a0: IntArray,
    b0: IntArray,
    p0: IntArray,
    key: IntArray,
    value: IntArray,
    receptance: IntArray,
    decay: IntArray,
    first: IntArray,
) -> tuple[IntArray, IntArray, IntArray, IntArray, int]:
    tokens, size = key.shape
    a, b, p = a0.copy(), b0.copy(), p0.copy()
    gated = np.empty((tokens, size), np.int32)
    saturations = 0
    for t in range(tokens):
        for i in range(size):
            k, v = int(key[t, i]), int(value[t, i])
            old_a, old_b, old_p = int(a[i]), int(b[i]), int(p[i])
            wkv = wkv_read(k, v, old_a, old_b, old_p, int(first[i]))
            gated[t, i] = round_shift(sigmoid(int(receptance[t, i])) * wkv, UNIT_FRACTION)
            new_a, new_b, new_p = wkv_update(k, v, old_a, old_b, old_p, int(decay[i]))
            bounded = min(ACCUMULATOR_LIMIT, new_p)
            saturations += bounded != new_p
            a[i], b[i], p[i] = new_a, new_b, bounded
    return a, b, p, gated, saturations


@kernel
def _requantize(
    accumulated: IntArray, mantissa: IntArray, shift: IntArray, limit: int
) -> tuple[IntArray, int]:
    tokens, size = accumulated.shape
    result = np.empty((tokens, size), np.int32)
    losses = 0
    for t in range(tokens):
        for i in range(size):
            a = int(accumulated[t, i])
            bounded = saturate(a, ACCUMULATOR_LIMIT)
            scaled = rescale(bounded, mantissa[i], shift[i])
            result[t, i] = saturate(scaled, limit)
            losses += (bounded != a) or (result[t, i] != scaled)
    return result, losses


@kernel
def _quantize(
    values: IntArray, mantissa: IntArray, shift: IntArray, high: int
) -> tuple[IntArray, int]:
    tokens, size = values.shape
    payloads = np.empty((tokens, size), np.int32)
    clipped = 0
    for t in range(tokens):
        for i in range(size):
            scaled = rescale(int(values[t, i]), mantissa[i], shift[i])
            payloads[t, i] = saturate(scaled, high)
            clipped += payloads[t, i] != scaled
    return payloads, clipped
