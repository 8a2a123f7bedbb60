r"""The neuron programs as ONNX functions on int64 tensors.

Each is its namesake in :mod:`spikegpt_neuro.neurons`, operation by operation, so results are
equal to the last integer. ONNX shifts unsigned integers only and divides toward zero, therefore

.. math:: \lfloor x 2^{-s} \rfloor = (x - (x \bmod 2^s)) / 2^s

with the remainder that has the divisor's sign: the division is exact. A mantissa and a shift
arrive as mantissa and divisor :math:`2^s`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from spikegpt_neuro.arithmetic import tables
from spikegpt_neuro.arithmetic.fixed_point import ACCUMULATOR_LIMIT
from spikegpt_neuro.converters.exporters.onnx_body import Domain, Operand, Value
from spikegpt_neuro.neurons.layer_norm import CENTERED_LIMIT, NORMALIZED_FRACTION
from spikegpt_neuro.neurons.lif import CURRENT_SHIFT, DECAY_ONE, MEMBRANE_LIMIT
from spikegpt_neuro.neurons.squared_relu import KEY_BITS
from spikegpt_neuro.neurons.token_mix import COEFFICIENT_FRACTION
from spikegpt_neuro.neurons.wkv import GUARD_BITS, TWO, VALUE_LIMIT

INTEGER = Domain("spikegpt_neuro.integer")
SHIFT_LIMIT = 62
POWERS = np.int64(1) << np.arange(SHIFT_LIMIT + 1, dtype=np.int64)
BYTE = 1 << 8
SIGN = 1 << 7
WEIGHT_ZERO = 128


def saturate(x: Value, limit: Operand) -> Value:
    """``x`` limited to ``-limit .. limit``."""
    return x.maximum(-limit if isinstance(limit, int) else x.body.op("Neg", limit)).minimum(limit)


def round_shift(x: Value, divisor: Operand) -> Value:
    """``x / divisor`` rounded half up, for a power of two."""
    return INTEGER.call("RoundShift", x, divisor)


def power_of_two(exponent: Value) -> Value:
    """``2**exponent``, 0 <= exponent <= 62."""
    body = exponent.body
    return body.op("Gather", body.constant(POWERS), exponent)


@INTEGER.function("Silence", "payload zone", "event")
def _silence(payload: Value, zone: Value) -> Value:
    """``event`` = payload where its magnitude exceeds the dead zone, else 0."""
    body = payload.body
    loud = body.op("Greater", body.op("Abs", payload), zone)
    return payload * loud.cast(TensorProto.INT64)


@INTEGER.function("RoundShift", "x divisor", "y")
def _round_shift(x: Value, divisor: Value) -> Value:
    """``y`` = floor(x / divisor + 1/2), for a power of two; x itself for 1."""
    shifted = x + divisor // 2
    return (shifted - shifted % divisor) // divisor


@INTEGER.function("Requantize", "accumulated mantissa divisor", "y")
def _requantize(accumulated: Value, mantissa: Value, divisor: Value) -> Value:
    """``y`` = sat(round_shift(sat_24(a) mantissa)), the outer one to +-limit."""
    body = accumulated.body
    scaled = round_shift(saturate(accumulated, ACCUMULATOR_LIMIT) * mantissa, divisor)
    return saturate(scaled, body.attribute("limit"))


def _interpolate(table: NDArray[np.int32], x: Value, bits: int) -> Value:
    """The table at x >= 0, whose low ``bits`` bits are the remainder."""
    body = x.body
    values = body.constant(table.astype(np.int64))
    index = x // (1 << bits)
    low, high = body.op("Gather", values, index), body.op("Gather", values, index + 1)
    return low + round_shift((high - low) * (x % (1 << bits)), 1 << bits)


@INTEGER.function("Exp2Negative", "x", "y")
def _exp2_negative(x: Value) -> Value:
    """``y`` = 2**-x, x >= 0 with fraction 16, y with fraction 15."""
    one = 1 << tables.EXPONENT_FRACTION
    value = _interpolate(tables.EXP2_TABLE, x % one, tables.EXPONENT_FRACTION - 8)
    # Shifts beyond 17 leave nothing of a value below 2**16, as 17 does.
    octave = (x // one).minimum(tables.UNIT_FRACTION + 2)
    return round_shift(value, power_of_two(octave))


@INTEGER.function("Sigmoid", "x", "y")
def _sigmoid(x: Value) -> Value:
    """``y`` = 1 / (1 + exp(-x)), x with fraction 12, y with fraction 15."""
    span = tables.SIGMOID_RANGE
    inside = (x + span).maximum(0).minimum(2 * span - 1)
    return _interpolate(tables.SIGMOID_TABLE, inside, tables.SIGMOID_INPUT_FRACTION - 4)


@INTEGER.function("Reciprocal", "x", "y")
def _reciprocal(x: Value) -> Value:
    """``y`` = 1 / x, x in [1, 2) with fraction 21, y with fraction 16."""
    fraction = tables.MANTISSA_FRACTION
    return _interpolate(tables.RECIPROCAL_TABLE, x - (1 << fraction), fraction - 8)


@INTEGER.function("ReciprocalSqrt", "x", "y")
def _reciprocal_sqrt(x: Value) -> Value:
    """``y`` = 1 / sqrt(x), x in [1, 4) with fraction 22, y with fraction 16."""
    fraction = tables.SQUARE_FRACTION
    return _interpolate(tables.RECIPROCAL_SQRT_TABLE, x - (1 << fraction), fraction - 7)


@INTEGER.function("Dense", "events weights", "accumulated")
def _dense(events: Value, weights: Value) -> Value:
    """``a`` = e W for events of 8 bits; weights (in, out) are stored plus 128.

    Both factors are uint8: the kernels of some processors saturate on uint8 by int8.
    """
    body = events.body
    offset = body.attribute("offset")
    shifted = (events + offset).cast(TensorProto.UINT8)
    zero = body.constant(np.array(WEIGHT_ZERO, np.uint8))
    product = body.op("MatMulInteger", shifted, weights, offset.cast(TensorProto.UINT8), zero)
    return product.cast(TensorProto.INT64)


@INTEGER.function("DenseWide", "events weights", "accumulated")
def _dense_wide(events: Value, weights: Value) -> Value:
    """``a`` = e W for events of up to 24 bits: one product for each byte of them."""
    low = events % BYTE
    rest = (events - low) // BYTE
    middle = rest % BYTE
    high = (rest - middle) // BYTE
    products = [
        INTEGER.call("Dense", part, weights, offset=offset)
        for part, offset in ((low, 0), (middle, 0), (high, SIGN))
    ]
    return products[0] + products[1] * BYTE + products[2] * (BYTE * BYTE)


@INTEGER.function("LayerNorm", "x weight bias", "y")
def _layer_norm(x: Value, weight: Value, bias: Value) -> Value:
    """``c`` = x - mean; y = weight c sqrt(n) / sqrt(sum c^2 + n eps) + bias."""
    body = x.body
    total = body.op("ReduceSum", x, keepdims=1)
    mean = round_shift(total * body.attribute("mean_mantissa"), body.attribute("mean_divisor"))
    centered = saturate(x - mean, CENTERED_LIMIT)
    squares = body.op("ReduceSum", centered * centered, keepdims=1) + body.attribute("epsilon")
    powers = body.constant(POWERS)
    bit_length = body.op("ReduceSum", squares.at_least(powers).cast(TensorProto.INT64), keepdims=1)
    excess = bit_length - (tables.SQUARE_FRACTION + 2)
    even = excess + excess % 2
    mantissa = squares * power_of_two((-even).maximum(0)) // power_of_two(even.maximum(0))
    inverse = INTEGER.call("ReciprocalSqrt", mantissa)
    root = round_shift(inverse * body.attribute("root_mantissa"), 1 << tables.RECIPROCAL_FRACTION)
    shift = body.attribute("root_shift") + (even + tables.SQUARE_FRACTION) // 2
    shift = shift - NORMALIZED_FRACTION
    scaled = centered * root * power_of_two((-shift).maximum(0))
    normalized = round_shift(scaled, power_of_two(shift.maximum(0)))
    y = round_shift(normalized * weight, body.attribute("weight_divisor")) + bias
    return saturate(y, ACCUMULATOR_LIMIT)


@INTEGER.function("TokenMix", "y previous coefficient mantissa divisor", "payload")
def _token_mix(
    y: Value, previous: Value, coefficient: Value, mantissa: Value, divisor: Value
) -> Value:
    """``x`` = m y + (1 - m) previous, requantized."""
    body = y.body
    one = 1 << COEFFICIENT_FRACTION
    x = round_shift(y * coefficient + previous * (-coefficient + one), one)
    limit = body.attribute("limit")
    return saturate(round_shift(saturate(x, ACCUMULATOR_LIMIT) * mantissa, divisor), limit)


def _weighed(new: Value, old: Value, v: Value, a: Value, b: Value) -> tuple[Value, Value]:
    """``old a + new v`` and ``old b + new``, where old and new are powers with fraction 15."""
    unit = 1 << tables.UNIT_FRACTION
    a = round_shift(old * a, unit) + round_shift(new * v, unit >> GUARD_BITS)
    return a, round_shift(old * b, unit) + new * (1 << GUARD_BITS)


@INTEGER.function("WKVStep", "k v r a b p decay first", "y a_next b_next p_next")
def _wkv(
    k: Value,
    v: Value,
    r: Value,
    a: Value,
    b: Value,
    p: Value,
    decay: Value,
    first: Value,
) -> tuple[Value, ...]:
    """``y`` = sigmoid(r) (a + 2^(u+k) v) / (b + 2^(u+k)), and the next a, b, p (b in [1, 2))."""
    bonus = (first + k).maximum(-ACCUMULATOR_LIMIT)
    q = p.maximum(bonus)
    old, new = INTEGER.call("Exp2Negative", q - p), INTEGER.call("Exp2Negative", q - bonus)
    numerator, denominator = _weighed(new, old, v, a, b)
    two = denominator.at_least(TWO).where(2, 1)
    inverse = INTEGER.call("Reciprocal", round_shift(denominator, two))
    wkv = round_shift(numerator * inverse, two * (1 << (tables.RECIPROCAL_FRACTION + GUARD_BITS)))
    y = round_shift(INTEGER.call("Sigmoid", r) * wkv, 1 << tables.UNIT_FRACTION)

    decayed = p + decay
    q = decayed.maximum(k)
    old, new = INTEGER.call("Exp2Negative", q - decayed), INTEGER.call("Exp2Negative", q - k)
    a, b = _weighed(new, old, v, a, b)
    two = b.at_least(TWO).where(2, 1)
    p = q + (two - 1) * (1 << tables.EXPONENT_FRACTION)
    return y, round_shift(a, two), round_shift(b, two), p.minimum(ACCUMULATOR_LIMIT)


@INTEGER.function(
    "WKV",
    "key value receptance a b p decay first key_mantissa key_divisor value_mantissa value_divisor "
    "receptance_mantissa receptance_divisor output_mantissa output_divisor",
    "payload a_next b_next p_next",
)
def _wkv_population(key: Value, value: Value, receptance: Value, *rest: Value) -> tuple[Value, ...]:
    """Three requantized sums into WKVStep, and its y requantized."""
    body = key.body
    a, b, p, decay, first, *scales = rest
    inputs = [
        INTEGER.call("Requantize", x, mantissa, divisor, limit=limit)
        for x, mantissa, divisor, limit in zip(
            (key, value, receptance),
            scales[0:6:2],
            scales[1:6:2],
            (ACCUMULATOR_LIMIT, VALUE_LIMIT, ACCUMULATOR_LIMIT),
            strict=True,
        )
    ]
    y, *state = body.call("WKVStep", [*inputs, a, b, p, decay, first], [None] * 4, INTEGER.name)
    payload = saturate(round_shift(y * scales[6], scales[7]), body.attribute("limit"))
    return payload, *state


@INTEGER.function("LIF", "current u v", "spike u_next v_next")
def _lif(current: Value, u: Value, v: Value) -> tuple[Value, ...]:
    """Lava's stock fixed-point LIF: u wraps, v saturates, the comparison is strict."""
    body = current.body

    def decayed(x: Value, factor: Value) -> Value:
        magnitude = body.op("Abs", x) * factor // DECAY_ONE
        return magnitude * body.op("Sign", x)

    u = decayed(u, -body.attribute("du") + (DECAY_ONE - 1)) + current * (1 << CURRENT_SHIFT)
    half = MEMBRANE_LIMIT + 1
    u = (u + half) % (2 * half) - half
    h = decayed(v, -body.attribute("dv") + DECAY_ONE) + u
    fires = h.exceeds(body.attribute("vth") * (1 << CURRENT_SHIFT))
    return fires.where(1, 0), u, fires.where(0, saturate(h, MEMBRANE_LIMIT))


@INTEGER.function("Residual", "stream branch", "x")
def _residual(stream: Value, branch: Value) -> Value:
    """``x`` = sat_24((stream + branch) / divisor)."""
    body = stream.body
    return saturate(round_shift(stream + branch, body.attribute("divisor")), ACCUMULATOR_LIMIT)


@INTEGER.function("SquaredReLU", "key mantissa divisor", "payload")
def _squared_relu(key: Value, mantissa: Value, divisor: Value) -> Value:
    """``payload`` = clip(max(0, k)^2 scale), k in 12 unsigned bits."""
    body = key.body
    scaled = round_shift(saturate(key, ACCUMULATOR_LIMIT) * mantissa, divisor)
    k = scaled.maximum(0).minimum((1 << KEY_BITS) - 1)
    square = k * k * body.attribute("square_mantissa")
    return round_shift(square, body.attribute("square_divisor")).minimum(body.attribute("limit"))


@INTEGER.function(
    "Gate",
    "value receptance value_mantissa value_divisor receptance_mantissa receptance_divisor",
    "payload",
)
def _gate(
    value: Value,
    receptance: Value,
    value_mantissa: Value,
    value_divisor: Value,
    receptance_mantissa: Value,
    receptance_divisor: Value,
) -> Value:
    """``payload`` = sigmoid(r) v."""
    body = value.body
    scaled = round_shift(saturate(value, ACCUMULATOR_LIMIT) * value_mantissa, value_divisor)
    r = round_shift(
        saturate(receptance, ACCUMULATOR_LIMIT) * receptance_mantissa, receptance_divisor
    )
    v = saturate(scaled, body.attribute("limit"))
    return round_shift(INTEGER.call("Sigmoid", r) * v, 1 << tables.UNIT_FRACTION)
