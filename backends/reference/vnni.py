r"""Exact products of 8-bit events and 8-bit weights by the processor's own instruction.

.. math:: a_{tj} = \sum_i e_{ti} w_{ji}

``vpdpbusd`` (AVX-512 VNNI) multiplies 64 pairs of an unsigned and a signed byte and adds them,
four by four, to 16 sums of 32 bits, without saturation. The kernel keeps the sums of 8 tokens
and 32 targets in registers while it walks the sources. Signed events are made unsigned by
adding 128; what that adds is 128 times the sum of a target's weights, less than which sums begin.

Where the processor lacks the instruction, or numba was told to compile for one that does
(``NUMBA_CPU_NAME``, ``NUMBA_CPU_FEATURES``), :func:`available` is False and
:mod:`~spikegpt_neuro.backends.reference.synapses` computes the same integers with BLAS.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.neurons.program import EventFormat, IntArray

TOKENS, BLOCKS, LANES, GROUP = 8, 2, 16, 4
TARGETS = BLOCKS * LANES
EVENT_BITS = 8
OFFSET = 128
VECTOR_BYTES = 64
FEATURES = frozenset({"avx512f", "avx512vnni"})
INSTRUCTION = "llvm.x86.avx512.vpdpbusd.512"

code: Any = cgutils
_VECTOR = ir.VectorType(ir.IntType(32), LANES)


@cache
def available() -> bool:
    """True if this processor has the instruction and the compiler knows it and may use it."""
    if not usable(FEATURES):
        return False
    try:
        weights, kind = np.ones((1, GROUP), np.int8), EventFormat(EVENT_BITS, signed=True)
        events = np.full((1, GROUP), -2, np.int32)
        found = product(laid_out(weights, kind), events)
    except Exception:  # a compiler that names or types it otherwise: any error means no
        return False
    return bool(found[0, 0] == -2 * GROUP)


def usable(needed: frozenset[str]) -> bool:
    """True if this processor has the features ``needed``, and numba compiles for one that has."""
    present = present_features()
    return present >= needed and may_use(target_features(), present, needed)


def present_features() -> set[str]:
    """The features that this processor has, by LLVM's names."""
    return {name for name, there in binding.get_host_cpu_features().items() if there}


def target_features() -> str:
    """What numba compiles for, as LLVM is told: ``+avx2,-avx512f,...``."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return str(features)


def may_use(features: str, present: Iterable[str], needed: Iterable[str] = FEATURES) -> bool:
    """True if a target with ``features`` has those ``needed``; the processor's are ``present``.

    LLVM ends the process where it has not. Taking one feature away takes those along that rest on
    it, so nothing that the processor has may be missing on purpose.
    """
    words = [word.strip() for word in features.split(",")]
    last = {word[1:]: word[0] == "+" for word in words if word}
    return all(last.get(name, False) for name in needed) and all(
        last.get(name, True) for name in present
    )


class Matrix(NamedTuple):
    """Weights as products read them.

    ``blocks``  (target blocks, source groups, 32, 4), padded with zeros.
    ``begins``  what the sums of all targets in blocks begin with.
    """

    blocks: NDArray[np.int8]
    begins: IntArray
    targets: int
    offset: int


def laid_out(weights: NDArray[np.int8], kind: EventFormat) -> Matrix:
    """``weights`` (targets, sources) for events of a ``kind``, at most ``EVENT_BITS`` bits."""
    targets, sources = weights.shape
    padded = np.zeros((-(-targets // TARGETS) * TARGETS, -(-sources // GROUP) * GROUP), np.int8)
    padded[:targets, :sources] = weights
    blocks = padded.reshape(-1, TARGETS, padded.shape[1] // GROUP, GROUP).transpose(0, 2, 1, 3)
    offset = OFFSET if kind.signed else 0
    begins = -offset * padded.sum(axis=1, dtype=np.int32)
    return Matrix(np.ascontiguousarray(blocks), begins, targets, offset)


def product(matrix: Matrix, events: IntArray) -> IntArray:
    """Sums (T, targets) of ``events`` (T, sources)."""
    result = np.empty((len(events), matrix.targets), np.int32)
    rows, groups = -(-len(events) // TOKENS) * TOKENS, matrix.blocks.shape[1]
    bytes_ = np.empty((rows, groups * GROUP), np.uint8)
    _to_bytes(events, matrix.offset, bytes_)
    _tiles(matrix.blocks, bytes_, matrix.begins, result)
    return result


@kernel
def _to_bytes(events: IntArray, offset: int, bytes_: Any) -> None:
    """``events`` (T, sources) + ``offset`` as bytes, in rows and columns that may be more."""
    tokens, sources = events.shape
    for t in range(tokens):
        for i in range(sources):
            bytes_[t, i] = np.uint8(events[t, i] + offset)
        bytes_[t, sources:] = 0
    bytes_[tokens:] = 0


@kernel
def _tiles(blocks: Any, events: Any, begins: IntArray, result: IntArray) -> None:
    """All tiles of ``result`` (T, targets); ``events`` has whole tiles of rows."""
    groups = blocks.shape[1]
    tokens, targets = result.shape
    beside = np.empty((TOKENS, TARGETS), np.int32)  # for tiles that reach beyond the result
    for block in range(blocks.shape[0]):
        first, weights = block * TARGETS, blocks[block].ctypes.data
        begin = begins[first:].ctypes.data
        columns = min(TARGETS, targets - first)
        for token in range(0, tokens, TOKENS):
            rows = min(TOKENS, tokens - token)
            source = events[token].ctypes.data
            if rows == TOKENS and columns == TARGETS:
                out = result[token, first:].ctypes.data
                _tile(weights, source, groups, events.shape[1], begin, out, targets * 4)
                continue
            out = beside.ctypes.data
            _tile(weights, source, groups, events.shape[1], begin, out, TARGETS * 4)
            for t in range(rows):
                for j in range(columns):
                    result[token + t, first + j] = beside[t, j]


def _generate(context: Any, builder: ir.IRBuilder, _: Any, arguments: Any) -> Any:
    """One tile of 8 tokens and 32 targets; the compiler keeps ``sums`` in registers."""
    weights, events, groups, event_stride, begins, result, result_stride = arguments
    tile = [(t, b) for t in range(TOKENS) for b in range(BLOCKS)]
    sums = {place: code.alloca_once(builder, _VECTOR) for place in tile}
    for b in range(BLOCKS):
        begin = _load(builder, _moved(builder, begins, b, VECTOR_BYTES))
        for t in range(TOKENS):
            builder.store(begin, sums[t, b])
    with code.for_range(builder, groups) as loop:
        group = _moved(builder, weights, loop.index, BLOCKS * VECTOR_BYTES)
        rows = [_load(builder, _moved(builder, group, b, VECTOR_BYTES)) for b in range(BLOCKS)]
        for t in range(TOKENS):
            token = _moved(builder, events, event_stride, t)
            four = _splat(builder, _moved(builder, token, loop.index, GROUP))
            for b in range(BLOCKS):
                total = builder.load(sums[t, b])
                builder.store(_multiply_add(builder, total, four, rows[b]), sums[t, b])
    for t, b in tile:
        row = _moved(builder, result, result_stride, t)
        address = _moved(builder, row, b, VECTOR_BYTES)
        pointer = builder.inttoptr(address, _VECTOR.as_pointer())
        builder.store(builder.load(sums[t, b]), pointer, align=1)
    return context.get_dummy_value()


def _moved(builder: ir.IRBuilder, address: Any, count: Any, step: int) -> Any:
    """``address + count * step``."""
    if isinstance(count, int):
        return builder.add(address, ir.Constant(address.type, count * step))
    return builder.add(address, builder.mul(count, ir.Constant(count.type, step)))


def _load(builder: ir.IRBuilder, address: Any) -> Any:
    return builder.load(builder.inttoptr(address, _VECTOR.as_pointer()), align=1)


def _splat(builder: ir.IRBuilder, address: Any) -> Any:
    """Four events of one token, as one word in every lane."""
    word = ir.IntType(32)
    four = builder.load(builder.inttoptr(address, word.as_pointer()), align=1)
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), four, ir.Constant(word, 0))
    return builder.shuffle_vector(one, one, ir.Constant(_VECTOR, [0] * LANES))


def _multiply_add(builder: ir.IRBuilder, sums: Any, events: Any, weights: Any) -> Any:
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    function = code.get_or_insert_function(builder.module, kind, INSTRUCTION)
    return builder.call(function, [sums, events, weights])


def _typed(
    typing_context: Any,
    weights: Any,
    events: Any,
    groups: Any,
    event_stride: Any,
    begins: Any,
    result: Any,
    result_stride: Any,
) -> Any:
    """Addresses, strides in bytes and the number of groups: seven machine words."""
    return types.void(*[types.intp] * 7), _generate


_tile: Any = intrinsic(_typed)
