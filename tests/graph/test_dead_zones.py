"""Dead zones: small payloads are no events, on every backend and in every count alike."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx_steps import in_onnxruntime, steps

import spikegpt_neuro as sgn
from spikegpt_neuro.backends.lava.backend import LavaBackend
from spikegpt_neuro.backends.loihi.backend import LoihiBackend
from spikegpt_neuro.backends.reference import ReferenceBackend
from spikegpt_neuro.backends.reference.executor import TOKEN, Executor
from spikegpt_neuro.backends.reference.stepper import Stepper, can_step
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.profile import load_profile
from spikegpt_neuro.mapping.placement import structure_of
from spikegpt_neuro.mapping.requirements import workload
from spikegpt_neuro.neurons import Requantize
from spikegpt_neuro.neurons.micro_operations import micro_operations
from spikegpt_neuro.neurons.program import silence
from spikegpt_neuro.running import first_mismatch

from dead_zones import with_random_dead_zones
from random_models import random_model, random_tokens

needs_lava = pytest.mark.skipif(
    importlib.util.find_spec("lava") is None, reason="Lava is not installed"
)
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"layers": 2},
    "ffnPre": {"layers": 1, "ffn_pre": True},
    "spike_input": {"layers": 1, "spike_input": True},
}
FEED_SYNAPSES = (
    *(f"blocks.0.att.{name}" for name in ("mix_k", "mix_v", "mix_r", "wkv")),
    *(f"blocks.0.ffn.{name}" for name in ("mix_k", "squared_relu", "mix_r")),
    "head.input",
)


def graph_of(variant: str, bits: int = 8) -> tuple[SpikingGraph, SpikingGraph]:
    """A graph, and the same with dead zones."""
    model = random_model(**VARIANTS[variant])
    graph = lower(model, random_tokens(model, 500), weight_bits=bits, activation_bits=bits)
    return graph, with_random_dead_zones(graph)


@pytest.fixture(scope="module")
def graphs() -> tuple[SpikingGraph, SpikingGraph]:
    return graph_of("plain")


@given(
    payloads=arrays(np.int32, (4, 3), elements=st.integers(-(2**24) + 1, 2**24 - 1)),
    zone=arrays(np.int32, (3,), elements=st.sampled_from([0, 1, 5, 2**24 - 1])),
)
def test_what_is_at_or_below_the_dead_zone_is_silent(payloads: Any, zone: Any) -> None:
    events = payloads.copy()
    silence(events, zone)
    assert np.array_equal(events, np.where(np.abs(payloads) > zone, payloads, 0))


def test_only_events_change_and_what_follows_from_them(
    graphs: tuple[SpikingGraph, SpikingGraph],
) -> None:
    """The first population with a dead zone: its payloads are the old ones, or silent."""
    graph, sparse = graphs
    tokens = np.arange(60) % 96
    name = "blocks.0.att.mix_k"
    before = ReferenceBackend().run(graph, tokens, record="events").events[name]
    after = ReferenceBackend().run(sparse, tokens, record="events").events[name]
    zone = sparse.by_name[name].program.dead_zone
    assert zone is not None
    assert np.array_equal(after, np.where(np.abs(before) > zone, before, 0))
    assert 0 < np.count_nonzero(after) < np.count_nonzero(before)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("variant", VARIANTS)
def test_token_mode_equals_sequence_mode(variant: str, bits: int) -> None:
    _, sparse = graph_of(variant, bits)
    tokens = random_tokens(random_model(**VARIANTS[variant]), 300)
    run = ReferenceBackend().run(sparse, tokens, record="events")
    assert can_step(sparse)
    stepper = Stepper(sparse)
    assert np.array_equal([stepper.step(int(t)).copy() for t in tokens], run.logits_int)
    executor = Executor(sparse)
    state = executor.initial_state()
    for t, token in enumerate(tokens[:40]):
        state, events, _ = executor.advance(state, {TOKEN: np.array([[token]], np.int32)})
        for name, recorded in run.events.items():
            assert np.array_equal(events[name][0], recorded[t]), (name, t)


def test_every_population_that_feeds_synapses_may_have_one(
    graphs: tuple[SpikingGraph, SpikingGraph],
) -> None:
    _, sparse = graphs
    assert all(sparse.by_name[name].program.dead_zone is not None for name in FEED_SYNAPSES)


def test_activity_counts_what_is_sent(graphs: tuple[SpikingGraph, SpikingGraph]) -> None:
    _, sparse = graphs
    run = ReferenceBackend().run(sparse, np.arange(80) % 96, record="events")
    for projection in sparse.projections:
        sent = np.count_nonzero(run.events[projection.source])
        assert run.activity[projection.name].events == sent
        assert run.activity[projection.name].synaptic_operations == sent * projection.fan_out


@needs_lava
@pytest.mark.parametrize(("granularity", "tokens"), [("population", 48), ("block", 300)])
def test_lava_gives_the_same_integers(
    graphs: tuple[SpikingGraph, SpikingGraph], granularity: Any, tokens: int
) -> None:
    _, sparse = graphs
    ids = np.random.default_rng(3).integers(0, 96, tokens)
    run = LavaBackend(granularity, time_limit=240).run(sparse, ids, record="events")
    reference = ReferenceBackend().run(sparse, ids, record="events")
    assert first_mismatch(sparse, run, reference) is None
    assert run.activity == reference.activity


@needs_lava
def test_the_loihi_rehearsal_gives_the_same_integers() -> None:
    model = random_model(1, 16, 40)
    sparse = with_random_dead_zones(lower(model, random_tokens(model, 200)))
    ids = np.random.default_rng(3).integers(0, 40, 32)
    run = LoihiBackend(rehearse=True, time_limit=240).run(sparse, ids, record="events")
    reference = ReferenceBackend().run(sparse, ids, record="events")
    assert first_mismatch(sparse, run, reference) is None


@pytest.mark.parametrize("variant", VARIANTS)
def test_onnx_gives_the_same_integers(variant: str, tmp_path: Path) -> None:
    _, sparse = graph_of(variant)
    sgn.export(sparse, "onnx", tmp_path / "model.onnx")
    tokens = random_tokens(random_model(**VARIANTS[variant]), 48)
    run = ReferenceBackend().run(sparse, tokens, record="events")
    evaluate = in_onnxruntime(tmp_path / "model.onnx")
    for t, values in enumerate(steps(tmp_path / "model.onnx", evaluate, tokens)):
        assert np.array_equal(values["logits"].reshape(-1), run.logits_int[t]), t


def test_the_simulator_prices_only_what_is_sent(
    graphs: tuple[SpikingGraph, SpikingGraph],
) -> None:
    tokens = np.arange(40) % 96
    costs = [sgn.profile(g, tokens, backend="cycle", hw="loihi2").to_dict() for g in graphs]
    for graph, cost in zip(graphs, costs, strict=True):
        run = ReferenceBackend().run(graph, tokens, record="events")
        operations = sum(
            np.count_nonzero(run.events[q.source]) * q.fan_out for q in graph.projections
        )
        assert cost["synops_per_token"] == pytest.approx(operations / len(tokens), rel=1e-12)
    assert costs[1]["synops_per_token"] < costs[0]["synops_per_token"]
    assert costs[1]["joules"]["synapse"] < costs[0]["joules"]["synapse"]


# Memory, operations, files


def test_a_dead_zone_is_a_word_per_neuron_and_two_micro_operations() -> None:
    ones = np.ones(5, np.int32)
    plain = Requantize(ones, ones, 8, True)
    silenced = replace(plain, dead_zone=ones)
    assert silenced.words_per_neuron() == plain.words_per_neuron() + 1
    # its magnitude; does it exceed the dead zone?
    assert micro_operations(silenced, 5) == micro_operations(plain, 5) + 5 * 2


def test_the_mapper_finds_room_for_it(graphs: tuple[SpikingGraph, SpikingGraph]) -> None:
    profile = load_profile("loihi2")
    demands = [{d.name: d for d in workload(g, profile).demands} for g in graphs]
    for name in FEED_SYNAPSES:
        word = profile.encoding.state_word
        assert demands[1][name].neuron_bytes == demands[0][name].neuron_bytes + word
    assert structure_of(graphs[0]) != structure_of(graphs[1])
    with pytest.raises(UnsupportedInput, match="placement"):
        sgn.place(graphs[0], profile).placement.check(graphs[1], profile)


def test_the_artifact_keeps_it(graphs: tuple[SpikingGraph, SpikingGraph], tmp_path: Path) -> None:
    graph, sparse = graphs
    for name, each in (("plain", graph), ("sparse", sparse)):
        each.save(str(tmp_path / name))
        loaded = sgn.load(tmp_path / name)
        for population in each.populations:
            zone = loaded.by_name[population.name].program.dead_zone
            assert np.array_equal(zone, population.program.dead_zone)  # type: ignore[arg-type]
    tokens = np.arange(50) % 96
    run, again = sgn.run(sparse, tokens), sgn.run(sgn.load(tmp_path / "sparse"), tokens)
    assert np.array_equal(run.logits_int, again.logits_int)


def without(graph: SpikingGraph) -> SpikingGraph:
    return graph.with_dead_zones(dict.fromkeys(FEED_SYNAPSES))


def zeros(graph: SpikingGraph) -> SpikingGraph:
    sizes = {name: graph.by_name[name].size for name in FEED_SYNAPSES}
    return graph.with_dead_zones({name: np.zeros(n, np.int32) for name, n in sizes.items()})


@pytest.mark.parametrize("change", [without, zeros])
def test_no_dead_zone_is_no_dead_zone(
    graphs: tuple[SpikingGraph, SpikingGraph], change: Callable[[SpikingGraph], SpikingGraph]
) -> None:
    assert all(p.program.dead_zone is None for p in change(graphs[0]).populations)
    assert structure_of(change(graphs[0])) == structure_of(graphs[0])


@pytest.mark.parametrize(
    ("zones", "message"),
    [
        ({"nobody": np.ones(16, np.int32)}, "no population nobody"),
        ({"blocks.0.lif1": np.ones(64, np.int32)}, "blocks.0.lif1 is a lif, which sends all"),
        ({"head.input": np.ones(3, np.int32)}, r"dead_zone has shape \(3,\)"),
        ({"head.input": np.full(32, -1, np.int32)}, r"dead_zone\[0\] is -1, expected 0\.\."),
    ],
)
def test_what_cannot_be_is_refused(zones: Any, message: str) -> None:
    graph = lower(random_model(1, 32, 40), random_tokens(random_model(1, 32, 40), 100))
    with pytest.raises(UnsupportedInput, match=message):
        graph.with_dead_zones(zones)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_any_dead_zones_give_one_result_in_both_modes(seed: int) -> None:
    model = random_model(1, 8, 11)
    sparse = with_random_dead_zones(lower(model, random_tokens(model, 60)), seed)
    tokens = np.random.default_rng(seed).integers(0, 11, 30)
    stepper = Stepper(sparse)
    found = [stepper.step(int(token)).copy() for token in tokens]
    assert np.array_equal(found, ReferenceBackend().run(sparse, tokens).logits_int)
