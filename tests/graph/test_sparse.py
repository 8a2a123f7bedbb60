"""Sparse projections: their contract, what they count, and the artifact."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

import spikegpt_neuro as sgn
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.files import sha256_of
from spikegpt_neuro.graph.artifact import load
from spikegpt_neuro.graph.graph import Projection, SpikingGraph
from spikegpt_neuro.graph.weights import SparseWeights, is_by_source
from spikegpt_neuro.graph.writer import checksum_of

from dense_weights import weights_of
from random_models import random_model, random_tokens
from sparse_graphs import pruned, sparse
from toy_graph import toy_graph


def lowered(bits: int = 8, density: float = 0.4, width: int = 16) -> SpikingGraph:
    model = random_model(1, width, 40)
    return pruned(lower(model, random_tokens(model, 300), weight_bits=bits), density)


@pytest.fixture(scope="module", params=[8, 6, 4])
def graph(request: pytest.FixtureRequest) -> SpikingGraph:
    return lowered(request.param)


# The weights


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (3, 8), (9, 17), (40, 5)])
@pytest.mark.parametrize("density", [0.0, 0.2, 1.0])
def test_what_exists_is_what_is_not_0(shape: tuple[int, int], density: float, packed: bool) -> None:
    rng = np.random.default_rng(1)
    weights = rng.integers(-7, 8, shape).astype(np.int8) * (rng.random(shape) < density)
    for plain in (np.ascontiguousarray(weights), np.asfortranarray(weights)):
        found = SparseWeights.of(plain, packed)
        assert list(found.problems()) == []
        assert np.array_equal(found.unpack(), plain)
        assert found.shape == shape
        assert found.synapses == np.count_nonzero(plain)
        assert found.fan_out.tolist() == np.count_nonzero(plain, axis=0).tolist()
        assert found.fan_in.tolist() == np.count_nonzero(plain, axis=1).tolist()
        assert found.largest == abs(plain.astype(int)).max(initial=0)
        assert is_by_source(found.unpack()) == is_by_source(plain)


def test_a_projection_has_only_the_synapses_that_exist(graph: SpikingGraph) -> None:
    assert graph.weight_density == 1
    thin = sparse(graph).validate()
    for dense, q in zip(graph.projections, thin.projections, strict=True):
        assert (q.is_dense, q.shape, q.by_source) == (dense.is_dense, dense.shape, dense.by_source)
        assert q.is_sparse == q.is_dense
        assert q.possible_synapses == dense.synapses
        if q.is_sparse:
            weights = weights_of(dense)
            assert np.array_equal(weights_of(q), weights)
            assert q.synapses == np.count_nonzero(weights)
            assert np.array_equal(q.fan_out, np.count_nonzero(weights, axis=0))
            assert f"{q.synapses} of {' x '.join(map(str, weights.shape))} synapses" in repr(q)
    dense_synapses = sum(q.synapses for q in graph.projections)
    assert thin.weight_density == sum(q.synapses for q in thin.projections) / dense_synapses


def test_weights_are_thinned_where_that_takes_fewer_bytes() -> None:
    for bits, limit in ((8, 7 / 8), (6, 7 / 8), (4, 3 / 4)):
        for density, smaller in ((limit - 0.06, True), (limit + 0.06, False)):
            full = toy_like(bits, density)
            thin = full.with_sparse_weights()
            assert {q.is_sparse for q in thin.projections if q.is_dense} == {smaller}
            assert thin.with_sparse_weights().projections == thin.projections
            assert (_stored_bytes(thin) < _stored_bytes(full)) == smaller


def toy_like(bits: int, density: float) -> SpikingGraph:
    """A head of 64 x 512 weights without a 0 but for those that are pruned."""
    model = random_model(1, 64, 512)
    whole = lower(model, random_tokens(model, 100), weight_bits=bits)

    def filled(q: Projection) -> Projection:
        weights = q.weights
        return q if weights is None else replace(q, weights=np.where(weights == 0, 1, weights))

    full = replace(whole, projections=tuple(map(filled, whole.projections)))
    return pruned(full, density)


def _stored_bytes(graph: SpikingGraph) -> int:
    stored = [q.stored(graph.weight_bits).nbytes for q in graph.projections if q.is_dense]
    return sum(stored) + sum(q.existing.nbytes for q in graph.projections if q.existing is not None)


# What is counted


def test_synaptic_operations_are_those_of_existing_synapses(graph: SpikingGraph) -> None:
    tokens = np.random.default_rng(2).integers(0, graph.shape.vocab_size, 30)
    dense, thin = (sgn.run(g, tokens, record="events") for g in (graph, sparse(graph)))
    assert np.array_equal(dense.logits_int, thin.logits_int)
    for q in graph.projections:
        events = thin.events[q.source]
        found, before = thin.activity[q.name], dense.activity[q.name]
        met = _recounted(events, q.weights)
        assert found.synaptic_operations == met
        assert found.events == before.events == np.count_nonzero(events)
        assert found.dense_operations == before.dense_operations
        assert found.dense_operations == events.size * (q.shape[0] if q.shape else 1)


def _recounted(events: NDArray[np.integer], weights: NDArray[np.int8] | None) -> int:
    """Token by token and synapse by synapse; nothing of the package's is asked."""
    if weights is None:
        return sum(1 for row in events.tolist() for payload in row if payload)
    lists = [[w for w in column if w] for column in weights.T.tolist()]
    return sum(len(lists[i]) for row in events.tolist() for i, payload in enumerate(row) if payload)


# The artifact


def test_an_artifact_holds_what_exists_and_loads_as_it_was(
    graph: SpikingGraph, tmp_path: Path
) -> None:
    thin = sparse(graph)
    thin.save(str(tmp_path / "model"))
    loaded = load(tmp_path / "model")
    stored = load_file(tmp_path / "model" / "weights.safetensors")
    for ours, theirs in zip(thin.projections, loaded.projections, strict=True):
        assert (ours.is_sparse, ours.by_source) == (theirs.is_sparse, theirs.by_source)
        if ours.sparse is not None:
            weights = weights_of(ours)
            assert np.array_equal(weights, weights_of(theirs))
            rows = weights.T if ours.by_source else weights
            bits = np.unpackbits(stored[f"synapses/{ours.name}"], axis=1, bitorder="little")
            assert np.array_equal(bits[:, : rows.shape[1]].astype(bool), rows != 0)
            if graph.weight_bits != 4:
                assert np.array_equal(stored[f"projections/{ours.name}"], rows[rows != 0])
    loaded.save(str(tmp_path / "again"))
    names = sorted(file.name for file in (tmp_path / "model").iterdir())
    assert [sha256_of(tmp_path / "model" / n) for n in names] == [
        sha256_of(tmp_path / "again" / n) for n in names
    ]


def test_without_sparse_projections_an_artifact_stays_as_it_was(tmp_path: Path) -> None:
    toy_graph().save(str(tmp_path / "model"))
    text = (tmp_path / "model" / "graph.json").read_text()
    assert "sparse" not in text
    stored = load_file(tmp_path / "model" / "weights.safetensors")
    assert not any(name.startswith("synapses/") for name in stored)


def test_a_sparse_artifact_is_smaller(tmp_path: Path) -> None:
    full = toy_like(8, 0.1)
    for name, graph in (("full", full), ("thin", full.with_sparse_weights())):
        graph.save(str(tmp_path / name))
    sizes = [(tmp_path / n / "weights.safetensors").stat().st_size for n in ("full", "thin")]
    possible, existing = (sum(q.synapses for q in g.projections) for g in (full, sparse(full)))
    assert sizes[0] - sizes[1] == pytest.approx(possible * 7 / 8 - existing, abs=2000)


Tensors = dict[str, NDArray[Any]]


def _without_bits(tensors: Tensors) -> None:
    del tensors["synapses/value"]


def _narrow_bits(tensors: Tensors) -> None:
    tensors["synapses/value"] = tensors["synapses/value"][:, :0]


def _other_bits(tensors: Tensors) -> None:
    tensors["synapses/value"] = tensors["synapses/value"].astype(np.int32)


def _one_more(tensors: Tensors) -> None:
    tensors["projections/value"] = np.append(tensors["projections/value"], np.int8(1))


def _all_bits(tensors: Tensors) -> None:
    tensors["synapses/value"][:] = 255


def _a_zero(tensors: Tensors) -> None:
    tensors["projections/value"][3] = 0


def _beyond(tensors: Tensors) -> None:
    bits, values = tensors["synapses/head"], tensors["projections/head"]
    bits[-1, -1] |= 128
    tensors["projections/head"] = np.append(values, np.int8(1))


def _too_large(tensors: Tensors) -> None:
    tensors["projections/value"][3] = -128


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_bits, "no tensor synapses/value"),
        (_narrow_bits, r"synapses/value is uint8 \(8, 0\), expected uint8 \(8, 1\)"),
        (_other_bits, "synapses/value is int32"),
        (_one_more, r"projections/value is int8 \(\d+,\), expected int8"),
        (_all_bits, r"projections/value is int8 \(\d+,\), expected int8 \(64,\)"),
        (_a_zero, "projection value: a synapse that exists has the weight 0"),
        (_beyond, "projection head: synapses exist beyond the 11 of a row"),
        (_too_large, r"projection value: weight 128 exceeds 8 bits"),
    ],
)
def test_a_damaged_sparse_artifact_is_named(
    change: Callable[[Tensors], None], message: str, tmp_path: Path
) -> None:
    graph = toy_graph()
    head = weights_of(graph.projections[-1])
    by_source = replace(graph.projections[-1], weights=np.asfortranarray(head))
    graph = replace(graph, projections=(*graph.projections[:-1], by_source))
    sparse(pruned(graph, 0.5)).save(str(tmp_path / "model"))
    file = tmp_path / "model" / "weights.safetensors"
    tensors = {name: tensor.copy() for name, tensor in load_file(file).items()}
    change(tensors)
    save_file(tensors, file)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["files"]["weights.safetensors"] = sha256_of(file)
    config["sha256"] = checksum_of(config)
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedInput, match=message):
        load(tmp_path / "model")
    shutil.rmtree(tmp_path / "model")
