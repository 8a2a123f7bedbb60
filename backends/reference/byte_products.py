r"""Products of one token's 8-bit events by the processor's product of bytes, as memory delivers.

.. math::
    a_j = \sum_i w_{ji} e_i = \sum_i (w_{ji} + h) e_i - h \sum_i e_i

``vpdpbusd`` (AVX-512 VNNI) multiplies 64 unsigned bytes by 64 signed ones. Signed events meet
weights made unsigned: h = 128 turns a weight's highest bit, h = 8 that of a packed one, and what
is added too much is the same for all targets. Unsigned events are the unsigned side themselves.

A target's weights are walked 64 bytes at a time with four sums, while those a kilobyte ahead are
asked for: what a processor reads ahead by itself is not enough. Two 4-bit weights to a byte
(:func:`~spikegpt_neuro.arithmetic.packing.pack`) are parted in registers. The last 64 bytes of a
row may reach into the next one, where the events are 0: a matrix is followed by
:data:`ROOM_BEHIND` bytes that can be read.

Where :func:`~spikegpt_neuro.backends.reference.vnni.available` is False,
:mod:`~spikegpt_neuro.backends.reference.products` forms the same sums.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.backends.reference.vnni import (
    FEATURES,
    INSTRUCTION,
    VECTOR_BYTES,
    usable,
)
from spikegpt_neuro.neurons.program import IntArray

Bytes = NDArray[np.int8]
Narrow = NDArray[np.int16]

ROOM_BEHIND = VECTOR_BYTES
AHEAD = 1024
"""Bytes from what is read to what is asked for."""
SUMS = 4
"""Vectors of sums of a row: as many products as the processor has under way."""
OFFSET, OFFSET_PACKED = 128, 8
BYTES = VECTOR_BYTES


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
    total = _fill(events, 0, sources, bytes_, 0)
    first, table, vectors = weights.ctypes.data, bytes_.ctypes.data, padded(sources) // BYTES
    if unsigned != 0:
        for j in range(begin, end):
            sums[j] = _dot_unsigned(first + j * sources, table, table, vectors)
    else:
        for j in range(begin, end):
            sums[j] = _dot_signed(first + j * sources, table, table, vectors) - OFFSET * total


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
    room, vectors = padded(half), padded(half) // BYTES
    total = _fill(events, 0, half, bytes_, 0) + _fill(events, half, half, bytes_, room)
    first, low = weights.ctypes.data, bytes_.ctypes.data
    if unsigned != 0:
        for j in range(begin, end):
            sums[j] = _dot_packed_unsigned(first + j * half, low, low + room, vectors)
    else:
        for j in range(begin, end):
            found = _dot_packed_signed(first + j * half, low, low + room, vectors)
            sums[j] = found - OFFSET_PACKED * total


@kernel
def _fill(events: Narrow, first: int, count: int, bytes_: Bytes, begin: int) -> int:
    """``count`` events as bytes from ``begin`` on, zeros up to whole vectors; their sum."""
    total = np.int32(0)
    for i in range(count):
        event = events[first + i]
        bytes_[begin + i] = np.int8(event)
        total += np.int32(event)
    bytes_[begin + count : begin + padded(count)] = 0
    return int(total)


# In the compiler's own language.

code: Any = cgutils
_INT8, _INT16, _INT32, _INT64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_BYTE_VECTOR = ir.VectorType(_INT8, BYTES)
_SHORT_VECTOR = ir.VectorType(_INT16, BYTES // 2)
_WORD_VECTOR = ir.VectorType(_INT32, BYTES // 4)


def _dot(*, packed: bool, signed: bool) -> Any:
    """The dot product of a row of weights with events.

    Addresses of the weights, of the events that meet a byte (or its low half), and of those that
    meet its high half; vectors in the row. Where the instruction may not be used, nothing calls
    it, and it stands for 0.
    """

    def generate(_context: Any, builder: ir.IRBuilder, _: Any, arguments: Any) -> Any:
        if not usable(FEATURES):
            return ir.Constant(_INT32, 0)
        row, low, high, vectors = arguments
        zero = ir.Constant(_WORD_VECTOR, [0] * (BYTES // 4))
        sums = [code.alloca_once_value(builder, zero) for _ in range(SUMS)]
        for total in sums:  # each time that the place is passed
            builder.store(zero, total)

        def add(number: Any, total: Any) -> None:
            weights = _load(builder, _at(builder, row, number))
            _prefetch(builder, builder.add(_at(builder, row, number), _word(AHEAD)))
            halves = _halves(builder, weights) if packed else [weights]
            for half, events in zip(halves, (low, high), strict=False):
                event = _load(builder, _at(builder, events, number))
                pair = _pair(builder, half, event, packed, signed)
                builder.store(_product(builder, builder.load(total), *pair), total)

        rounds = builder.udiv(vectors, _word(SUMS))
        with code.for_range(builder, rounds) as loop:
            first = builder.mul(loop.index, _word(SUMS))
            for k, total in enumerate(sums):
                add(builder.add(first, _word(k)), total)
        done = builder.mul(rounds, _word(SUMS))
        with code.for_range(builder, builder.sub(vectors, done)) as loop:
            add(builder.add(done, loop.index), sums[0])
        return _added(builder, sums)

    signature = types.int32(*[types.intp] * 4)
    return intrinsic(lambda _, _a, _b, _c, _d: (signature, generate))


def _word(value: int) -> Any:
    return ir.Constant(_INT64, value)


def _splat(kind: Any, value: int) -> Any:
    return ir.Constant(kind, [value] * kind.count)


def _at(builder: ir.IRBuilder, address: Any, vector: Any) -> Any:
    return builder.add(address, builder.mul(vector, _word(BYTES)))


def _load(builder: ir.IRBuilder, address: Any) -> Any:
    return builder.load(builder.inttoptr(address, _BYTE_VECTOR.as_pointer()), align=1)


def _halves(builder: ir.IRBuilder, weights: Any) -> list[Any]:
    """Low and high halves of bytes, each from 0 to 15."""
    shifted = builder.lshr(builder.bitcast(weights, _SHORT_VECTOR), _splat(_SHORT_VECTOR, 4))
    both = (weights, builder.bitcast(shifted, _BYTE_VECTOR))
    return [builder.and_(half, _splat(_BYTE_VECTOR, 15)) for half in both]


def _pair(builder: ir.IRBuilder, weights: Any, events: Any, packed: bool, signed: bool) -> Any:
    """What the instruction multiplies: unsigned bytes, signed bytes."""
    if packed or signed:  # packed ones have no sign yet
        offset = OFFSET_PACKED if packed else OFFSET
        weights = builder.xor(weights, _splat(_BYTE_VECTOR, offset))
    if signed:
        return weights, events
    if packed:
        weights = builder.sub(weights, _splat(_BYTE_VECTOR, OFFSET_PACKED))
    return events, weights


def _product(builder: ir.IRBuilder, sums: Any, unsigned: Any, signed: Any) -> Any:
    kind = ir.FunctionType(_WORD_VECTOR, [_WORD_VECTOR] * 3)
    function = code.get_or_insert_function(builder.module, kind, INSTRUCTION)
    words = [builder.bitcast(side, _WORD_VECTOR) for side in (unsigned, signed)]
    return builder.call(function, [sums, *words])


def _prefetch(builder: ir.IRBuilder, address: Any) -> None:
    byte = _INT8.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, _INT32, _INT32, _INT32])
    function = code.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    hints = [ir.Constant(_INT32, hint) for hint in (0, 3, 1)]  # to read, near, data
    builder.call(function, [builder.inttoptr(address, byte), *hints])


def _added(builder: ir.IRBuilder, sums: Any) -> Any:
    """All words of all vectors, halved time and again."""
    first, *more = [builder.load(total) for total in sums]
    for other in more:
        first = builder.add(first, other)
    width = BYTES // 4
    while width > 1:
        width //= 2
        order = [ir.VectorType(_INT32, width), range(width), range(width, 2 * width)]
        low, high = (
            builder.shuffle_vector(first, first, ir.Constant(order[0], list(part)))
            for part in order[1:]
        )
        first = builder.add(low, high)
    return builder.extract_element(first, ir.Constant(_INT32, 0))


_dot_signed, _dot_unsigned = _dot(packed=False, signed=True), _dot(packed=False, signed=False)
_dot_packed_signed = _dot(packed=True, signed=True)
_dot_packed_unsigned = _dot(packed=True, signed=False)
