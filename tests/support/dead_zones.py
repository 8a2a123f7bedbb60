"""Dead zones of all sizes: of graphs in units of payloads, of checkpoints in real ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.model.spikegpt import SpikeGPT
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


def with_real_dead_zones(model: SpikeGPT, largest: float = 0.4, seed: int = 0) -> SpikeGPT:
    """Every population that may have a dead zone has one: 0 to ``largest``, in float32."""
    rng = np.random.default_rng(seed)
    sizes = model.shape.dead_zone_sizes()
    zones = {name: (largest * rng.random(n)).astype(np.float32) for name, n in sizes.items()}
    return replace(model, dead_zones=zones)


def pruned(model: SpikeGPT, share: float = 0.5, seed: int = 0) -> SpikeGPT:
    """About ``share`` of the weights, drawn at random, do not exist."""
    rng = np.random.default_rng(seed)
    names = model.shape.matrices
    kept = {n: model.tensors[n] * (rng.random(model.tensors[n].shape) >= share) for n in names}
    return replace(model, tensors=dict(model.tensors) | kept, pruned=True)
