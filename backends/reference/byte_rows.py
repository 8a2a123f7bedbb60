r"""Products of one token's 8-bit events by the processor's products of bytes, by source.

.. math:: a_j = \sum_{i: e_i \ne 0} w_{ji} e_i

Only the rows of sources that sent an event are read. Eight at a time, those some rows ahead asked
for: the bytes of four rows are interleaved in registers, so that the four weights of a target lie
side by side and meet their four events in one product (:mod:`.byte_products` tells how signs are
dealt with). Sums come out in the order in which that leaves the targets, and are put in order at
the end.

Whole blocks of targets are read: :data:`~.byte_products.BYTES` bytes behind a matrix must be
readable.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.backends.reference.byte_code import (
    INT32,
    LANE_WORDS,
    OFFSET_PACKED,
    Vectors,
    code,
    number,
    offset_of_bytes,
    spread,
)
from spikegpt_neuro.backends.reference.byte_products import BYTES, Bytes, Narrow, padded
from spikegpt_neuro.backends.reference.instructions import chosen
from spikegpt_neuro.neurons.program import IntArray

GROUP = 4
"""Rows whose bytes meet in one product."""
GROUPS = 2
"""Groups that are added before sums are stored."""
TOGETHER = GROUP * GROUPS
AHEAD = 32
"""Rows from what is added to what is asked for."""


def room(sources: int, targets: int) -> int:
    """Words of working memory for a product of that shape."""
    return 2 * (sources + TOGETHER + AHEAD) + 2 * targets + 4 * BYTES


@kernel
def by_source_bytes(
    weights: Bytes,
    events: Narrow,
    working: IntArray,
    unsigned: int,
    sums: IntArray,
    begin: int,
    end: int,
) -> None:
    """``weights`` (sources, targets); fills ``sums`` (targets,), of which ``begin`` to ``end``.

    ``working``  room: see :func:`room`.
    """
    sources, targets = weights.shape
    count, total = _gather(events, sources, targets, working)
    width = padded(end - begin)
    mixed = working[len(working) - width :]
    mixed[:] = 0
    offsets, values = working.ctypes.data, working[sources + TOGETHER + AHEAD :].ctypes.data
    first, out = weights.ctypes.data + begin, mixed.ctypes.data
    if unsigned != 0:
        _add_unsigned(first, offsets, values, count, width, out, out)
        _put_in_order(mixed, sums[begin:end], 0)
    else:
        _add_signed(first, offsets, values, count, width, out, out)
        _put_in_order(mixed, sums[begin:end], offset_of_bytes() * total)


@kernel
def by_source_packed_bytes(
    weights: Bytes,
    events: Narrow,
    working: IntArray,
    unsigned: int,
    sums: IntArray,
    begin: int,
    end: int,
) -> None:
    """``weights`` (sources, half) packed over targets; ``sums`` holds 2 half; else as above."""
    sources, half = weights.shape
    count, total = _gather(events, sources, half, working)
    width = padded(end - begin)
    mixed = working[len(working) - 2 * width :]
    mixed[:] = 0
    offsets, values = working.ctypes.data, working[sources + TOGETHER + AHEAD :].ctypes.data
    first, low = weights.ctypes.data + begin, mixed.ctypes.data
    high = low + 4 * width
    if unsigned != 0:
        _add_packed_unsigned(first, offsets, values, count, width, low, high)
    else:
        _add_packed_signed(first, offsets, values, count, width, low, high)
    _put_in_order(mixed[:width], sums[begin:end], OFFSET_PACKED * total)
    _put_in_order(mixed[width:], sums[half + begin : half + end], OFFSET_PACKED * total)


@kernel
def _gather(events: Narrow, sources: int, row_bytes: int, working: IntArray) -> tuple[int, int]:
    """Where the rows with an event begin, in bytes, and these events, a byte each.

    (rows in whole eights, the last of which send 0; sum of the events).
    """
    values = working[sources + TOGETHER + AHEAD :].view(np.int8)
    count, total, last = 0, 0, 0
    for i in range(sources):
        event = events[i]
        working[count] = i * row_bytes
        values[count] = np.int8(event)
        count += event != 0
        total += event
    if count > 0:
        last = working[count - 1]
    whole = (count + TOGETHER - 1) // TOGETHER * TOGETHER
    for k in range(count, whole):
        values[k] = 0
    for k in range(count, whole + AHEAD):
        working[k] = last
    return whole, total


@kernel
def _put_in_order(mixed: IntArray, sums: IntArray, excess: int) -> None:
    """Fours of targets, which lie lane by lane, each group of lanes in ``mixed`` row by row."""
    lanes = _lanes()
    block = LANE_WORDS * LANE_WORDS * lanes
    for begin in range(0, len(sums), block):
        for four in range(0, min(block, len(sums) - begin), LANE_WORDS):
            lane, part = four // LANE_WORDS // LANE_WORDS, four // LANE_WORDS % LANE_WORDS
            place = begin + (part * lanes + lane) * LANE_WORDS
            for k in range(min(LANE_WORDS, len(sums) - begin - four)):
                sums[begin + four + k] = mixed[place + k] - excess


def _lanes_typed(_: Any) -> Any:
    def generate(_context: Any, _builder: Any, _signature: Any, _arguments: Any) -> Any:
        instructions = chosen()
        return number(1 if instructions is None else instructions.lanes // LANE_WORDS)

    return types.int64(), generate


_lanes: Any = intrinsic(_lanes_typed)
"""Lanes of a vector, for which numba compiles."""


def _add(*, packed: bool, signed: bool) -> Any:
    """Adds the rows with an event to the sums.

    Addresses of the weights, of the rows' offsets (32 bits), of the events; rows in whole eights,
    sums in whole vectors of bytes, addresses of the sums (of the bytes' high halves: the last).
    """

    def generate(context: Any, builder: ir.IRBuilder, _: Any, arguments: Any) -> Any:
        instructions = chosen()
        if instructions is None:
            return context.get_dummy_value()
        weights, offsets, values, count, width, low, high = arguments
        vectors = Vectors(builder, instructions)

        def row(index: Any) -> Any:
            offset = vectors.load(vectors.moved(offsets, index, 4), INT32)
            return builder.add(weights, builder.sext(offset, number(0).type))

        with code.for_range(builder, builder.udiv(count, number(TOGETHER))) as loop:
            first = builder.mul(loop.index, number(TOGETHER))
            places = [builder.add(first, number(k)) for k in range(TOGETHER)]
            rows = [row(place) for place in places]
            ahead = [row(builder.add(place, number(AHEAD))) for place in places]
            fours = [
                spread(builder, vectors.load(builder.add(values, place), INT32), vectors.words)
                for place in places[::GROUP]
            ]
            fours = [builder.bitcast(four, vectors.bytes) for four in fours]
            with code.for_range(builder, builder.udiv(width, number(vectors.size))) as block:
                offset = builder.mul(block.index, number(vectors.size))
                for address in ahead:
                    vectors.prefetch(builder.add(address, offset))
                outs = [vectors.moved(side, offset, 4) for side in (low, high)]
                here = [builder.add(address, offset) for address in rows]
                _add_block(vectors, here, fours, outs[: 1 + packed], packed, signed)
        return context.get_dummy_value()

    signature = types.void(*[types.intp] * 7)
    return intrinsic(lambda _, _a, _b, _c, _d, _e, _f, _g: (signature, generate))


def _add_block(
    vectors: Vectors, rows: Any, fours: Any, outs: Any, packed: bool, signed: bool
) -> None:
    """A vector of bytes of every row, added to the sums at ``outs``."""
    builder = vectors.builder
    mixed = [_four_rows(vectors, rows[k : k + GROUP]) for k in range(0, TOGETHER, GROUP)]
    for part in range(GROUP):
        for half, out in enumerate(outs):
            address = vectors.moved(out, part, vectors.size)
            place = code.alloca_once(builder, vectors.words)
            builder.store(vectors.load(address, vectors.words), place)
            some = [vectors.halves(w[part])[half] if packed else w[part] for w in mixed]
            vectors.add_products(place, some, fours, packed=packed, signed=signed)
            vectors.store(builder.load(place), address)


def _four_rows(vectors: Vectors, rows: Any) -> list[Any]:
    """The bytes of four rows, those of a target side by side: a quarter of each lane at a time."""
    a, b, c, d = (vectors.load(address) for address in rows)
    pairs = zip(vectors.interleaved(a, b, 1), vectors.interleaved(c, d, 1), strict=True)
    found = []
    for first, second in pairs:
        shorts = [vectors.builder.bitcast(side, vectors.shorts) for side in (first, second)]
        found += vectors.interleaved(shorts[0], shorts[1], 1)
    return [vectors.builder.bitcast(part, vectors.bytes) for part in found]


_add_signed, _add_unsigned = _add(packed=False, signed=True), _add(packed=False, signed=False)
_add_packed_signed = _add(packed=True, signed=True)
_add_packed_unsigned = _add(packed=True, signed=False)
