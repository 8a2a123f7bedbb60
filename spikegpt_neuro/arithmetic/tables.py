r"""Functions of one integer by a small table and linear interpolation.

Every table holds the function at 2^k equally spaced points of one octave (or of the range
where the function is not yet flat) and is read as

.. math:: f(x) \approx T[i] + \mathrm{round\_shift}((T[i+1] - T[i]) \, r, b)

with index i the high bits of x and remainder r its b low bits. Ranges outside are reached by
shifts. Errors (``tests/arithmetic/test_arithmetic.py`` measures them), in units of the last place:
exp2 1.0, sigmoid 2.2, reciprocal 1.2, reciprocal square root 1.3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.fixed_point import round_shift
from spikegpt_neuro.arithmetic.jit import kernel, kernel_of_equation

EXPONENT_FRACTION = 16  # of the argument of exp2: base-2 logarithms
UNIT_FRACTION = 15  # of the results of exp2 and sigmoid: 1.0 is 2**15
SIGMOID_INPUT_FRACTION = 12
SIGMOID_RANGE = 8 << SIGMOID_INPUT_FRACTION
MANTISSA_FRACTION = 21  # of the argument of reciprocal
SQUARE_FRACTION = 22  # of the argument of reciprocal_sqrt
RECIPROCAL_FRACTION = 16  # of the results of reciprocal and reciprocal_sqrt


def _table(values: NDArray[np.float64], fraction: int) -> NDArray[np.int32]:
    return np.floor(values * (1 << fraction) + 0.5).astype(np.int32)


_OCTAVE = np.arange(257) / 256
EXP2_TABLE = _table(2.0**-_OCTAVE, UNIT_FRACTION)
SIGMOID_TABLE = _table(1 / (1 + np.exp(-(np.arange(257) - 128) / 16)), UNIT_FRACTION)
RECIPROCAL_TABLE = _table(1 / (1 + _OCTAVE), RECIPROCAL_FRACTION)
RECIPROCAL_SQRT_TABLE = _table(1 / np.sqrt(1 + np.arange(385) / 128), RECIPROCAL_FRACTION)
ENTRY_BITS = 17  # entries are at most 2**16, steps fit the rest


def _with_steps(table: NDArray[np.int32]) -> NDArray[np.int32]:
    """Each entry in the low bits, and above them the step to the next: one reading for both."""
    return table[:-1] + (np.diff(table) << ENTRY_BITS)


EXP2_STEPS, SIGMOID_STEPS = _with_steps(EXP2_TABLE), _with_steps(SIGMOID_TABLE)
RECIPROCAL_STEPS = _with_steps(RECIPROCAL_TABLE)
RECIPROCAL_SQRT_STEPS = _with_steps(RECIPROCAL_SQRT_TABLE)


def _interpolate(
    table: NDArray[np.int32],
    steps: NDArray[np.int32],  # noqa: ARG001
    x: int,
    bits: int,
) -> int:
    index = x >> bits
    low, high = int(table[index]), int(table[index + 1])
    return low + round_shift((high - low) * (x - (index << bits)), bits)


@kernel_of_equation(_interpolate)
def interpolate(
    table: NDArray[np.int32],  # noqa: ARG001
    steps: NDArray[np.int32],
    x: int,
    bits: int,
) -> int:
    """The table's function at ``x``, ``bits`` of which are below its points."""
    index = x >> bits
    both = int(steps[np.uint64(index)])
    low, step = both & ((1 << ENTRY_BITS) - 1), both >> ENTRY_BITS
    return low + round_shift(step * (x - (index << bits)), bits)


def _exp2_negative(x: int) -> int:
    """``2**-x``, x >= 0 with fraction 16; result with fraction 15 (1.0 for x = 0)."""
    octave = x >> EXPONENT_FRACTION
    if octave > UNIT_FRACTION + 1:
        return 0
    value = interpolate(
        EXP2_TABLE, EXP2_STEPS, x - (octave << EXPONENT_FRACTION), EXPONENT_FRACTION - 8
    )
    return round_shift(value, octave)


@kernel_of_equation(_exp2_negative)
def exp2_negative(x: int) -> int:
    """``2**-x``, x >= 0 with fraction 16; result with fraction 15 (1.0 for x = 0)."""
    octave = x >> EXPONENT_FRACTION
    value = interpolate(
        EXP2_TABLE, EXP2_STEPS, x - (octave << EXPONENT_FRACTION), EXPONENT_FRACTION - 8
    )
    return round_shift(value, min(octave, UNIT_FRACTION + 2))  # beyond it, nothing is left


@kernel
def sigmoid(x: int) -> int:
    """``1 / (1 + exp(-x))``, x with fraction 12, flat outside [-8, 8); result with fraction 15."""
    inside = max(0, min(2 * SIGMOID_RANGE - 1, x + SIGMOID_RANGE))
    return interpolate(SIGMOID_TABLE, SIGMOID_STEPS, inside, SIGMOID_INPUT_FRACTION - 4)


@kernel
def reciprocal(x: int) -> int:
    """``1 / x`` for x in [1, 2) with fraction 21; result with fraction 16."""
    return interpolate(
        RECIPROCAL_TABLE, RECIPROCAL_STEPS, x - (1 << MANTISSA_FRACTION), MANTISSA_FRACTION - 8
    )


@kernel
def reciprocal_sqrt(x: int) -> int:
    """``1 / sqrt(x)`` for x in [1, 4) with fraction 22; result with fraction 16."""
    return interpolate(
        RECIPROCAL_SQRT_TABLE,
        RECIPROCAL_SQRT_STEPS,
        x - (1 << SQUARE_FRACTION),
        SQUARE_FRACTION - 7,
    )


@kernel
def bit_length(x: int) -> int:
    """Number of bits of a positive integer."""
    length = 0
    while x > 0:
        x >>= 1
        length += 1
    return length
