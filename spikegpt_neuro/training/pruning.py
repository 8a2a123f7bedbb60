r"""Which weights go: those whose loss is missed least.

To second order, taking a weight away costs :math:`\tfrac12 w^2 \, \partial^2 L / \partial w^2`
(optimal brain damage, LeCun et al., 1990). The squared gradients that Adam keeps stand for the
curvature (the empirical Fisher information), so the score of a weight is

.. math:: w^2 \, \overline{g^2}

and the least of all matrices together go, so that each matrix keeps what it needs. As long as
masks still move, a weight that is away goes on learning as if it were there (straight through),
and comes back where others have become less worth.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

TINY = 1e-20  # a weight without any gradient still counts by its magnitude


def masks(
    matrices: Mapping[str, Tensor], squares: Mapping[str, Tensor], kept: float
) -> dict[str, Tensor]:
    """1 where a weight stays, 0 elsewhere; ``kept`` is the share that stays of all together.

    ``squares``  matrix -> running mean of its squared gradients.
    """
    level = _level(matrices, squares, kept)
    return {n: (_scores(w, squares[n]) > level).to(w.dtype) for n, w in matrices.items()}


def _level(matrices: Mapping[str, Tensor], squares: Mapping[str, Tensor], kept: float) -> float:
    """The score that weights stay above; of large models it holds no more than one copy."""
    together = np.empty(sum(w.numel() for w in matrices.values()), np.float32)
    away = round((1 - kept) * together.size)
    if away == 0:
        return -1.0
    begin = 0
    for name, weights in matrices.items():
        scores = _scores(weights, squares[name]).flatten().cpu().numpy()
        together[begin : begin + scores.size] = scores
        begin += scores.size
    together.partition(away - 1)
    return float(together[away - 1])


def _scores(weights: Tensor, squares: Tensor) -> Tensor:
    return weights.square() * (squares + TINY)
