"""Products of events and weights: every way gives the same sums."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llvmlite import binding

from spikegpt_neuro.arithmetic.packing import pack, unpack
from spikegpt_neuro.backends.reference import byte_products, byte_rows, products, tiles
from spikegpt_neuro.backends.reference.instructions import (
    AVX512_VNNI,
    chosen,
    may_use,
    target_features,
)
from spikegpt_neuro.backends.reference.synapses import Synapses
from spikegpt_neuro.graph.graph import Projection
from spikegpt_neuro.neurons.program import EventFormat

BYTE = EventFormat(8, signed=False)
SIGNED_BYTE = EventFormat(8, signed=True)
WIDE = EventFormat(9, signed=True)
sizes = st.integers(1, 37)
densities = st.sampled_from([0.0, 0.1, 0.5, 1.0])
seeds = st.integers(0, 2**32 - 1)


def matrix_and_events(
    targets: int, sources: int, density: float, seed: int, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    weights = rng.integers(-limit, limit + 1, (targets, sources), dtype=np.int8)
    events = rng.integers(-255, 256, sources) * (rng.random(sources) < density)
    return weights, events


def in_shares(product: Callable[[int, int], None], lines: int, seed: int) -> None:
    """Compute ``lines`` of a product as up to three threads would, share by share."""
    cuts = [0, *sorted(np.random.default_rng(seed).integers(0, lines + 1, 2).tolist()), lines]
    for begin, end in pairwise(cuts):
        product(begin, end)


@given(sizes, sizes, densities, seeds)
def test_every_order_gives_the_exact_sums(
    targets: int, sources: int, density: float, seed: int
) -> None:
    weights, events = matrix_and_events(targets, sources, density, seed, 127)
    expected = weights.astype(np.int64) @ events
    narrow, active = events.astype(np.int16), np.empty(sources, np.int32)
    found, turned = np.full((2, targets), 7, np.int32), np.ascontiguousarray(weights.T)
    in_shares(lambda *share: products.by_target(weights, narrow, found[0], *share), targets, seed)
    in_shares(
        lambda *share: products.by_source(turned, narrow, active, found[1], *share), targets, seed
    )
    assert (found == expected).all()
    for many in (1, 3):  # the executor's way, for one token and for a text
        text = np.repeat(events[None].astype(np.int32), many, axis=0)
        for order in ("C", "F"):
            synapses = Synapses(
                Projection("p", "a", "b", "x", np.asarray(weights, order=order)), WIDE
            )
            assert (synapses.accumulate(text) == expected).all()


@given(sizes, sizes, st.integers(2, 19), st.sampled_from([BYTE, SIGNED_BYTE]), seeds)
def test_the_processors_product_is_that_of_blas(
    targets: int, sources: int, tokens: int, events: EventFormat, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.integers(-127, 128, (targets, sources), dtype=np.int8)
    text = rng.integers(events.low, events.high + 1, (tokens, sources)).astype(np.int32)
    expected = text.astype(np.int64) @ weights.astype(np.int64).T
    synapses = Synapses(Projection("p", "a", "b", "x", weights), events)
    assert (synapses.accumulate(text) == expected).all()
    assert (synapses.by_blas(text) == expected).all()
    if tiles.available():
        assert (tiles.product(tiles.laid_out(weights, events), text) == expected).all()


@given(sizes, sizes, densities, seeds)
def test_packed_weights_give_the_exact_sums(
    targets: int, sources: int, density: float, seed: int
) -> None:
    weights, events = matrix_and_events(targets, sources, density, seed, 7)
    expected = weights.astype(np.int64) @ events
    padded = np.zeros(sources + 1, np.int16)
    padded[:sources] = events
    sums = np.full(targets + 1, 7, np.int32)
    packed = pack(weights)
    in_shares(lambda *share: products.by_target_packed(packed, padded, sums, *share), targets, seed)
    assert (sums[:targets] == expected).all()
    active, sums[:] = np.empty(sources, np.int32), 7
    turned = pack(np.ascontiguousarray(weights.T))
    in_shares(
        lambda *share: products.by_source_packed(turned, padded, active, sums, *share),
        turned.shape[1],
        seed,
    )
    assert (sums[:targets] == expected).all()


long_rows = st.one_of(sizes, st.integers(38, 700))


def followed(matrix: np.ndarray) -> np.ndarray:
    """A copy with other weights behind it, which must not count."""
    memory = np.full(matrix.size + byte_products.room_behind(matrix.shape[1]), 85, np.int8)
    memory[: matrix.size] = matrix.reshape(-1)
    return memory[: matrix.size].reshape(matrix.shape)


@pytest.mark.skipif(chosen() is None, reason="numba compiles for no product of bytes here")
@given(sizes, long_rows, densities, st.sampled_from([BYTE, SIGNED_BYTE]), seeds)
def test_products_of_bytes_give_the_exact_sums(
    targets: int, sources: int, density: float, kind: EventFormat, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    extreme = rng.random(sources) < 0.2 * density
    drawn = rng.integers(kind.low, kind.high + 1, sources) * (rng.random(sources) < density)
    events = np.where(extreme, rng.choice([kind.low, kind.high], sources), drawn)
    padded = np.zeros(sources + 1, np.int16)
    padded[:sources] = events
    working = np.full(byte_rows.room(sources, targets), 7, np.int32)
    room = working.view(np.int8)
    unsigned = int(not kind.signed)
    ways: tuple[tuple[Any, Any, int, bool], ...] = (
        (byte_products.by_target_bytes, room, 8, False),
        (byte_products.by_target_packed_bytes, room, 4, False),
        (byte_rows.by_source_bytes, working, 8, True),
        (byte_rows.by_source_packed_bytes, working, 4, True),
    )
    for product, workplace, bits, turned in ways:
        limit = (1 << bits - 1) - 1  # as validation holds
        weights = rng.integers(-limit, limit + 1, (targets, sources), dtype=np.int8)
        rows = np.ascontiguousarray(weights.T) if turned else weights
        matrix = followed(pack(rows) if bits == 4 else rows)
        sums = np.full(targets + byte_products.ROWS, 7, np.int32)
        for begin, end in shares(matrix.shape[1] if turned else targets, seed):
            product(matrix, padded, workplace, unsigned, sums, begin, end)
        assert (sums[:targets] == weights.astype(np.int64) @ events).all()


def shares(lines: int, seed: int) -> list[tuple[int, int]]:
    """As :func:`in_shares`, at whole cache lines of sums."""
    inner = np.random.default_rng(seed).integers(0, lines + 1, 2) // 16 * 16
    return list(pairwise([0, *sorted(inner.tolist()), lines]))


@given(sizes, sizes, seeds)
def test_unpack_undoes_pack(rows: int, columns: int, seed: int) -> None:
    weights = np.random.default_rng(seed).integers(-8, 8, (rows, columns), dtype=np.int8)
    packed = pack(weights)
    assert packed.shape == (rows, (columns + 1) // 2)
    assert np.array_equal(unpack(packed, columns), weights)


def test_the_processors_product_is_used_where_there_is_one() -> None:
    there = binding.get_host_cpu_features().get("avx2", False)
    meant = "+avx2" in target_features()  # NUMBA_CPU_NAME and its like may say otherwise
    assert tiles.available() == (there and meant)


FOREIGN = {
    "a host with the instruction": ("+avx2,+avx512f,+avx512vnni,-avx512bf16", True),
    "a host without": ("+avx2,-avx512f,-avx512vnni", False),
    "NUMBA_CPU_NAME=generic": ("", False),
    "AVX2 alone": ("+avx2", False),
    "the instruction alone": ("+avx512f,+avx512vnni", True),
    "without what it rests on": ("+avx512f,+avx512vnni,-avx2", False),
    "taken back": ("+avx512f,+avx512vnni,-avx512f", False),
    "given again": ("-avx512vnni,+avx512f,+avx512vnni", True),
    "spaces": (" +avx512f, +avx512vnni", True),
    "half": ("+avx512f", False),
}
PRESENT = {"avx2", "avx512f", "avx512vnni"}


@pytest.mark.parametrize("target", FOREIGN)
def test_the_product_asks_for_whom_numba_compiles(target: str) -> None:
    features, expected = FOREIGN[target]
    assert may_use(features, PRESENT, AVX512_VNNI.features) is expected


HOST_WITH_IT = """
from llvmlite import binding
features = binding.get_host_cpu_features
binding.get_host_cpu_features = lambda: features() | {"avx512f": True, "avx512vnni": True}
"""
COMPILE_TILES = """
from numba import int8, int32, types, uint8
from spikegpt_neuro.backends.reference import instructions, tiles
present = {"avx2", "avx512f", "avx512vnni"}
needed = instructions.AVX512_VNNI.features
assert instructions.may_use(instructions.target_features(), present, needed) is True
assert instructions.chosen() is instructions.AVX512_VNNI
kinds = int8[:, :, :, ::1], uint8[:, ::1], int32[::1], types.intp, int32[:, ::1]
tiles._tiles.compile(kinds)
assert "vpdpbusd" in tiles._tiles.inspect_asm(tiles._tiles.signatures[0])
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="an instruction of x86-64")
def test_the_instruction_is_compiled_for_a_processor_that_has_it(tmp_path: Path) -> None:
    """On any host: compiled, and not run."""
    target = {"NUMBA_CPU_NAME": "icelake-server", "NUMBA_CPU_FEATURES": "+avx512f,+avx512vnni"}
    environment = {**os.environ, **target, "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run(
        [sys.executable, "-c", HOST_WITH_IT + COMPILE_TILES], env=environment, check=True
    )


OTHER_TARGET = """
import sys
import numpy as np
from spikegpt_neuro.arithmetic.packing import pack
from spikegpt_neuro.backends.reference import byte_products, byte_rows, instructions, tiles
from spikegpt_neuro.backends.reference.synapses import Synapses
from spikegpt_neuro.graph.graph import Projection
from spikegpt_neuro.neurons.program import EventFormat
rng = np.random.default_rng(0)
assert tiles.available() is (sys.argv[1] != "None")
for sources, targets in ((70, 33), (7, 100), (259, 64)):
    for signed in (True, False):
        weights = rng.integers(-127, 128, (targets, sources), dtype=np.int8)
        weights[0], weights[1] = -127, 127
        events = rng.integers(0, 256, (19, sources)).astype(np.int32) - 128 * signed
        events[0], events[1] = events.min(), events.max()
        synapses = Synapses(Projection("p", "a", "b", "x", weights), EventFormat(8, signed=signed))
        expected = events.astype(int) @ weights.astype(int).T
        assert (synapses.accumulate(events) == expected).all()
chosen = instructions.chosen()
assert str(getattr(chosen, "name", None)) == sys.argv[1], chosen
if chosen is None:
    raise SystemExit(0)
working = np.zeros(byte_rows.room(70, 37), np.int32)
for bits, by_target, by_source in (
    (8, byte_products.by_target_bytes, byte_rows.by_source_bytes),
    (4, byte_products.by_target_packed_bytes, byte_rows.by_source_packed_bytes),
):
    limit = (1 << bits - 1) - 1
    weights = rng.integers(-limit, limit + 1, (37, 70), dtype=np.int8)
    weights[0], weights[1] = -limit, limit
    for unsigned in (0, 1):
        events = rng.integers(0, 256, 71) - 128 * (1 - unsigned)
        events[:20] = (127, 255)[unsigned]  # sums of products that 16 bits can hardly hold, or not
        events[20:40] = (-128, 255)[unsigned]
        events[50:] = 0
        narrow, expected = events.astype(np.int16), weights.astype(int) @ events[:70]
        for rows, product, room in (
            (weights, by_target, working.view(np.int8)),
            (np.ascontiguousarray(weights.T), by_source, working),
        ):
            rows = pack(rows) if bits == 4 else rows
            memory = np.zeros(rows.size + byte_products.room_behind(rows.shape[1]), np.int8)
            memory[: rows.size] = rows.reshape(-1)
            matrix, sums = memory[: rows.size].reshape(rows.shape), np.zeros(40, np.int32)
            product(matrix, narrow, room, unsigned, sums, 0, rows.shape[product is by_source])
            assert (sums[:37] == expected).all()
"""
EMULATED = """
from dataclasses import replace
from llvmlite import ir
from spikegpt_neuro.backends.reference import byte_code, instructions

def call(builder, name, result, *arguments):
    if "vpdpbusd" not in name:
        return of_the_compiler(builder, name, result, *arguments)
    total, *sides = arguments
    size = 4 * total.type.count
    unsigned, signed = (builder.bitcast(s, ir.VectorType(byte_code.INT8, size)) for s in sides)
    wide = ir.VectorType(byte_code.INT32, size)
    products = builder.mul(builder.zext(unsigned, wide), builder.sext(signed, wide))
    for k in range(4):
        part = byte_code.order(range(k, size, 4))
        total = builder.add(total, builder.shuffle_vector(products, products, part))
    return total

of_the_compiler, byte_code.call = byte_code.call, call
meant = next(known for known in instructions.KNOWN if known.name == sys.argv[1])
instructions.KNOWN = (replace(meant, features=frozenset()),)
"""
"""Products that this processor may lack, from instructions that every one has."""


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ({"NUMBA_CPU_NAME": "generic"}, "None"),
        ({"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": "+avx2"}, "AVX2"),
    ],
    ids=["generic", "AVX2"],
)
def test_numba_for_another_processor_gives_the_same_sums(
    target: dict[str, str], name: str, tmp_path: Path
) -> None:
    """On a host that has the instruction: LLVM would end the process."""
    if name != "None" and not binding.get_host_cpu_features().get("avx2", False):
        pytest.skip("this processor has no AVX2")
    environment = {**os.environ, **target, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", HOST_WITH_IT + OTHER_TARGET, name]
    subprocess.run(command, env=environment, check=True)


@pytest.mark.parametrize("name", ["AVX-512 VNNI", "AVX-VNNI"])
def test_what_other_processors_compute_gives_the_same_sums(name: str, tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", "import sys\n" + EMULATED + OTHER_TARGET, name]
    subprocess.run(command, env=environment, check=True)


def test_large_sums_that_float32_cannot_hold_are_exact() -> None:
    weights = np.full((2, 4096), 127, np.int8)
    synapses = Synapses(Projection("p", "a", "b", "x", weights), BYTE)
    assert len(synapses.slices) == 8
    for payload in (254, 255):  # an odd product is the first that float32 would round
        text = np.full((5, 4096), payload, np.int32)
        assert (synapses.by_blas(text) == 4096 * 127 * payload).all()
        assert (synapses.accumulate(text) == 4096 * 127 * payload).all()


@pytest.mark.parametrize(("bits", "slices"), [(17, 3), (20, 1)])
def test_wide_payloads_are_exact(bits: int, slices: int) -> None:
    weights = np.full((3, 5), 127, np.int8)
    wide = EventFormat(bits, signed=True)
    synapses = Synapses(Projection("p", "a", "b", "x", weights), wide)
    assert len(synapses.slices) == slices
    for payload in (wide.high, wide.high - 1):
        sums = synapses.accumulate(np.full((2, 5), payload, np.int32))
        assert (sums == 5 * 127 * payload).all()
