r"""Exact products of the 8-bit events of a whole text, by the processor's own instructions.

.. math:: a_{tj} = \sum_i e_{ti} w_{ji}

A kernel keeps the sums of a tile, some tokens by some targets, in registers while it walks the
sources. With the product of bytes (``vpdpbusd``), four sources are met at a time; signed events are
made unsigned by adding 128, and what that adds is 128 times the sum of a target's weights, less
than which sums begin. AVX2 alone multiplies pairs of 16 bits (``vpmaddwd``), twice as many at a
time as it could in float32: events are kept as such, weights widened as they are read.

Where numba compiles for a processor without either (``NUMBA_CPU_NAME``, ``NUMBA_CPU_FEATURES``),
:func:`available` is False and :mod:`~spikegpt_neuro.backends.reference.synapses` computes the same
integers with BLAS.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.backends.reference.byte_code import (
    INT8,
    INT32,
    OFFSET,
    Vectors,
    code,
    number,
    spread,
)
from spikegpt_neuro.backends.reference.instructions import EVENT_BITS, chosen
from spikegpt_neuro.neurons.program import EventFormat, IntArray


@cache
def available() -> bool:
    """True if numba compiles for a processor with a product that is used here, and it works."""
    if chosen() is None:
        return False
    try:
        weights, kind = np.ones((1, 4), np.int8), EventFormat(EVENT_BITS, signed=True)
        found = product(laid_out(weights, kind), np.full((1, 4), -2, np.int32))
    except Exception:  # a compiler that names or types it otherwise: any error means no
        return False
    return bool(found[0, 0] == -8)


class Matrix(NamedTuple):
    """Weights as products read them.

    ``blocks``  (target blocks, groups of sources, targets, sources), padded with zeros.
    ``begins``  what the sums of all targets in blocks begin with.
    ``kind``    of numbers that events are kept as.
    ``offset``  what makes events unsigned.
    ``tokens``  how many a tile has.
    """

    blocks: NDArray[np.int8]
    begins: IntArray
    targets: int
    kind: type[np.uint8 | np.int16]
    offset: int
    tokens: int


def laid_out(weights: NDArray[np.int8], kind: EventFormat) -> Matrix:
    """``weights`` (targets, sources) for events of a ``kind``, at most ``EVENT_BITS`` bits."""
    instructions = chosen()
    assert instructions is not None
    tokens, columns, group = instructions.tile
    targets, sources = weights.shape
    padded = np.zeros((-(-targets // columns) * columns, -(-sources // group) * group), np.int8)
    padded[:targets, :sources] = weights
    blocks = padded.reshape(-1, columns, padded.shape[1] // group, group).transpose(0, 2, 1, 3)
    offset = OFFSET if kind.signed and instructions.product else 0
    begins = -offset * padded.sum(axis=1, dtype=np.int32)
    kind_kept = np.uint8 if instructions.product else np.int16
    return Matrix(np.ascontiguousarray(blocks), begins, targets, kind_kept, offset, tokens)


def product(matrix: Matrix, events: IntArray) -> IntArray:
    """Sums (T, targets) of ``events`` (T, sources)."""
    result = np.empty((len(events), matrix.targets), np.int32)
    rows = -(-len(events) // matrix.tokens) * matrix.tokens
    _, groups, _, group = matrix.blocks.shape
    narrow = np.empty((rows, groups * group), matrix.kind)
    _narrowed(events, matrix.offset, narrow)
    _tiles(matrix.blocks, narrow, matrix.begins, matrix.tokens, result)
    return result


@kernel
def _narrowed(events: IntArray, offset: int, narrow: Any) -> None:
    """``events`` (T, sources) + ``offset``, in rows and columns that may be more."""
    tokens, sources = events.shape
    for t in range(tokens):
        for i in range(sources):
            narrow[t, i] = events[t, i] + offset
        narrow[t, sources:] = 0
    narrow[tokens:] = 0


@kernel
def _tiles(blocks: Any, events: Any, begins: IntArray, rows: int, result: IntArray) -> None:
    """All tiles of ``result`` (T, targets); ``events`` has whole tiles of ``rows``."""
    groups, columns = blocks.shape[1], blocks.shape[2]
    tokens, targets = result.shape
    stride = events.strides[0]
    beside = np.empty((rows, columns), np.int32)  # for tiles that reach beyond the result
    for block in range(blocks.shape[0]):
        first, weights = block * columns, blocks[block].ctypes.data
        begin = begins[first:].ctypes.data
        width = min(columns, targets - first)
        for token in range(0, tokens, rows):
            height = min(rows, tokens - token)
            source = events[token].ctypes.data
            if height == rows and width == columns:
                out = result[token, first:].ctypes.data
                _tile(weights, source, groups, stride, begin, out, targets * 4)
                continue
            out = beside.ctypes.data
            _tile(weights, source, groups, stride, begin, out, columns * 4)
            for t in range(height):
                for j in range(width):
                    result[token + t, first + j] = beside[t, j]


def _generate(context: Any, builder: ir.IRBuilder, _: Any, arguments: Any) -> Any:
    """One tile; the compiler keeps ``sums`` in registers.

    Addresses of the weights and of the first token's events, groups, bytes from token to token,
    addresses of what sums begin with and of the result, bytes from token to token there.
    """
    instructions = chosen()
    if instructions is None:
        return context.get_dummy_value()
    weights, events, groups, event_stride, begins, result, result_stride = arguments
    vectors = Vectors(builder, instructions)
    tokens, columns, group = instructions.tile
    parts = range(columns // instructions.lanes)
    row_bytes = instructions.lanes * group
    tile = [(t, part) for t in range(tokens) for part in parts]
    sums = {place: code.alloca_once(builder, vectors.words) for place in tile}
    for t, part in tile:
        begin = vectors.load(vectors.moved(begins, part, vectors.size), vectors.words)
        builder.store(begin, sums[t, part])
    with code.for_range(builder, groups) as loop:
        here = vectors.moved(weights, loop.index, len(parts) * row_bytes)
        rows = [_weights(vectors, vectors.moved(here, part, row_bytes), group) for part in parts]
        for t in range(tokens):
            token = builder.add(events, builder.mul(event_stride, number(t)))
            some = vectors.load(vectors.moved(token, loop.index, 4), INT32)
            some = spread(builder, some, vectors.words)
            for part in parts:
                total = builder.load(sums[t, part])
                builder.store(vectors.with_tile(total, some, rows[part]), sums[t, part])
    for t, part in tile:
        row = builder.add(result, builder.mul(result_stride, number(t)))
        vectors.store(builder.load(sums[t, part]), vectors.moved(row, part, vectors.size))
    return context.get_dummy_value()


def _weights(vectors: Vectors, address: Any, group: int) -> Any:
    """A vector of weights: bytes, or widened to 16 bits where two of them meet two events."""
    kind = ir.VectorType(INT8, vectors.instructions.lanes * group)
    found = vectors.load(address, kind)
    return found if kind == vectors.bytes else vectors.builder.sext(found, vectors.shorts)


_tile: Any = intrinsic(
    lambda _, _a, _b, _c, _d, _e, _f, _g: (types.void(*[types.intp] * 7), _generate)
)
