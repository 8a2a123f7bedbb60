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
    RECIPROCAL_FRACTION,
    SQUARE_FRACTION,
    bit_length,
    reciprocal_sqrt,
)
from spikegpt_neuro.neurons.program import (
    STATE_BITS_MAX,
    Advance,
    Counts,
    EventFormat,
    IntArray,
    Program,
    State,
)

NORMALIZED_FRACTION = 13
CENTERED_LIMIT = (1 << 19) - 1  # |c|: its square times 1024 neurons fits 48 bits
WEIGHT_BITS = 16


@dataclass(frozen=True, eq=False)
class LayerNorm(Program):
    """``weight`` (n,) 16 bits with ``weight_fraction``; ``bias`` (n,) with ``output_fraction``.

    ``mean_mantissa``, ``mean_shift``: 1/n; ``root_mantissa``, ``root_shift``: sqrt(n);
    ``epsilon``: n * eps with twice the input's fraction.
    """

    kind: ClassVar[str] = "layer_norm"
    ports: ClassVar[tuple[str, ...]] = ("input",)
    population_wide: ClassVar[bool] = True

    weight: IntArray
    bias: IntArray
    weight_fraction: int
    output_fraction: int
    mean_mantissa: int
    mean_shift: int
    root_mantissa: int
    root_shift: int
    epsilon: int

    @property
    def events(self) -> EventFormat:
        return EventFormat(STATE_BITS_MAX, signed=True)

    def advance(self, state: State, *inputs: IntArray) -> Advance:
        (x,) = inputs
        y = np.empty_like(x)
        saturations = advance_layer_norm(
            x,
            self.weight,
            self.bias,
            NORMALIZED_FRACTION + self.weight_fraction - self.output_fraction,
            self.mean_mantissa,
            self.mean_shift,
            self.root_mantissa,
            self.root_shift,
            self.epsilon,
            y,
        )
        return Advance(state, y, Counts(saturations))

    def problems(self, size: int) -> list[str]:
        found = super().problems(size)
        if self.epsilon < 1:
            found.append(f"epsilon is {self.epsilon}, expected at least 1")
        if size * CENTERED_LIMIT**2 + self.epsilon >= 1 << 62:
            found.append(f"{size} neurons: the sum of squares does not fit")
        return found


@kernel
def inverse_root(v: int, root_mantissa: int, root_shift: int) -> tuple[int, int]:
    """(g, s) with g 2^-s about sqrt(n / v), for a positive double word v."""
    excess = bit_length(v) - (SQUARE_FRACTION + 2)
    even = excess + (excess & 1)  # so that v 2^-even lies in [1, 4) with fraction 22
    mantissa = v >> even if even >= 0 else v << -even
    g = round_shift(reciprocal_sqrt(mantissa) * root_mantissa, RECIPROCAL_FRACTION)
    return g, root_shift + (SQUARE_FRACTION + even) // 2


@kernel
def advance_layer_norm(
    x: IntArray,
    weight: IntArray,
    bias: IntArray,
    weight_shift: int,
    mean_mantissa: int,
    mean_shift: int,
    root_mantissa: int,
    root_shift: int,
    epsilon: int,
    y: IntArray,
) -> int:
    """Fill y (T, n) from x (T, n); returns saturations."""
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
            y[t, i] = bounded
    return saturations
