r"""How far a mean over windows of a text can be trusted.

Windows are drawn anew with replacement (the bootstrap; Efron 1979), each with its tokens:

.. math::
    m^* = \frac{\sum_i x_{j_i}}{\sum_i n_{j_i}}

with :math:`x_j` the sum of a window, :math:`n_j` its tokens and :math:`j_i` drawn evenly from the
windows. The interval holds the middle 95 % of 2,000 such means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL, DRAWS, FEWEST = 0.95, 2000, 8


@dataclass(frozen=True)
class Interval:
    """The ends of a 95 % interval, and of how many windows."""

    low: float
    high: float
    windows: int


def interval(sums: Sequence[float], tokens: Sequence[int]) -> Interval | None:
    """Of ``sum(sums) / sum(tokens)``; None for fewer than 8 windows. The same whenever asked."""
    windows = len(sums)
    if windows < FEWEST:
        return None
    chosen = np.random.default_rng(0).integers(windows, size=(DRAWS, windows))
    means = np.asarray(sums)[chosen].sum(axis=1) / np.asarray(tokens)[chosen].sum(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high), windows)
