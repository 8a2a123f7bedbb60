"""A graph of a handful of populations, of one block: quick to start on Lava."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spikegpt_neuro.graph.graph import Population, Projection, SpikingGraph
from spikegpt_neuro.model.spikegpt import ModelShape
from spikegpt_neuro.neurons import LIF, Embedding, Requantize, Residual, TokenMix

WIDTH = 8
VOCABULARY = 11


def toy_graph(seed: int = 0) -> SpikingGraph:
    """Embedding -> mix -> dense -> requantize -> LIF -> residual -> mix -> head, random weights."""
    rng = np.random.default_rng(seed)

    def constant(value: int, size: int = WIDTH) -> np.ndarray:
        return np.full(size, value, np.int32)

    def weights(rows: int) -> np.ndarray:
        return rng.integers(-127, 128, (rows, WIDTH), dtype=np.int8)

    one = (1 << 14, 14)
    mix = TokenMix(constant(3000), constant(one[0]), constant(one[1]), bits=8)
    to_current = Requantize(constant(one[0]), constant(13), bits=18, quantizer=False)
    readout = Requantize(
        constant(one[0], VOCABULARY), constant(14, VOCABULARY), bits=24, quantizer=False
    )
    populations = (
        Population(
            "embedding",
            WIDTH,
            Embedding(rng.integers(0, 2, (VOCABULARY, WIDTH)).astype(np.uint8)),
        ),
        Population("blocks.0.mix", WIDTH, mix),
        Population("blocks.0.current", WIDTH, to_current),
        Population("blocks.0.lif", WIDTH, LIF(du=4095, dv=2048, vth=60)),
        Population("blocks.0.residual", WIDTH, Residual()),
        Population("payload", WIDTH, mix),
        Population("head", VOCABULARY, readout),
    )
    projections = (
        Projection("mix", "embedding", "blocks.0.mix", "input", shift=6),
        Projection("value", "blocks.0.mix", "blocks.0.current", "input", weights(WIDTH)),
        Projection("current", "blocks.0.current", "blocks.0.lif", "current"),
        Projection("stream", "embedding", "blocks.0.residual", "stream", shift=5),
        Projection("branch", "blocks.0.lif", "blocks.0.residual", "branch", shift=4),
        Projection("payload", "blocks.0.residual", "payload", "input"),
        Projection("head", "payload", "head", "input", weights(VOCABULARY)),
    )
    return SpikingGraph(
        shape=ModelShape(layers=1, width=WIDTH, vocab_size=VOCABULARY),
        populations=populations,
        projections=projections,
        logit_scale=1.0,
    )


def with_other_weight(graph: SpikingGraph, projection: str) -> SpikingGraph:
    """A copy in which one weight of ``projection`` is another one."""

    def tampered(q: Projection) -> Projection:
        if q.name != projection:
            return q
        assert q.weights is not None
        weights = q.weights.copy()
        weights.flat[0] += 64 if weights.flat[0] < 0 else -64
        return replace(q, weights=weights)

    return replace(graph, projections=tuple(tampered(q) for q in graph.projections))
