r"""Synapses: what the events of one population add up to at the next.

.. math:: a_j[t] = \sum_i w_{ji} e_i[t]

Three ways to the same integers: a compiled loop for one token, and matrix products in float32
or float64 for many. A floating-point sum of integers is exact while no partial sum can exceed
the mantissa: the largest possible one is bounded by max_j sum_i |w_ji| times max |e|.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.graph.graph import Projection
from spikegpt_neuro.neurons.program import IntArray

FLOAT32_EXACT = 1 << 24


def accumulate(projection: Projection, events: IntArray) -> IntArray:
    """What ``events`` (T, source size) accumulate at the target: (T, target size) int32."""
    if projection.weights is None:
        return events << projection.shift if projection.shift else events
    if len(events) == 1:
        return _one_token(projection.weights, events[0])
    return _many_tokens(projection.weights, events)


@kernel
def _one_token(weights: NDArray[np.int8], events: IntArray) -> IntArray:
    targets, sources = weights.shape
    accumulated = np.empty((1, targets), np.int32)
    for j in range(targets):
        total = np.int32(0)
        for i in range(sources):
            total += np.int32(weights[j, i]) * events[i]
        accumulated[0, j] = total
    return accumulated


def _many_tokens(weights: NDArray[np.int8], events: IntArray) -> IntArray:
    largest_event = max(int(events.max()), -int(events.min()))
    bound = largest_row_sum(weights) * largest_event
    dtype = np.dtype(np.float32 if bound < FLOAT32_EXACT else np.float64)
    product: NDArray[np.floating] = events.astype(dtype) @ weights.astype(dtype).T
    return product.astype(np.int32)


@kernel
def largest_row_sum(weights: NDArray[np.int8]) -> int:
    """max_j sum_i |w_ji|."""
    largest = 0
    for j in range(weights.shape[0]):
        total = 0
        for i in range(weights.shape[1]):
            total += abs(int(weights[j, i]))
        largest = max(largest, total)
    return largest
