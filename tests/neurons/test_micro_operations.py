"""Micro-operations: recounted by hand from the equations, linear in size, cheap to find."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

import spikegpt_neuro as sgn
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.neurons import LIF, PROGRAMS, Requantize, Residual, TokenMix
from spikegpt_neuro.neurons import micro_operations as counting
from spikegpt_neuro.neurons.micro_operations import micro_operations, update_of
from spikegpt_neuro.neurons.program import Program

from places import ROOT


@pytest.fixture(scope="module")
def graph() -> SpikingGraph:
    pytest.importorskip("torch", reason="reading .pth needs torch")
    return sgn.convert(str(ROOT / "examples" / "pydoc-4x128.pth"))


@pytest.fixture(scope="module")
def by_kind(graph: SpikingGraph) -> dict[str, Program]:
    return {p.program.kind: p.program for p in graph.populations}


SATURATE = 2  # a minimum and a maximum
ROUND_SHIFT = 2  # add half, shift
RESCALE = 1 + ROUND_SHIFT  # multiply first
SHIFT_BY_DATA = 5  # to the left?, count - 1, 1 << that, add, shift
# index; its reading; the next one's place and reading; difference; remainder (back, less);
# product, rounded; on top of the lower one
INTERPOLATE = 1 + 1 + 2 + 1 + 2 + 1 + ROUND_SHIFT + 1
SIGMOID = 3 + INTERPOLATE  # from 0 on, within the table
EXP2 = 4 + INTERPOLATE + SHIFT_BY_DATA  # octave, all too small?, its place, less it; the octave
POWERS = 3 + EXP2  # distance, magnitude; which is larger?


def test_every_program_of_a_model_is_counted(by_kind: dict[str, Program]) -> None:
    assert set(by_kind) == set(PROGRAMS)
    assert all(micro_operations(program, 8) > 0 for program in by_kind.values())


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("residual", 1 + 1 + SATURATE),  # stream + branch; a shift by 0; saturate
        ("requantize", SATURATE + RESCALE + SATURATE),
        # y m + previous (1 - m), rounded, saturated; rescaled, clipped
        ("token_mix", 3 + ROUND_SHIFT + SATURATE + RESCALE + SATURATE),
        # saturate, rescale, max(0, .), min; square, rescale, min
        ("squared_relu", SATURATE + RESCALE + 2 + 1 + RESCALE + 1),
        # u: |u|, product, shift, sign, its choice; a << 6, sum; wrap: add, mask, subtract;
        # v: decays likewise, + u; threshold; saturate
        ("lif", 5 + 2 + 3 + 5 + 1 + 1 + SATURATE),
        # v: saturate, rescale, saturate; r: saturate, rescale; sigmoid; product, rounded
        ("gate", 3 * SATURATE + 2 * RESCALE + SIGMOID + 1 + ROUND_SHIFT),
    ],
)
def test_a_neuron_equals_the_count_by_hand(
    by_kind: dict[str, Program], kind: str, expected: int
) -> None:
    program = Residual() if kind == "residual" else by_kind[kind]
    assert micro_operations(program, 1) == expected
    assert micro_operations(program, 1000) == 1000 * expected


def test_layer_norm_shares_its_sums(by_kind: dict[str, Program]) -> None:
    mean = RESCALE
    # length - 24, made even (2); which way, magnitude; table; times sqrt(n); exponent
    root = 2 + 2 + 3 + (1 + INTERPOLATE) + RESCALE + 3
    sums = 1 + (1 + SATURATE + 2)  # x; centered squares
    normalize = (
        1 + SATURATE + 1 + 1 + SHIFT_BY_DATA
    )  # centered, times g, shifted by its exponent - 13
    scale = RESCALE + 1 + SATURATE  # times weight, plus bias
    for size in (1, 2, 128, 1000):
        counted = micro_operations(by_kind["layer_norm"], size)
        assert counted == size * (sums + normalize + scale) + mean + root


def test_wkv_equals_the_count_by_hand(by_kind: dict[str, Program]) -> None:
    ports = 3 * (SATURATE + RESCALE + SATURATE)
    # old a + new v; old b + new
    sums = (RESCALE + RESCALE + 1) + (RESCALE + 1 + 1)
    # u + k limited; b above 2?, halved; reciprocal; product, rounded
    read = 2 + POWERS + sums + 1 + ROUND_SHIFT + (1 + INTERPOLATE) + RESCALE
    gate = SIGMOID + RESCALE + RESCALE + SATURATE
    # p + w (twice), the larger; b above 2?, a and b halved, q + 1; p limited
    update = 3 + POWERS + sums + 1 + 2 * ROUND_SHIFT + 1 + 1
    assert micro_operations(by_kind["wkv"], 10) == 10 * (ports + read + gate + update)


def test_a_wkv_neuron_is_dearest_and_a_lif_stock(
    graph: SpikingGraph, by_kind: dict[str, Program]
) -> None:
    costs = {kind: micro_operations(program, 100) for kind, program in by_kind.items()}
    assert max(costs, key=lambda kind: costs[kind]) == "wkv"
    assert costs["wkv"] > 5 * costs["lif"]
    for population in graph.populations:
        updates, operations = update_of(population)
        if population.program.kind == "lif":
            assert (updates, operations) == (population.size, 0)
        else:
            assert updates == 0
            assert operations == micro_operations(population.program, population.size)


def test_an_embedding_reads_one_entry_per_neuron(by_kind: dict[str, Program]) -> None:
    assert micro_operations(by_kind["embedding"], 77) == 77


def test_populations_of_one_kind_cost_the_same(graph: SpikingGraph) -> None:
    found: dict[tuple[str, int], set[int]] = {}
    for p in graph.populations:
        found.setdefault((p.program.kind, p.size), set()).add(micro_operations(p.program, p.size))
    assert all(len(counts) == 1 for counts in found.values()), found


def test_the_longest_way_counts() -> None:
    """A negative potential takes one negation more than a positive one."""
    step = micro_operations(LIF(du=0, dv=2048, vth=100), 1)
    positive_only = _with_levels((1, 1 << 8), LIF(du=0, dv=2048, vth=100))
    assert step == positive_only + 2  # u and v


def _with_levels(levels: tuple[int, ...], program: Program) -> int:
    kept = counting.LEVELS
    counting._count.cache_clear()
    counting.LEVELS = levels
    try:
        return micro_operations(program, 1)
    finally:
        counting.LEVELS = kept
        counting._count.cache_clear()


def test_what_parameters_decide_is_free() -> None:
    ones = np.ones(4, np.int32)
    mix = TokenMix(coefficient=ones, mantissa=ones, shift=ones, bits=8)
    deeper = TokenMix(coefficient=-ones, mantissa=ones, shift=20 * ones, bits=12)
    assert micro_operations(mix, 4) == micro_operations(deeper, 4)
    left = Requantize(mantissa=ones, shift=0 * ones, bits=8, quantizer=True)
    right = Requantize(mantissa=ones, shift=ones, bits=8, quantizer=True)
    assert micro_operations(right, 1) - micro_operations(left, 1) == 1  # no half to add


def test_counting_changes_no_integer_and_is_quick(by_kind: dict[str, Program]) -> None:
    program = by_kind["wkv"]
    inputs = [np.full((2, 1), level, np.int32) for level in (900, -70, 5)]
    single = type(program)(
        **{
            name: value[:1] if isinstance(value, np.ndarray) else value
            for name, value in vars(program).items()
        }
    )
    before = single.advance(single.initial_state(1), *inputs).events
    spent = []
    for _ in range(5):
        counting._count.cache_clear()
        begin = time.process_time()
        micro_operations(program, 512)
        spent.append(time.process_time() - begin)
    assert min(spent) < 0.1
    assert np.array_equal(before, single.advance(single.initial_state(1), *inputs).events)


def test_counted_numbers_compute_what_the_kernels_do(by_kind: dict[str, Program]) -> None:
    """The tally runs the program itself: same events, so nothing was left out or replaced."""
    tally = counting._Tally()
    for kind, program in by_kind.items():
        if kind == "embedding":
            continue
        values = {
            name: value[:1] if isinstance(value, np.ndarray) else value
            for name, value in vars(program).items()
        }
        plain = type(program)(**values)
        counted = type(program)(
            **{
                name: counting._objects(value.tolist()) if isinstance(value, np.ndarray) else value
                for name, value in values.items()
            }
        )
        levels = [12345, -777, 31]
        inputs = [np.array(levels, np.int32).reshape(3, 1) for _ in plain.ports]
        ports = [counting._objects(map(tally.number, levels)).reshape(3, 1) for _ in plain.ports]
        state = tuple(
            counting._objects(map(tally.number, s.tolist())) for s in plain.initial_state(1)
        )
        expected = plain.advance(plain.initial_state(1), *inputs)
        found = tally.advance(counted, state, *ports)
        assert found.events.tolist() == expected.events.tolist(), kind
        assert [s.tolist() for s in found.state] == [s.tolist() for s in expected.state], kind
        assert found.counts == expected.counts, kind


def test_importing_the_programs_counts_nothing() -> None:
    code = (
        "import spikegpt_neuro.neurons.micro_operations as m; "
        "assert m._count.cache_info().currsize == 0"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
