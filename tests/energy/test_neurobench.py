"""NeuroBench's own figures for the same linear layers and inputs equal ours under its names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spikegpt_neuro.backends.reference import ReferenceBackend
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.energy.activity import activity_of
from spikegpt_neuro.energy.counts import Arrivals, arrivals_of
from spikegpt_neuro.graph.graph import Projection, SpikingGraph
from spikegpt_neuro.running import Run

from energy_example import example_graph, example_run
from random_models import random_model, random_tokens
from sparse_graphs import sparse
from toy_graph import VOCABULARY, toy_graph

torch = pytest.importorskip("torch")
neurobench = pytest.importorskip("neurobench")

from neurobench.metrics.workload import SynapticOperations  # noqa: E402
from neurobench.models import TorchModel  # noqa: E402


def _theirs(projection: Projection, events: np.ndarray) -> dict[str, float]:
    """What the package says of one linear layer with the integer weights; per token."""
    assert projection.weights is not None
    targets, sources = projection.weights.shape
    # In double precision: the package adds up operations in the layer's own type.
    layer = torch.nn.Linear(sources, targets, bias=False, dtype=torch.float64)
    layer.weight.data = torch.from_numpy(projection.weights.astype(np.float64))
    model = TorchModel(torch.nn.Sequential(layer))
    model.register_hooks()
    inputs = torch.from_numpy(events.astype(np.float64))
    metric = SynapticOperations()
    found = metric(model, model(inputs), (inputs, None))
    model.cleanup_hooks()
    return dict(found)


def _ours(arrived: Arrivals, tokens: int) -> dict[str, float]:
    return {
        "Effective_MACs": arrived.effective_macs / tokens,
        "Effective_ACs": arrived.effective_acs / tokens,
        "Dense": arrived.dense / tokens,
    }


def _compare(graph: SpikingGraph, run: Run) -> list[dict[str, float]]:
    arrivals = {a.name: a for a in arrivals_of(graph, activity_of(graph, run))}
    linear = [q for q in graph.projections if q.is_dense]
    found = [_theirs(q, run.events[q.source]) for q in linear]
    assert found == [_ours(arrivals[q.name], len(run.tokens)) for q in linear]
    return found


def test_the_documented_example() -> None:
    graph = example_graph()
    found = _compare(graph, example_run(graph))
    assert [f["Effective_ACs"] for f in found] == [0, 5 / 2]
    assert [f["Effective_MACs"] for f in found] == [8 / 2, 0]


def _lowered() -> SpikingGraph:
    model = random_model(2, 16)
    return lower(model, random_tokens(model, 64))


@pytest.mark.parametrize("made", [toy_graph, _lowered])
def test_the_events_of_a_run(made: Callable[[], Any]) -> None:
    graph = _with_zeros(made())
    tokens = np.random.default_rng(2).integers(0, graph.shape.vocab_size, 20)
    found = _compare(graph, ReferenceBackend().run(graph, tokens, record="events"))
    assert any(f["Effective_MACs"] > 0 for f in found)


def _with_zeros(graph: SpikingGraph) -> SpikingGraph:
    """A third of the weights are 0: they count as synaptic operations, not as effective ones."""
    rng = np.random.default_rng(3)

    def thinned(q: Projection) -> Projection:
        if q.weights is None:
            return q
        return replace(q, weights=np.where(rng.random(q.weights.shape) < 1 / 3, 0, q.weights))

    return replace(graph, projections=tuple(thinned(q) for q in graph.projections))


@pytest.mark.parametrize("made", [toy_graph, _lowered])
def test_a_sparse_graph_has_the_same_figures(made: Callable[[], Any]) -> None:
    graph = _with_zeros(made())
    tokens = np.random.default_rng(2).integers(0, graph.shape.vocab_size, 20)
    dense, thin = (
        _compare(g, ReferenceBackend().run(g, tokens, record="events"))
        for g in (graph, sparse(graph))
    )
    assert dense == thin


@pytest.mark.parametrize("payloads", [(0, 1), (-1, 0, 1), (0, 1, 2), (-5, 0, 0, 0)])
def test_a_layer_accumulates_only_on_ones(payloads: tuple[int, ...]) -> None:
    graph = _with_zeros(toy_graph())
    tokens = np.random.default_rng(4).integers(0, VOCABULARY, 9)
    run = ReferenceBackend().run(graph, tokens, record="events")
    rng = np.random.default_rng(5)
    made = rng.choice(np.array(payloads, np.int32), run.events["blocks.0.mix"].shape)
    _compare(graph, replace(run, events={**run.events, "blocks.0.mix": made}))
