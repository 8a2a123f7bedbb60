r"""Products of one token's events with a weight matrix, at the speed of memory.

.. math:: a_j = \sum_i w_{ji} e_i

Two orders of the same sum. *By target*: a dot product per target; every weight is read once,
as 16-bit products that the compiler turns into multiply-add instructions. *By source*: for
each source whose event is not 0, its row of weights is added to all targets; what no event
touches is never read, and what will be touched is asked for ahead. Weights are int8, or two 4-bit
weights to a byte (:func:`~spikegpt_neuro.arithmetic.packing.pack`).

Every product computes a share of its sums, the lines ``begin`` to ``end``: what threads divide
among each other. A line is a target; by source and packed, it is a byte of a row, which holds
two targets. Sums of int8 x int16 products fit int32 (the graph's validation bounds them).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.arithmetic.prefetch import LINE_BYTES, prefetch
from spikegpt_neuro.neurons.program import IntArray

AHEAD = 16
"""Rows by source that are asked for before they are added."""

Bytes = NDArray[np.int8]
Narrow = NDArray[np.int16]


@kernel
def by_target(weights: Bytes, events: Narrow, sums: IntArray, begin: int, end: int) -> None:
    """``weights`` (targets, sources); fills ``sums`` (targets,)."""
    for j in range(begin, end):
        total = np.int32(0)
        for i in range(weights.shape[1]):
            total += np.int32(weights[j, i]) * np.int32(events[i])
        sums[j] = total


@kernel
def by_target_packed(weights: Bytes, events: Narrow, sums: IntArray, begin: int, end: int) -> None:
    """``weights`` (targets, half) packed; ``events`` padded to 2 half."""
    half = weights.shape[1]
    low_events, high_events = events[:half], events[half : 2 * half]
    for j in range(begin, end):
        total = np.int32(0)
        for i in range(half):
            low, high = _halves(weights[j, i])
            total += np.int32(low) * np.int32(low_events[i])
            total += np.int32(high) * np.int32(high_events[i])
        sums[j] = total


@kernel
def by_source(
    weights: Bytes, events: Narrow, active: IntArray, sums: IntArray, begin: int, end: int
) -> None:
    """``weights`` (sources, targets); ``active`` is room for the indices of events, (sources,)."""
    count = _find_active(events, weights.shape[0], active)
    share = sums[begin:end]  # counted from 0, or the compiler finds no vectors
    share[:] = 0
    _prefetch_rows(weights, active, 0, min(count, AHEAD), begin, end)
    for k in range(0, count - 3, 4):  # four rows at a time: fewer passes over the sums
        ahead = k + AHEAD
        _prefetch_rows(weights, active, ahead, min(count, ahead + 4), begin, end)
        first, second = weights[active[k], begin:end], weights[active[k + 1], begin:end]
        third, fourth = weights[active[k + 2], begin:end], weights[active[k + 3], begin:end]
        e0, e1 = np.int32(events[active[k]]), np.int32(events[active[k + 1]])
        e2, e3 = np.int32(events[active[k + 2]]), np.int32(events[active[k + 3]])
        for j in range(len(share)):
            share[j] += (
                np.int32(first[j]) * e0
                + np.int32(second[j]) * e1
                + np.int32(third[j]) * e2
                + np.int32(fourth[j]) * e3
            )
    for k in range(count - count % 4, count):
        row, e = weights[active[k], begin:end], np.int32(events[active[k]])
        for j in range(len(share)):
            share[j] += np.int32(row[j]) * e


@kernel
def by_source_packed(
    weights: Bytes, events: Narrow, active: IntArray, sums: IntArray, begin: int, end: int
) -> None:
    """``weights`` (sources, half) packed over targets; ``sums`` holds 2 half."""
    half = weights.shape[1]
    count = _find_active(events, weights.shape[0], active)
    low_sums, high_sums = sums[begin:end], sums[half + begin : half + end]
    low_sums[:] = 0
    high_sums[:] = 0
    _prefetch_rows(weights, active, 0, min(count, AHEAD), begin, end)
    for k in range(0, count - 1, 2):
        ahead = k + AHEAD
        _prefetch_rows(weights, active, ahead, min(count, ahead + 2), begin, end)
        first, second = weights[active[k], begin:end], weights[active[k + 1], begin:end]
        e0, e1 = np.int32(events[active[k]]), np.int32(events[active[k + 1]])
        for j in range(len(low_sums)):
            low0, high0 = _halves(first[j])
            low1, high1 = _halves(second[j])
            low_sums[j] += np.int32(low0) * e0 + np.int32(low1) * e1
            high_sums[j] += np.int32(high0) * e0 + np.int32(high1) * e1
    if count % 2:
        row, e = weights[active[count - 1], begin:end], np.int32(events[active[count - 1]])
        for j in range(len(low_sums)):
            low, high = _halves(row[j])
            low_sums[j] += np.int32(low) * e
            high_sums[j] += np.int32(high) * e


@kernel
def _prefetch_rows(
    weights: Bytes, active: IntArray, first: int, last: int, begin: int, end: int
) -> None:
    for k in range(first, last):
        for column in range(begin, end, LINE_BYTES):
            prefetch(weights, active[k], column)


@kernel
def _halves(byte: np.int8) -> tuple[np.int16, np.int16]:
    """The two signed 4-bit weights of a byte, low half first."""
    pair = np.int16(byte)
    return np.int16(np.int16(pair << np.int16(12)) >> np.int16(12)), np.int16(pair >> np.int16(4))


@kernel
def _find_active(events: Narrow, sources: int, active: IntArray) -> int:
    count = 0
    for i in range(sources):
        active[count] = i
        count += events[i] != 0
    return count
