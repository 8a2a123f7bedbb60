r"""Products of one token's 8-bit events by the processor's products of bytes, by target.

.. math::
    a_j = \sum_i w_{ji} e_i = \sum_i (w_{ji} + h) e_i - h \sum_i e_i

They (:mod:`~spikegpt_neuro.backends.reference.instructions`) multiply unsigned bytes by signed
ones. Signed events meet weights made unsigned: h = 128 turns a weight's highest bit, h = 8
that of a packed one, and what is added too much is the same for all targets. Unsigned events are
the unsigned side themselves.

Weights are walked in the order in which they lie, since memory delivers one stream at a time best;
four targets' sums are then added up together. Those a kilobyte ahead are asked for: what a
processor reads ahead by itself is not always enough. Two 4-bit weights to a byte
(:func:`~spikegpt_neuro.arithmetic.packing.pack`) are parted in registers.

Whole vectors and whole fours of targets are read: the last bytes of a row may reach into the next
one, where the events are 0, and up to three rows behind the last one give sums that nobody reads.
A matrix is followed by :func:`room_behind` bytes that can be read, and its sums by room for three.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.backends.reference.byte_code import (
    FOUR,
    INT32,
    OFFSET_PACKED,
    Vectors,
    code,
    number,
    offset_of_bytes,
    spread,
)
from spikegpt_neuro.backends.reference.instructions import KNOWN, chosen
from spikegpt_neuro.neurons.program import IntArray

Bytes = NDArray[np.int8]
Narrow = NDArray[np.int16]

ROWS = 4
"""Targets whose sums are added up together."""
AHEAD = 1024
"""Bytes from what is read to what is asked for."""
UNROLLED = 2
"""Vectors of a row, each with sums of its own, that are multiplied before the loop goes round."""
BYTES = max(known.vector_bytes for known in KNOWN)
"""Events are followed by zeros up to a multiple of this."""


def room_behind(row_bytes: int) -> int:
    """Bytes behind a matrix with rows of ``row_bytes`` that are read, and count for nothing."""
    return (ROWS - 1) * row_bytes + BYTES


@kernel
def padded(count: int) -> int:
    """The whole vectors that hold ``count`` bytes, in bytes."""
    return (count + BYTES - 1) // BYTES * BYTES


@kernel
def by_target_bytes(
    weights: Bytes,
    events: Narrow,
    bytes_: Bytes,
    unsigned: int,
    sums: IntArray,
    begin: int,
    end: int,
) -> None:
    """``weights`` (targets, sources); fills ``sums`` (targets,), of which ``begin`` to ``end``.

    ``bytes_``  room for the events, in whole vectors.
    """
    sources = weights.shape[1]
    total = fill(events, 0, sources, bytes_, 0)
    first, table, to = weights.ctypes.data, bytes_.ctypes.data, sums.ctypes.data
    for j in range(begin, end, ROWS):
        row, out = first + j * sources, to + 4 * j
        if unsigned != 0:
            _rows_unsigned(row, sources, table, table, 0, out)
        else:
            _rows_signed(row, sources, table, table, offset_of_bytes() * total, out)


@kernel
def by_target_packed_bytes(
    weights: Bytes,
    events: Narrow,
    bytes_: Bytes,
    unsigned: int,
    sums: IntArray,
    begin: int,
    end: int,
) -> None:
    """``weights`` (targets, half) packed; ``events`` padded to 2 half; else as above."""
    half = weights.shape[1]
    total = fill(events, 0, half, bytes_, 0) + fill(events, half, half, bytes_, padded(half))
    first, low, to = weights.ctypes.data, bytes_.ctypes.data, sums.ctypes.data
    high = low + padded(half)
    for j in range(begin, end, ROWS):
        row, out = first + j * half, to + 4 * j
        if unsigned != 0:
            _rows_packed_unsigned(row, half, low, high, OFFSET_PACKED * total, out)
        else:
            _rows_packed_signed(row, half, low, high, OFFSET_PACKED * total, out)


@kernel
def fill(events: Narrow, first: int, count: int, bytes_: Bytes, begin: int) -> int:
    """``count`` events as bytes from ``begin`` on, zeros up to whole vectors; their sum."""
    total = np.int32(0)
    for i in range(count):
        event = events[first + i]
        bytes_[begin + i] = np.int8(event)
        total += np.int32(event)
    bytes_[begin + count : begin + padded(count)] = 0
    return int(total)


def _rows(*, packed: bool, signed: bool) -> Any:
    """The sums of four rows of weights.

    Addresses of the first row, its bytes, addresses of the events that meet a byte (or its low
    half) and of those that meet its high half, what to take off, address of the sums.
    Where numba knows no instruction, nothing calls it, and it does nothing.
    """

    def generate(context: Any, builder: ir.IRBuilder, _: Any, arguments: Any) -> Any:
        instructions = chosen()
        if instructions is None:
            return context.get_dummy_value()
        row, row_bytes, low, high, excess, out = arguments
        vectors = Vectors(builder, instructions)
        count = builder.udiv(builder.add(row_bytes, number(vectors.size - 1)), number(vectors.size))
        sums = []
        for k in range(ROWS):
            mine = vectors.moved(row, builder.mul(row_bytes, number(k)))
            sums.append(_row(vectors, mine, (low, high), count, packed, signed))
        excess = spread(builder, builder.trunc(excess, INT32), FOUR)
        vectors.store(builder.sub(vectors.added(sums), excess), out)
        return context.get_dummy_value()

    signature = types.void(*[types.intp] * 6)
    return intrinsic(lambda _, _a, _b, _c, _d, _e, _f: (signature, generate))


def _row(
    vectors: Vectors,
    row: Any,
    events: tuple[Any, Any],
    count: Any,
    packed: bool,
    signed: bool,
) -> Any:
    """The vector of sums of one row."""
    builder = vectors.builder
    sums = vectors.sums(UNROLLED)

    def add(index: Any, place: Any) -> None:
        offset = builder.mul(index, number(vectors.size))
        address = builder.add(row, offset)
        weights = vectors.load(address)
        vectors.prefetch(vectors.moved(address, AHEAD))
        halves = vectors.halves(weights) if packed else [weights]
        met = [vectors.load(builder.add(table, offset)) for table in events[: len(halves)]]
        vectors.add_products(place, halves, met, packed=packed, signed=signed)

    rounds = builder.udiv(count, number(UNROLLED))
    with code.for_range(builder, rounds) as loop:
        first = builder.mul(loop.index, number(UNROLLED))
        for k, place in enumerate(sums):
            add(builder.add(first, number(k)), place)
    done = builder.mul(rounds, number(UNROLLED))
    with code.for_range(builder, builder.sub(count, done)) as loop:
        add(builder.add(done, loop.index), sums[0])
    total, *more = [builder.load(place) for place in sums]
    for other in more:
        total = builder.add(total, other)
    return total


_rows_signed, _rows_unsigned = _rows(packed=False, signed=True), _rows(packed=False, signed=False)
_rows_packed_signed = _rows(packed=True, signed=True)
_rows_packed_unsigned = _rows(packed=True, signed=False)
