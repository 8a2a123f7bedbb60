"""Dead zones of all sizes, for graphs whose populations send payloads to synapses."""

from __future__ import annotations

import numpy as np

from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.neurons.program import declared


def with_random_dead_zones(graph: SpikingGraph, seed: int = 0) -> SpikingGraph:
    """Every population that feeds synapses and may have a dead zone has one: 0 to 60 % of high."""
    rng = np.random.default_rng(seed)
    heard = {q.source for q in graph.projections if q.is_dense}
    return graph.with_dead_zones(
        {
            p.name: rng.integers(0, int(0.6 * p.program.events.high), p.size).astype(np.int32)
            for p in graph.populations
            if p.name in heard and any(d.optional for d in declared(type(p.program)))
        }
    )
