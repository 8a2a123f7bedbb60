"""Weights of 4 bits, two to a byte."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel

Bytes = NDArray[np.int8]

PACKED_BITS = 4
"""Weights of this many bits are stored packed."""


def pack(weights: Bytes) -> Bytes:
    """Two 4-bit weights to a byte: (rows, n) -> (rows, ceil(n / 2)).

    Byte i of a row holds column i in its low and column i + ceil(n / 2) in its high half, so
    that both halves of a row meet contiguous events. An odd n is padded with a weight 0.
    """
    half = (weights.shape[1] + 1) // 2
    low = weights[:, :half]
    high = np.zeros_like(low)
    high[:, : weights.shape[1] - half] = weights[:, half:]
    return ((low & 15) | (high << 4)).astype(np.int8)


def unpack(packed: Bytes, columns: int) -> Bytes:
    """The weights (rows, columns) that :func:`pack` was given."""
    low = (packed << 4).astype(np.int8) >> 4
    return np.concatenate([low, packed >> 4], axis=1)[:, :columns]


@kernel
def largest_magnitude(packed: Bytes) -> int:
    """Largest magnitude of the weights in ``packed`` (rows, bytes)."""
    low, high = np.int8(0), np.int8(0)
    for row in packed:
        for byte in row:
            left, right = np.int8(byte << np.int8(4)) >> np.int8(4), byte >> np.int8(4)
            low = min(low, left, right)
            high = max(high, left, right)
    return max(-int(low), int(high))
