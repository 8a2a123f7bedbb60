"""What a run of any backend says about activity, in one form: measured, never assumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Activity:
    """Non-zero events of every population: the statistic from which all else follows.

    ``per_token``   population -> (T,) events that it sent for each token.
    ``per_neuron``  population -> (n,) events of each neuron over the run.
    """

    tokens: int
    per_token: Mapping[str, NDArray[np.int64]]
    per_neuron: Mapping[str, NDArray[np.int64]]
