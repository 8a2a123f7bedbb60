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
from spikegpt_neuro.arithmetic.tables import (
    EXP2_TABLE,
    EXPONENT_FRACTION,
    MANTISSA_FRACTION,
    RECIPROCAL_FRACTION,
    RECIPROCAL_TABLE,
    SIGMOID_TABLE,
    UNIT_FRACTION,
    exp2_negative,
    reciprocal,
    sigmoid,
)
from spikegpt_neuro.neurons.program import (
    PAYLOAD_BITS_MAX,
    EventFormat,
    IntArray,
    Program,
    State,
    dead_zone,
    kernel_of,
    scalar,
    vector,
)

VALUE_BITS = 16
GUARD_BITS = MANTISSA_FRACTION - UNIT_FRACTION  # a and b carry 6 bits below v and the powers
VALUE_LIMIT = (1 << (VALUE_BITS - 1)) - 1
TWO = 2 << MANTISSA_FRACTION
ONE = 1 << UNIT_FRACTION


@dataclass(frozen=True, eq=False)
class WKV(Program):
    """Time-mix neurons; arrays are (n,).

    ``decay``       w <= 0, fraction 16 in units of log 2: -exp(time_decay) log2(e).
    ``first``       u, fraction 16 in units of log 2: time_first log2(e).
    ``key_*``, ``value_*``, ``receptance_*``  mantissa and shift of each port: accumulator to
                    fraction 16 in units of log 2, to 16 bits, to fraction 12.
    ``output_*``    mantissa and shift: gated value to payload.
    ``dead_zone``   or None: see :func:`~spikegpt_neuro.neurons.program.dead_zone`.
    """

    kind: ClassVar[str] = "wkv"
    ports: ClassVar[tuple[str, ...]] = ("key", "value", "receptance")
    state_names: ClassVar[tuple[str, ...]] = ("a", "b", "p")
    tables: ClassVar[tuple[IntArray, ...]] = (EXP2_TABLE, SIGMOID_TABLE, RECIPROCAL_TABLE)

    decay: IntArray = vector(-ACCUMULATOR_LIMIT, 0)
    first: IntArray = vector(-ACCUMULATOR_LIMIT, ACCUMULATOR_LIMIT)
    key_mantissa: IntArray = vector(0, MANTISSA_MAX)
    key_shift: IntArray = vector(0, SHIFT_MAX)
    value_mantissa: IntArray = vector(0, MANTISSA_MAX)
    value_shift: IntArray = vector(0, SHIFT_MAX)
    receptance_mantissa: IntArray = vector(0, MANTISSA_MAX)
    receptance_shift: IntArray = vector(0, SHIFT_MAX)
    output_mantissa: IntArray = vector(0, MANTISSA_MAX)
    output_shift: IntArray = vector(0, SHIFT_MAX)
    bits: int = scalar(2, PAYLOAD_BITS_MAX)
    dead_zone: IntArray | None = dead_zone()

    @property
    def events(self) -> EventFormat:
        return EventFormat(self.bits, signed=True)

    def initial_state(self, size: int) -> State:
        """Empty sums: a = b = 0 under the smallest exponent."""
        zero = np.zeros(size, np.int32)
        return zero, zero.copy(), np.full(size, -ACCUMULATOR_LIMIT, np.int32)

    def scalars(self) -> tuple[int, ...]:
        return (self.events.high,)


@kernel
def _weights_of(old: int, new: int) -> tuple[int, int]:
    """2^(old - max) and 2^(new - max): one of the two is 1, the other takes one look-up."""
    small = exp2_negative(abs(new - old))
    grows = new > old  # chosen without a branch, which no processor could foresee
    return small if grows else ONE, ONE if grows else small


@kernel
def wkv_read(k: int, v: int, a: int, b: int, p: int, first: int) -> int:
    """The output of one neuron, in the units of v."""
    old, new = _weights_of(p, max(-ACCUMULATOR_LIMIT, first + k))
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
    old, new = _weights_of(p + decay, k)
    q = max(p + decay, k)
    a = round_shift(old * a, UNIT_FRACTION) + round_shift(new * v, UNIT_FRACTION - GUARD_BITS)
    b = round_shift(old * b, UNIT_FRACTION) + (new << GUARD_BITS)
    halved = 1 if b >= TWO else 0
    return round_shift(a, halved), round_shift(b, halved), q + (halved << EXPONENT_FRACTION)


@kernel_of(WKV)
def advance_wkv(
    key: IntArray,
    value: IntArray,
    receptance: IntArray,
    state: IntArray,
    vectors: IntArray,
    scalars: NDArray[np.int64],
    events: IntArray,
) -> tuple[int, int]:
    """Fill ``events`` (T, n), step a, b and p; see :func:`kernel_of`."""
    a, b, p = state[0], state[1], state[2]
    decay, first = vectors[0], vectors[1]
    key_mantissa, key_shift = vectors[2], vectors[3]
    value_mantissa, value_shift = vectors[4], vectors[5]
    receptance_mantissa, receptance_shift = vectors[6], vectors[7]
    output_mantissa, output_shift = vectors[8], vectors[9]
    high = scalars[0]
    saturations = 0
    clipped = 0
    for t in range(key.shape[0]):
        for i in range(key.shape[1]):
            k, k_lost = _requantize(
                int(key[t, i]), key_mantissa[i], key_shift[i], ACCUMULATOR_LIMIT
            )
            v, v_lost = _requantize(
                int(value[t, i]), value_mantissa[i], value_shift[i], VALUE_LIMIT
            )
            # Beyond +-8 the sigmoid is flat: limiting its argument there loses nothing.
            r, _ = _requantize(
                int(receptance[t, i]),
                receptance_mantissa[i],
                receptance_shift[i],
                ACCUMULATOR_LIMIT,
            )
            old_a, old_b, old_p = int(a[i]), int(b[i]), int(p[i])
            wkv = wkv_read(k, v, old_a, old_b, old_p, int(first[i]))
            gated = rescale(
                round_shift(sigmoid(r) * wkv, UNIT_FRACTION), output_mantissa[i], output_shift[i]
            )
            payload = saturate(gated, high)
            new_a, new_b, new_p = wkv_update(k, v, old_a, old_b, old_p, int(decay[i]))
            bounded = min(ACCUMULATOR_LIMIT, new_p)
            a[i], b[i], p[i] = new_a, new_b, bounded
            events[t, i] = payload
            saturations += k_lost + v_lost + (bounded != new_p)
            clipped += payload != gated
    return saturations, clipped


@kernel
def _requantize(accumulated: int, mantissa: int, shift: int, limit: int) -> tuple[int, int]:
    """(value within ``limit``, 1 if anything was lost)."""
    bounded = saturate(accumulated, ACCUMULATOR_LIMIT)
    scaled = rescale(bounded, mantissa, shift)
    value = saturate(scaled, limit)
    return value, 1 if (bounded != accumulated) or (value != scaled) else 0
