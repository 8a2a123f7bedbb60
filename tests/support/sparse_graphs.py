"""Graphs of which many weights are 0, with and without the synapses that weigh nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spikegpt_neuro.graph.graph import Projection, SpikingGraph
from spikegpt_neuro.graph.weights import SparseWeights


def pruned(graph: SpikingGraph, density: float, seed: int = 0) -> SpikingGraph:
    """A random share of every projection's weights kept, the others 0; all synapses exist."""
    rng = np.random.default_rng(seed)

    def thinned(q: Projection) -> Projection:
        weights = q.weights
        if weights is None:
            return q
        kept = rng.random(weights.shape) < density
        mask = np.asfortranarray(kept) if q.by_source else kept
        return replace(q, weights=weights * mask)

    return replace(graph, projections=tuple(map(thinned, graph.projections)))


def sparse(graph: SpikingGraph) -> SpikingGraph:
    """Every projection with weights sparse, whether that is smaller or not."""

    def without_zeros(q: Projection) -> Projection:
        weights = q.weights
        if weights is None:
            return q
        packed = graph.weight_bits == 4
        return replace(q, weights=SparseWeights.of(weights, packed))

    return replace(graph, projections=tuple(map(without_zeros, graph.projections)))


def partly_sparse(graph: SpikingGraph, seed: int) -> SpikingGraph:
    """Some projections sparse, each with a density of its own, down to none at all."""
    rng = np.random.default_rng(seed)

    def some(q: Projection) -> Projection:
        weights = q.weights
        if weights is None or rng.random() < 0.3:
            return q
        kept = weights * (rng.random(weights.shape) < rng.choice([0.0, 0.05, 0.3, 0.9]))
        ordered = np.array(kept, np.int8, order=str(rng.choice(["C", "F"])))  # type: ignore[call-overload]
        packed = graph.weight_bits == 4
        return replace(q, weights=SparseWeights.of(ordered, packed))

    return replace(graph, projections=tuple(map(some, graph.projections)))
