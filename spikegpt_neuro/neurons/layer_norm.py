r"""LayerNorm over the population, in integers.

.. math::
    c_i = x_i - \frac{1}{n} \sum_j x_j, \qquad
    V = \sum_j c_j^2 + n \epsilon, \qquad
    y_i = \gamma_i \, c_i \sqrt{n} \, V^{-1/2} + \beta_i

(Ba et al., arXiv 1607.06450, multiplied out so that nothing is divided by n.) The reciprocal
square root is a table over [1, 4), reached by an even shift of V; compare I-BERT
(arXiv 2101.01321, algorithm 4), which iterates instead. The two sums are the only state of the
graph that exceeds 24 bits: each is a double word (48 bits).
Fractions: x ``input_fraction``; normalized value 13; y ``output_fraction``.
"""

from __future__ import annotations

from collections.abc import Iterator
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
    RECIPROCAL_FRACTION,
    RECIPROCAL_SQRT_TABLE,
    SQUARE_FRACTION,
    bit_length,
    reciprocal_sqrt,
)
from spikegpt_neuro.neurons.program import (
    STATE_BITS_MAX,
    EventFormat,
    IntArray,
    Program,
    kernel_of,
    scalar,
    vector,
)

NORMALIZED_FRACTION = 13
CENTERED_LIMIT = (1 << 19) - 1  # |c|: its square times 1024 neurons fits 48 bits
WEIGHT_BITS = 16
WEIGHT_LIMIT = (1 << (WEIGHT_BITS - 1)) - 1
FRACTION_MAX = 15
WEIGHT_FRACTION_MIN = -16  # |normalized| < 2**29 times a weight, shifted left by 18, fits int64
MEAN_MANTISSA_MAX = 1 << 23
EPSILON_MAX = (1 << 48) - 1


@dataclass(frozen=True, eq=False)
class LayerNorm(Program):
    """``weight`` (n,) 16 bits with ``weight_fraction``; ``bias`` (n,) with ``output_fraction``.

    ``mean_mantissa``, ``mean_shift``: 1/n; ``root_mantissa``, ``root_shift``: sqrt(n);
    ``epsilon``: n * eps with twice the input's fraction.
    """

    kind: ClassVar[str] = "layer_norm"
    ports: ClassVar[tuple[str, ...]] = ("input",)
    tables: ClassVar[tuple[IntArray, ...]] = (RECIPROCAL_SQRT_TABLE,)
    population_wide: ClassVar[bool] = True

    weight: IntArray = vector(-WEIGHT_LIMIT, WEIGHT_LIMIT)
    bias: IntArray = vector(-ACCUMULATOR_LIMIT, ACCUMULATOR_LIMIT)
    weight_fraction: int = scalar(WEIGHT_FRACTION_MIN, FRACTION_MAX)
    output_fraction: int = scalar(0, FRACTION_MAX)
    mean_mantissa: int = scalar(1, MEAN_MANTISSA_MAX)
    mean_shift: int = scalar(0, SHIFT_MAX)
    root_mantissa: int = scalar(0, MANTISSA_MAX)
    root_shift: int = scalar(0, SHIFT_MAX)
    epsilon: int = scalar(1, EPSILON_MAX)

    @property
    def events(self) -> EventFormat:
        return EventFormat(STATE_BITS_MAX, signed=True)

    @property
    def weight_shift(self) -> int:
        """From normalized value times weight to the output's fraction."""
        return NORMALIZED_FRACTION + self.weight_fraction - self.output_fraction

    def scalars(self) -> tuple[int, ...]:
        return (
            self.weight_shift,
            self.mean_mantissa,
            self.mean_shift,
            self.root_mantissa,
            self.root_shift,
            self.epsilon,
        )

    def _problems(self, size: int) -> Iterator[str]:
        yield from super()._problems(size)
        if size * CENTERED_LIMIT**2 + self.epsilon >= 1 << 62:
            yield f"{size} neurons: the sum of squares does not fit"
        if size * ACCUMULATOR_LIMIT * self.mean_mantissa >= 1 << 62:
            yield f"{size} neurons: their sum times 1/n does not fit"


@kernel
def inverse_root(v: int, root_mantissa: int, root_shift: int) -> tuple[int, int]:
    """(g, s) with g 2^-s about sqrt(n / v), for a positive double word v."""
    excess = bit_length(v) - (SQUARE_FRACTION + 2)
    even = excess + (excess & 1)  # so that v 2^-even lies in [1, 4) with fraction 22
    mantissa = v >> even if even >= 0 else v << -even
    g = round_shift(reciprocal_sqrt(mantissa) * root_mantissa, RECIPROCAL_FRACTION)
    return g, root_shift + (SQUARE_FRACTION + even) // 2


@kernel_of(LayerNorm)
def advance_layer_norm(
    x: IntArray,
    _: IntArray,
    __: IntArray,
    ___: IntArray,
    vectors: IntArray,
    scalars: NDArray[np.int64],
    events: IntArray,
) -> tuple[int, int]:
    """Fill ``events`` (T, n); see :func:`kernel_of`."""
    weight, bias = vectors[0], vectors[1]
    weight_shift, mean_mantissa, mean_shift = scalars[0], scalars[1], scalars[2]
    root_mantissa, root_shift, epsilon = scalars[3], scalars[4], scalars[5]
    saturations = 0
    for t in range(x.shape[0]):
        total = 0
        for i in range(x.shape[1]):
            total += int(x[t, i])
        mean = rescale(total, mean_mantissa, mean_shift)
        squares = epsilon
        for i in range(x.shape[1]):
            c = int(x[t, i]) - mean
            centered = saturate(c, CENTERED_LIMIT)
            saturations += centered != c
            squares += centered * centered
        g, shift = inverse_root(squares, root_mantissa, root_shift)
        for i in range(x.shape[1]):
            centered = saturate(int(x[t, i]) - mean, CENTERED_LIMIT)
            normalized = round_shift(centered * g, shift - NORMALIZED_FRACTION)
            value = round_shift(normalized * int(weight[i]), weight_shift) + int(bias[i])
            bounded = saturate(value, ACCUMULATOR_LIMIT)
            saturations += bounded != value
            events[t, i] = bounded
    return saturations, 0
