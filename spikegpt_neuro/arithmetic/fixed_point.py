r"""Fixed-point numbers: rounding, saturation and multiplication by a real constant.

A number with fraction F stands for ``integer * 2**-F``. Two operations carry all scaling:

.. math::
    \mathrm{round\_shift}(x, s) = \lfloor x 2^{-s} + 1/2 \rfloor, \qquad
    \mathrm{rescale}(x, m, s) = \mathrm{round\_shift}(x m, s)

The rounding is half up (toward plus infinity): an addition and an arithmetic shift.
A real factor becomes a 15-bit mantissa and a shift, as in gemmlowp and TFLite
(Jacob et al., arXiv 1712.05877, section 2.2, there with 31 bits).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikegpt_neuro.arithmetic.jit import kernel, kernel_of_equation
from spikegpt_neuro.errors import UnsupportedInput

MANTISSA_BITS = 15
MANTISSA_MAX = (1 << MANTISSA_BITS) - 1
SHIFT_MAX = 46  # |x| < 2**31 times a 15-bit mantissa is below 2**46: a larger shift gives 0

ACCUMULATOR_LIMIT = (1 << 23) - 1
"""Largest magnitude of a 24-bit signed state or accumulator (symmetric)."""


def _round_shift(x: int, shift: int) -> int:
    """``x / 2**shift`` rounded half up; a negative ``shift`` multiplies."""
    if shift > 0:
        return (x + (1 << (shift - 1))) >> shift
    return x << -shift


@kernel_of_equation(_round_shift)
def round_shift(x: int, shift: int) -> int:
    """``x / 2**shift`` rounded half up; a negative ``shift`` multiplies."""
    right, left = max(shift, 0), max(-shift, 0)  # one of the two is 0
    return ((x << left) + ((1 << right) >> 1)) >> right


@kernel
def rescale(x: int, mantissa: int, shift: int) -> int:
    """``x * mantissa / 2**shift`` rounded half up; the product needs a double word."""
    return round_shift(x * mantissa, shift)


@kernel
def saturate(x: int, limit: int) -> int:
    """``x`` limited to ``-limit .. limit``."""
    return max(-limit, min(limit, x))


def multiplier(factor: ArrayLike) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Mantissa and shift so that ``rescale(x, mantissa, shift)`` is about ``x * factor``.

    ``factor`` holds non-negative reals; mantissas lie in 2**14 .. 2**15 - 1 (relative error at
    most 2**-15), or are 0 where the factor is too small to give anything but 0.
    Raises :class:`UnsupportedInput` for factors of 2**15 and above.
    """
    values = np.asarray(factor, np.float64)
    if not np.all(np.isfinite(values)) or (values.size and values.min() < 0):
        raise UnsupportedInput("a scale factor is negative or not finite; check the calibration")
    fraction, exponent = np.frexp(values)
    mantissa = np.round(fraction * (1 << MANTISSA_BITS)).astype(np.int64)
    carried = mantissa == 1 << MANTISSA_BITS
    mantissa = np.where(carried, mantissa >> 1, mantissa)
    shift = MANTISSA_BITS - (exponent.astype(np.int64) + carried)
    if values.size and shift.min() < 0:
        raise UnsupportedInput(
            f"scale factor {values.max():g} exceeds {1 << MANTISSA_BITS}; check the calibration"
        )
    negligible = shift > SHIFT_MAX
    mantissa, shift = np.where(negligible, 0, mantissa), np.where(negligible, 0, shift)
    return mantissa.astype(np.int32), shift.astype(np.int32)


def scalar_multiplier(factor: float) -> tuple[int, int]:
    """:func:`multiplier` of one factor, as plain integers."""
    mantissa, shift = multiplier([factor])
    return int(mantissa[0]), int(shift[0])


def to_fixed(values: ArrayLike, fraction: int, bits: int) -> NDArray[np.int32]:
    """Real ``values`` as ``bits``-bit signed integers with ``fraction``, rounded and saturated."""
    limit = (1 << (bits - 1)) - 1
    scaled = np.floor(np.asarray(values, np.float64) * 2.0**fraction + 0.5)
    return np.clip(scaled, -limit, limit).astype(np.int32)


def fraction_for(largest: float, bits: int, at_most: int) -> int:
    """Most fractional bits with which ``largest`` (a magnitude) fits ``bits`` signed bits."""
    if largest <= 0:
        return at_most
    integer_bits = int(np.floor(np.log2(largest))) + 1
    return min(at_most, bits - 1 - integer_bits)
