"""A binary heap over two arrays, keys and items: the smallest key lies at 0.

Items of equal keys come out in an order that follows from the heap's shape alone. Here it is that
of a priority queue of the C++ standard library, so that simulators built on one can be compared
with event for event: taking moves the gap at the top down to the bottom, to the right child where
two are equal, and lets the last element rise from there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel

Keys = NDArray[np.float64]
Items = NDArray[np.int64]


@kernel
def put(keys: Keys, items: Items, size: int, key: float, item: int) -> int:
    """Add an item to a heap of ``size``; returns the new size."""
    _rise(keys, items, size, key, item)
    return size + 1


@kernel
def take(keys: Keys, items: Items, size: int) -> int:
    """Remove the item at 0; returns the new size."""
    size -= 1
    gap, right = 0, 2
    while right < size:
        child = right - int(keys[right] > keys[right - 1])
        keys[gap], items[gap] = keys[child], items[child]
        gap, right = child, 2 * child + 2
    if right == size:  # a last parent with a left child only
        keys[gap], items[gap] = keys[right - 1], items[right - 1]
        gap = right - 1
    _rise(keys, items, gap, keys[size], items[size])
    return size


@kernel
def _rise(keys: Keys, items: Items, gap: int, key: float, item: int) -> None:
    """Fill the gap with an element, parents that are larger moving down."""
    while gap > 0 and keys[(gap - 1) // 2] > key:
        parent = (gap - 1) // 2
        keys[gap], items[gap] = keys[parent], items[parent]
        gap = parent
    keys[gap], items[gap] = key, item
