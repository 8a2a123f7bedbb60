r"""Products of one token's events with the weights that exist, at the speed of memory.

.. math:: a_j = \sum_{i: w_{ji} \ne 0} w_{ji} e_i

Two forms hold them, and a weight is in one or the other.

*Slots*: sources are taken in blocks of 64. Each target has 4 L slots in each block (L layers), and
a slot is a weight and, in a byte of its own, which of the 64 events it meets. Eight targets at a
time, the events are looked up in registers (``pshufb``), multiplied and added: 32 slots take some
twenty instructions. Slots that are left over weigh 0; what exceeds them goes into the list. They
take events of at most 8 bits, and a processor with AVX2.

*List*: a target, a source (16 bits each) and a weight for every synapse, in the order of the
sources, so that neighbours are added to different sums. Each is loaded, multiplied and stored by
itself.

The more slots, the more bytes are read; the fewer, the more is left to the list, a synapse of
which takes the time of several bytes (:data:`LIST_COST`). :func:`layers_of` weighs one against the
other and both against reading all weights. Everything is exact: validation bounds the sums.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.backends.reference.byte_code import INT8, Vectors, call, code, order, splat
from spikegpt_neuro.backends.reference.instructions import AVX2, usable
from spikegpt_neuro.neurons.program import EventFormat, IntArray

Bytes = NDArray[np.int8]
Narrow = NDArray[np.int16]

BLOCK = 64  # sources among which the index of a slot chooses
LANES = AVX2.lanes  # targets of one vector of sums
PER_LAYER = 4  # slots of a target that a layer has in a block
VECTOR_BYTES = LANES * PER_LAYER
SLOT_BITS = 8  # events beyond it cannot be looked up
LAYERS_MAX = 8

SHARE_TARGETS = 4096
"""Targets of a share at most: their sums stay in the first-level cache."""

INDEX_BYTES = 2
SOURCES_MAX = 1 << 8 * INDEX_BYTES
HEADER = 8
TARGETS, SOURCES, SHARES, LAYERS, UNSIGNED, SLOTS, STARTS = range(7)
"""Words of the header: sizes, the form, and where slots and the starts of the lists begin."""

# What it takes, in bytes that a dense projection reads in that time (measured at 12 x 512).
LIST_COST = 12.0
"""A synapse in the list."""
SLOTS_COST = 0.05
"""Slots, per possible synapse, beside their own bytes."""
DENSE_COST, DENSE_COST_BY_SOURCE = 0.9, 0.48
"""A possible synapse of a dense projection: less than a byte, since nothing is gained by a draw;
those that lie by source are so since few events come."""
PACKED_COST = 0.55
"""The same of weights of 4 bits: slots hold a byte for each all the same."""


def layers_of(
    weights: Bytes, events: EventFormat, *, by_source: bool, packed: bool = False
) -> int | None:
    """Layers of slots that make ``weights`` (targets, sources) quickest; None: all weights do.

    0: lists alone. ``packed``: all weights would be read two to a byte.
    """
    counts = np.zeros(BLOCK + 1, np.int64)
    _count_blocks(np.ascontiguousarray(weights), counts)
    most = LAYERS_MAX if takes_slots(events) else 0
    costs = []
    for layers in range(most + 1):
        slots = layers * PER_LAYER * 2 * counts.sum() + SLOTS_COST * weights.size * (layers > 0)
        listed = counts @ np.maximum(np.arange(BLOCK + 1) - layers * PER_LAYER, 0)
        costs.append(slots + LIST_COST * listed)
    if weights.shape[1] > SOURCES_MAX:
        return None
    cheapest = int(np.argmin(costs))
    dense = (DENSE_COST_BY_SOURCE if by_source else DENSE_COST) * weights.size
    if packed:
        dense *= PACKED_COST
    return cheapest if costs[cheapest] < dense else None


def takes_slots(events: EventFormat) -> bool:
    """True if these events can be looked up, by this processor."""
    return events.bits <= SLOT_BITS and slots_available()


def encoded(weights: Bytes, layers: int, events: EventFormat, threads: int = 1) -> Bytes:
    """``weights`` (targets, sources) with so many layers of slots, as one row of bytes."""
    targets, sources = weights.shape
    shares = -(-targets // (SHARE_TARGETS * threads)) * threads
    rest = np.array(weights.T, order="C")
    groups, blocks = -(-targets // LANES), -(-sources // BLOCK)
    slots = np.zeros((groups * blocks * layers, 2, VECTOR_BYTES), np.int8)
    if layers:
        _fill_slots(rest, slots, shares, layers)
    cuts = [share_begin(targets, share, shares) for share in range(shares + 1)]
    found = [np.nonzero(rest[:, first:end]) for first, end in pairwise(cuts)]
    at = np.cumsum([8 * HEADER, slots.nbytes, 8 * (shares + 1)])
    starts = at[2] + np.cumsum([0, *(_list_bytes(len(source)) for source, _ in found)])
    header = np.zeros(HEADER, np.int64)
    header[:7] = targets, sources, shares, layers, not events.signed, *at[:2]
    lists = [
        _listed(source, target, rest[source, first + target])
        for first, (source, target) in zip(cuts, found, strict=False)
    ]
    return _in_bytes(header, slots, starts, *lists)


@kernel
def _count_blocks(weights: Bytes, counts: NDArray[np.int64]) -> None:
    """``counts[k]`` += pairs of a target and a block that have k synapses."""
    targets, sources = weights.shape
    for j in range(targets):
        for begin in range(0, sources, BLOCK):
            found = 0
            for i in range(begin, min(begin + BLOCK, sources)):
                found += weights[j, i] != 0
            counts[found] += 1


@kernel
def _fill_slots(rest: Bytes, slots: Any, shares: int, layers: int) -> None:
    """Move weights (sources, targets) into slots until these are full.

    In their order: the shares, the blocks, eight targets each, the layers.
    """
    sources, targets = rest.shape
    blocks = (sources + BLOCK - 1) // BLOCK
    for share in range(shares):
        first, end = share_begin(targets, share, shares), share_begin(targets, share + 1, shares)
        groups = (end - first + LANES - 1) // LANES
        for j in range(first, end):
            for block in range(blocks):
                group = first // LANES * blocks + block * groups + (j - first) // LANES
                slot = 0
                for i in range(block * BLOCK, min((block + 1) * BLOCK, sources)):
                    if rest[i, j] != 0 and slot < PER_LAYER * layers:
                        byte = j % LANES * PER_LAYER + slot % PER_LAYER
                        place = slots[group * layers + slot // PER_LAYER]
                        place[0, byte] = i - block * BLOCK
                        place[1, byte] = rest[i, j]
                        rest[i, j] = 0
                        slot += 1


def _listed(source: NDArray[np.integer], target: NDArray[np.integer], weights: Bytes) -> Bytes:
    return _in_bytes(target.astype(np.uint16), source.astype(np.uint16), weights)


def _list_bytes(synapses: int) -> int:
    return (2 * INDEX_BYTES + 1) * synapses


def _in_bytes(*parts: NDArray[Any]) -> Bytes:
    return np.concatenate([np.ascontiguousarray(part).reshape(-1).view(np.int8) for part in parts])


@kernel
def share_begin(targets: int, share: int, shares: int) -> int:
    """First target of a share: no two write to one cache line of sums."""
    if share == shares:
        return targets
    return targets * share // shares // 16 * 16


@kernel
def by_existing(
    memory: Bytes, events: Narrow, bytes_: Bytes, sums: IntArray, thread: int, threads: int
) -> None:
    """Fills the sums of every share of ``thread``.

    ``bytes_`` is room for the events, a byte each, of whole blocks; ``sums`` has room for whole
    lanes.
    """
    header = memory[: 8 * HEADER].view(np.int64)
    targets, sources, shares = header[TARGETS], header[SOURCES], header[SHARES]
    layers, blocks = header[LAYERS], (header[SOURCES] + BLOCK - 1) // BLOCK
    if layers > 0:
        for i in range(sources):
            bytes_[i] = np.int8(events[i])
        bytes_[sources : blocks * BLOCK] = 0
    starts = memory[header[STARTS] : header[STARTS] + 8 * (shares + 1)].view(np.int64)
    for share in range(shares * thread // threads, shares * (thread + 1) // threads):
        first, end = share_begin(targets, share, shares), share_begin(targets, share + 1, shares)
        groups = (end - first + LANES - 1) // LANES
        mine = sums[first : first + groups * LANES]
        mine[:] = 0
        if layers > 0:
            _add_slots(memory, header, bytes_, mine, first // LANES)
        _add_list(memory[starts[share] : starts[share + 1]], events, mine)


@kernel
def _add_slots(
    memory: Bytes, header: NDArray[np.int64], events: Bytes, sums: IntArray, first_group: int
) -> None:
    blocks, layers = (header[SOURCES] + BLOCK - 1) // BLOCK, header[LAYERS]
    groups, bytes_of_group = len(sums) // LANES, layers * 2 * VECTOR_BYTES
    slots = memory.ctypes.data + header[SLOTS] + first_group * blocks * bytes_of_group
    table, out = events.ctypes.data, sums.ctypes.data
    for block in range(blocks):
        if header[UNSIGNED] != 0:
            _look_up_unsigned(slots, table + block * BLOCK, out, groups, layers)
        else:
            _look_up_signed(slots, table + block * BLOCK, out, groups, layers)
        slots += groups * bytes_of_group


@kernel
def _add_list(synapses: Bytes, events: Narrow, sums: IntArray) -> None:
    count = len(synapses) // (2 * INDEX_BYTES + 1)
    targets = synapses[: INDEX_BYTES * count].view(np.uint16)
    sources = synapses[INDEX_BYTES * count : 2 * INDEX_BYTES * count].view(np.uint16)
    weights = synapses[2 * INDEX_BYTES * count :]
    for k in range(count):
        sums[targets[k]] += np.int32(weights[k]) * np.int32(events[sources[k]])


# Slots, in the compiler's own language.

TABLE = 16  # events that one instruction looks up


def _look_up(*, signed: bool) -> Any:
    """Adds what the slots of one block bring to the sums of groups of eight targets.

    Addresses of the slots, of the block's events and of the sums; groups, layers. Where the
    instructions may not be used, nothing calls it, and it does nothing.
    """

    def generate(context: Any, builder: ir.IRBuilder, _: Any, arguments: Any) -> Any:
        if not usable(AVX2.features):
            return context.get_dummy_value()
        slots, events, sums, groups, layers = arguments
        vectors = Vectors(builder, AVX2)
        tables = [_table(vectors, vectors.moved(events, k)) for k in range(0, BLOCK, TABLE)]
        with code.for_range(builder, groups) as group:
            address = vectors.moved(sums, group.index, VECTOR_BYTES)
            total = code.alloca_once(builder, vectors.words)
            builder.store(vectors.load(address, vectors.words), total)
            first = builder.mul(group.index, layers)
            with code.for_range(builder, layers) as layer:
                place = vectors.moved(slots, builder.add(first, layer.index), 2 * VECTOR_BYTES)
                found = _chosen(vectors, tables, vectors.load(place))
                weights = vectors.load(vectors.moved(place, VECTOR_BYTES))
                vectors.add_products(total, [weights], [found], packed=False, signed=signed)
            vectors.store(builder.load(total), address)
        return context.get_dummy_value()

    return intrinsic(lambda _, _a, _b, _c, _d, _e: (types.void(*[types.intp] * 5), generate))


def _table(vectors: Vectors, address: Any) -> Any:
    """Sixteen events, in both halves of a vector."""
    half = vectors.load(address, ir.VectorType(INT8, TABLE))
    return vectors.builder.shuffle_vector(half, half, order([*range(TABLE), *range(TABLE)]))


def _chosen(vectors: Vectors, tables: Any, index: Any) -> Any:
    """Of 64 events those that 32 bytes name: by their low four bits of each table, then by two."""
    b, zero = vectors.builder, splat(vectors.bytes, 0)
    found = [call(b, "llvm.x86.avx2.pshuf.b", vectors.bytes, t, index) for t in tables]
    for bit in (4, 5):
        to_sign = b.shl(b.bitcast(index, vectors.shorts), splat(vectors.shorts, 7 - bit))
        second = b.icmp_signed("<", b.bitcast(to_sign, vectors.bytes), zero)
        found = [b.select(second, y, x) for x, y in zip(found[::2], found[1::2], strict=True)]
    return found[0]


_look_up_signed, _look_up_unsigned = _look_up(signed=True), _look_up(signed=False)


@cache
def slots_available() -> bool:
    """True if this processor has the instructions and the compiler knows them."""
    if not usable(AVX2.features):
        return False
    weights = np.array([[0, -3, 0, 5, 0], [7, 0, 0, -127, 1]], np.int8)
    events, sums = np.array([-2, 100, 9, 1, -1], np.int16), np.empty(LANES, np.int32)
    try:
        memory = encoded(weights, 1, EventFormat(8, signed=True))
        by_existing(memory, events, np.empty(BLOCK, np.int8), sums, 0, 1)
    except Exception:  # a compiler that names or types them otherwise: any error means no
        return False
    return bool(np.array_equal(sums[:2], weights.astype(np.int64) @ events))
