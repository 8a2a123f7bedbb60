"""Products with the weights that exist: every form gives the same sums."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llvmlite import binding
from numpy.typing import NDArray

import spikegpt_neuro as sgn
from spikegpt_neuro.backends.reference import stepper
from spikegpt_neuro.backends.reference.sparse_products import (
    BLOCK,
    LANES,
    by_existing,
    encoded,
    layers_of,
    slots_available,
)
from spikegpt_neuro.backends.reference.stepper import EXISTING, Stepper
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.neurons.program import EventFormat

from random_models import random_model, random_tokens
from sparse_graphs import pruned, sparse

SIGNED, UNSIGNED, WIDE = (
    EventFormat(8, signed=True),
    EventFormat(8, signed=False),
    EventFormat(15, signed=True),
)
needs_slots = pytest.mark.skipif(not slots_available(), reason="this processor has no AVX2")


def matrix(shape: tuple[int, int], density: float, seed: int) -> NDArray[np.int8]:
    rng = np.random.default_rng(seed)
    drawn = rng.choice(np.array([-127, -126, -3, 1, 126, 127], np.int8), shape)
    return drawn * (rng.random(shape) < density)


def events_of(kind: EventFormat, sources: int, seed: int) -> NDArray[np.int16]:
    rng = np.random.default_rng(seed)
    extremes = rng.choice([kind.low, kind.high, 0, 1, kind.high // 2], sources)
    return extremes.astype(np.int16)


def sums_of(
    weights: NDArray[np.int8],
    layers: int,
    kind: EventFormat,
    events: NDArray[np.int16],
    threads: int = 1,
) -> NDArray[np.int32]:
    """What ``threads`` threads add up, one after the other; nothing is written beyond."""
    targets, sources = weights.shape
    memory = encoded(weights, layers, kind, threads)
    room = np.zeros(-(-sources // BLOCK) * BLOCK, np.int8)
    lanes = -(-targets // LANES) * LANES
    sums = np.full(lanes + 3, 7, np.int32)
    narrow = np.append(events, np.int16(0))
    for thread in range(threads):
        by_existing(memory, narrow, room, sums, thread, threads)
    assert (sums[lanes:] == 7).all()
    return sums[:targets]


@given(
    st.integers(1, 150),
    st.integers(1, 200),
    st.sampled_from([0.0, 0.03, 0.3, 1.0]),
    st.integers(0, 8),
    st.sampled_from([SIGNED, UNSIGNED, WIDE]),
    st.integers(1, 3),
    st.integers(0, 99),
)
def test_every_form_gives_the_exact_sums(
    targets: int,
    sources: int,
    density: float,
    layers: int,
    kind: EventFormat,
    threads: int,
    seed: int,
) -> None:
    if kind is WIDE or not slots_available():
        layers = 0
    weights, events = matrix((targets, sources), density, seed), events_of(kind, sources, seed)
    expected = weights.astype(np.int64) @ events
    assert (sums_of(weights, layers, kind, events, threads) == expected).all()


@needs_slots
@pytest.mark.parametrize("kind", [SIGNED, UNSIGNED])
def test_the_largest_products_do_not_saturate(kind: EventFormat) -> None:
    for weight in (-127, 127):
        for payload in (kind.low, kind.high):
            weights, events = np.full((9, 70), weight, np.int8), np.full(70, payload, np.int16)
            found = sums_of(weights, 8, kind, events)
            assert (found == 70 * weight * payload).all()


def test_targets_beyond_one_share() -> None:
    weights, events = matrix((9001, 20), 0.05, 1), events_of(SIGNED, 20, 1)
    for layers in (0, 1) if slots_available() else (0,):
        found = sums_of(weights, layers, SIGNED, events, threads=2)
        assert (found == weights.astype(np.int64) @ events).all()


def test_the_form_follows_from_the_density() -> None:
    found = [layers_of(matrix((256, 512), d, 1), WIDE, by_source=False) for d in (0.05, 0.5)]
    assert found == [0, None]
    if slots_available():
        chosen = [
            layers_of(matrix((256, 512), d, 1), SIGNED, by_source=False)
            for d in (0.005, 0.05, 0.1, 0.2, 0.5, 1.0)
        ]
        assert chosen == [0, 1, 2, 4, None, None]
        packed = [
            layers_of(matrix((256, 512), d, 1), SIGNED, by_source=False, packed=True)
            for d in (0.05, 0.1, 0.3)
        ]
        assert packed == [1, 2, None]


def test_without_the_instructions_the_list_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "get_host_cpu_features", dict)
    slots_available.cache_clear()
    try:
        assert not slots_available()
        assert layers_of(matrix((64, 64), 0.05, 1), SIGNED, by_source=False) == 0
    finally:
        monkeypatch.undo()
        slots_available.cache_clear()


# A whole graph, token by token


def thin_graph(bits: int, density: float) -> SpikingGraph:
    model = random_model(2, 64, 300)
    return sparse(pruned(lower(model, random_tokens(model, 200), weight_bits=bits), density))


def kinds(graph: SpikingGraph) -> set[int]:
    return {int(o[stepper.KIND]) for o in Stepper(graph)._buffers[0]}


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("density", [0.01, 0.1, 0.6])
@pytest.mark.parametrize("threads", [1, 2])
def test_token_mode_and_sequence_mode_of_a_sparse_graph(
    bits: int, density: float, threads: int
) -> None:
    graph = thin_graph(bits, density)
    dense = replace(
        graph, projections=tuple(replace(q, weights=q.weights) for q in graph.projections)
    )
    assert not any(q.is_sparse for q in dense.projections)
    assert (EXISTING in kinds(graph)) == (density < 0.5)
    assert EXISTING not in kinds(dense)
    tokens = random_tokens(random_model(2, 64, 300), 40)
    whole = sgn.run(graph, tokens, record="events")
    reference = sgn.run(dense, tokens, record="events")
    for name, events in reference.events.items():
        assert np.array_equal(events, whole.events[name])
    step = Stepper(graph, threads)
    logits = np.stack([step.step(int(token)).copy() for token in tokens])
    step.close()
    assert np.array_equal(logits, reference.logits_int)
    assert np.array_equal(whole.logits_int, reference.logits_int)


def test_what_is_sparse_takes_less_memory() -> None:
    graph = thin_graph(8, 0.05)
    taken = sum(matrix.nbytes for matrix in stepper._Plan(graph, 1).matrices)
    assert taken < 0.4 * sum(q.possible_synapses for q in graph.projections)
