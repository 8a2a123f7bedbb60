r"""Synapses: what the events of one population add up to at the next.

.. math:: a_j[t] = \sum_i w_{ji} e_i[t]

A compiled loop for one token. For many tokens, tiles of the processor's own products where it has
some (:mod:`~spikegpt_neuro.backends.reference.tiles`); else matrix products in float32, which BLAS
does fast and which are exact as long as no partial sum can exceed 2^24. The largest possible one
is max_j sum_i |w_ji| times the largest payload; where that is too large the sources are cut into
slices whose sums are added as integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.backends.reference import tiles
from spikegpt_neuro.backends.reference.instructions import EVENT_BITS
from spikegpt_neuro.graph.graph import WEIGHT_BITS_MAX, Projection
from spikegpt_neuro.neurons.program import EventFormat, IntArray

FLOAT32_EXACT = 1 << 24
WEIGHT_LIMIT = (1 << (WEIGHT_BITS_MAX - 1)) - 1


@dataclass(frozen=True)
class Synapses:
    """A projection whose source sends ``events``, ready to accumulate."""

    projection: Projection
    events: EventFormat

    def accumulate(self, events: IntArray) -> IntArray:
        """What ``events`` (T, source size) add up to at the target: (T, target size) int32."""
        if not self.projection.is_dense:
            shift = self.projection.shift
            return events << shift if shift else events
        if len(events) == 1:
            return _one_token(self._weights, events[0])
        if self.events.bits <= EVENT_BITS and tiles.available():
            return tiles.product(self._matrix, events)
        return self.by_blas(events)

    def by_blas(self, events: IntArray) -> IntArray:
        """The same sums by floating-point products, on any processor."""
        weights = self._weights
        total: IntArray | None = None
        for part in self.slices:
            product = events[:, part].astype(self.dtype) @ weights[:, part].astype(self.dtype).T
            exact = product.astype(np.int32)
            total = exact if total is None else np.add(total, exact, out=total)
        assert total is not None
        return total

    @cached_property
    def _weights(self) -> NDArray[np.int8]:
        weights = self.projection.weights
        assert weights is not None
        return weights

    @cached_property
    def _matrix(self) -> tiles.Matrix:
        weights = self.projection.weights  # needed only here, and not kept
        assert weights is not None
        return tiles.laid_out(weights, self.events)

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """float32, or float64 where not even one product of a weight and a payload fits that."""
        narrow = WEIGHT_LIMIT * self.events.high < FLOAT32_EXACT
        return np.dtype(np.float32 if narrow else np.float64)

    @cached_property
    def slices(self) -> Sequence[slice]:
        """The fewest equal slices of the sources whose sums ``dtype`` holds exactly."""
        if self.dtype == np.float64:
            return [slice(None)]  # a valid graph's sums fit 32 bits
        weights, sources = self._weights, self._weights.shape[1]
        for count in range(1, sources + 1):
            cuts = [sources * k // count for k in range(count + 1)]
            parts = [slice(*pair) for pair in pairwise(cuts)]
            largest = max(largest_row_sum(weights[:, part]) for part in parts)
            if largest * self.events.high < FLOAT32_EXACT:
                return parts
        raise AssertionError("a single product fits float32")


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
