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
import torch
from torch import Tensor

TINY = 1e-20  # a weight without any gradient still counts by its magnitude


def masks(
    matrices: Mapping[str, Tensor], squares: Mapping[str, Tensor], kept: float
) -> dict[str, Tensor]:
    """1 where a weight stays, 0 elsewhere; ``kept`` is the share that stays of all together.

    ``squares``  matrix -> running mean of its squared gradients.
    """
    scores = {name: w.square() * (squares[name] + TINY) for name, w in matrices.items()}
    together = torch.cat([score.flatten() for score in scores.values()]).cpu().numpy()
    away = round((1 - kept) * together.size)
    if away == 0:
        return {name: torch.ones_like(w) for name, w in matrices.items()}
    level = float(np.partition(together, away - 1)[away - 1])
    return {name: (score > level).to(score.dtype) for name, score in scores.items()}
