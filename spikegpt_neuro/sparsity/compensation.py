r"""What the remaining synapses can make up for, in closed form.

Where a projection W was to receive x and receives s (silenced, rounded), the weights that come
closest to what was meant, over T measured tokens, are

.. math::
    W' = \arg\min_V E \lVert W x - V s \rVert^2 + \lambda \lVert V - W \rVert^2
       = W A, \qquad A = (E[x s^T] + \lambda I)(E[s s^T] + \lambda I)^{-1}

A does not depend on W: one for every population that sends. What W' cannot make up for is
:math:`W (x - A s)`.

Of pruned weights, those go whose :math:`|w_{ji}| \sqrt{H_{ii}}` is least in their row, an output
channel, with :math:`H = E[s s^T]` (Wanda, arXiv 2306.11695). The others then make up for them
(SparseGPT, arXiv 2301.00774, approximately; here to the optimum, by conjugate gradients):

.. math:: \min_V (V - W') H (V - W')^T \quad \text{with} \quad v_{ji} = 0 \text{ where pruned}
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.model.spikegpt import FloatArray

RIDGE = 1e-3  # of the mean square: keeps what was seldom seen where it was
ROUNDS = 24  # of conjugate gradients, after which float32 has no more to gain
TINY = 1e-30

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """``crossed`` E[x s^T] and ``sent`` E[s s^T], (n, n), both with the ridge added."""

    crossed: Matrix
    sent: Matrix

    @classmethod
    def of(cls, meant: FloatArray, sent: FloatArray) -> Moments:
        """From values (T, n) that were meant and those that are sent."""
        tokens, width = meant.shape
        square = (sent.T @ sent).astype(np.float64) / tokens
        crossed = (meant.T @ sent).astype(np.float64) / tokens
        level = RIDGE * float(np.mean(np.square(meant, dtype=np.float64))) or 1.0
        ridge = level * np.eye(width)
        return cls(crossed + ridge, square + ridge)

    @property
    def mixing(self) -> NDArray[np.float32]:
        """A (n, n): compensated weights are W A."""
        found: NDArray[np.float32] = np.linalg.solve(self.sent, self.crossed.T).T.astype(np.float32)
        return found


def pruned(weights: FloatArray, sent: Matrix, share: float) -> NDArray[np.float32]:
    """``weights`` (m, n) without ``share`` of each row; the others make up for it.

    ``sent`` is E[s s^T] (n, n), positive definite.
    """
    count = round(share * weights.shape[1])
    if count == 0:
        return weights.astype(np.float32)
    level = np.sqrt(np.diag(sent)).astype(np.float32)
    scaled = weights.astype(np.float32) * level  # of weights that matter alike
    least = np.argpartition(np.abs(scaled), count - 1, axis=1)[:, :count]
    kept = np.ones(scaled.shape, bool)
    np.put_along_axis(kept, least, False, axis=1)
    correlation = (sent / np.outer(level, level)).astype(np.float32)
    return _constrained(scaled, correlation, kept) / level


def _constrained(
    wanted: NDArray[np.float32], square: NDArray[np.float32], kept: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """The rows nearest to ``wanted`` (m, n) in the metric ``square``, 0 where not ``kept``."""
    found = np.where(kept, wanted, 0)
    residual = np.where(kept, (wanted - found) @ square, 0)
    direction, squared = residual, _row_products(residual, residual)
    for _ in range(ROUNDS):
        image = np.where(kept, direction @ square, 0)
        step = squared / np.maximum(_row_products(direction, image), TINY)
        found = found + step * direction
        residual = residual - step * image
        before, squared = squared, _row_products(residual, residual)
        direction = residual + squared / np.maximum(before, TINY) * direction
    return found


def _row_products(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inner product of each row of ``a`` with that of ``b``, (m, 1)."""
    found: NDArray[np.float32] = np.einsum("ji,ji->j", a, b)[:, None]
    return found
