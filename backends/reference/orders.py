r"""In which order a session reads a matrix: by target or by source, as its events have it.

By target, all weights are read in order; by source, only those that an event meets, but in pieces.
The second is quicker where fewer than a certain share of the events are not 0. That share is
measured when the session starts (:func:`break_even`), on its own weights, since it depends on the
machine and on which of its caches they fit. How many events there are is counted while the session
runs; after :data:`LOOKS` tokens each matrix is laid out in the order that is the quicker one, a few
with each token.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.backends.reference import byte_products, byte_rows

Bytes = NDArray[np.int8]

LOOKS = (8, 64)
"""Tokens after which a session looks at how many events there were."""
HYSTERESIS = 0.9
"""A matrix by target is turned where this share of the break-even would do: not to and fro."""
TURNED_BYTES = 4 << 20
"""Bytes that are laid out anew with one token: some milliseconds."""

SOURCES, TARGETS = 2048, 512
"""Shape of the pieces that are timed."""
PIECES, ROUNDS = 4, 3
TIMED_DENSITY = 0.25
UNMEASURED = 0.4
"""Where the weights are too few to be timed. Their order matters little, too."""
LEAST, MOST = 0.05, 0.9


def break_even(memory: Bytes, *, packed: bool) -> float:
    """The share of events that are not 0 below which weights are read by source more quickly.

    ``memory`` is that of all weights, packed or not; what they are does not matter. Time by source
    grows with the share of events, by target it is always the same.
    """
    width = TARGETS // 2 if packed else TARGETS
    size = SOURCES * width
    if len(memory) < 2 * PIECES * size + byte_products.room_behind(SOURCES):
        return UNMEASURED
    step = (len(memory) - byte_products.room_behind(SOURCES) - size) // (2 * PIECES)
    pieces = [memory[k * step : k * step + size] for k in range(2 * PIECES)]
    events = np.ones(SOURCES + 1, np.int16)
    some = (np.random.default_rng(0).random(SOURCES + 1) < TIMED_DENSITY).astype(np.int16)
    working = np.zeros(byte_rows.room(SOURCES, TARGETS), np.int32)
    room, sums = working.view(np.int8), np.zeros(TARGETS + byte_products.ROWS, np.int32)
    by_target, by_source = (
        (byte_products.by_target_packed_bytes, byte_rows.by_source_packed_bytes)
        if packed
        else (byte_products.by_target_bytes, byte_rows.by_source_bytes)
    )

    def all_targets(piece: Bytes) -> None:
        rows = piece.reshape(TARGETS, -1)
        by_target(rows, events, room, 1, sums, 0, TARGETS)

    def some_sources(piece: Bytes) -> None:
        by_source(piece.reshape(SOURCES, width), some, working, 1, sums, 0, width)

    full = min(_seconds(all_targets, pieces[::2]) for _ in range(ROUNDS))
    part = min(_seconds(some_sources, pieces[1::2]) for _ in range(ROUNDS))
    return float(np.clip(TIMED_DENSITY * full / part, LEAST, MOST))


def _seconds(work: Callable[[Bytes], None], pieces: list[Bytes]) -> float:
    begin = perf_counter()
    for piece in pieces:
        work(piece)
    return perf_counter() - begin


def turned(rows: Bytes, columns: int, *, packed: bool) -> Bytes:
    """Rows of ``columns`` weights in the other order: a row per column."""
    if not packed:
        return np.ascontiguousarray(rows.T)
    found = np.empty((columns, (len(rows) + 1) // 2), np.int8)
    _turn_packed(rows, found)
    return found


@kernel
def _turn_packed(rows: Bytes, found: Bytes) -> None:
    """See :func:`~spikegpt_neuro.arithmetic.packing.pack`; some columns at a time."""
    columns, half = found.shape
    middle = rows.shape[1]
    for first in range(0, columns, byte_products.BYTES):
        for i in range(half):
            for c in range(first, min(first + byte_products.BYTES, columns)):
                place, shift = (c, np.int8(0)) if c < middle else (c - middle, np.int8(4))
                low = (rows[i, place] >> shift) & np.int8(15)
                high = np.int8(0)
                if half + i < len(rows):
                    high = (rows[half + i, place] >> shift) & np.int8(15)
                found[c, i] = low | (high << np.int8(4))
