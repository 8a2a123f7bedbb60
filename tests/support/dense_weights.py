"""The matrix of a projection that has one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.graph.graph import Projection


def weights_of(projection: Projection) -> NDArray[np.int8]:
    """Weights (m, n) of a dense projection."""
    weights = projection.weights
    assert weights is not None, projection.name
    return weights
