"""Graphs of any shape that cost no memory: the mapper looks at shapes, not at weights.

A small random model is lowered and its populations are stretched: every array becomes a view of
one number with the larger shape.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np

from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.graph.graph import Population, Projection, SpikingGraph
from spikegpt_neuro.model.spikegpt import ModelShape
from spikegpt_neuro.model.synthetic import random_model, random_tokens
from spikegpt_neuro.neurons import PROGRAMS, Embedding, Program

from sparse_graphs import partly_sparse

SMALL_WIDTH = 8
SMALL_VOCABULARY = 11


def shape_graph(layers: int, width: int, vocab_size: int, **options: Any) -> SpikingGraph:
    """The graph that the lowering makes of a model of this shape, without its numbers."""
    model = random_model(layers, SMALL_WIDTH, SMALL_VOCABULARY, **options)
    graph = lower(model, random_tokens(model, 16))
    sizes = {
        SMALL_WIDTH: width,
        4 * SMALL_WIDTH: 4 * width,
        SMALL_VOCABULARY: vocab_size,
    }

    def stretched(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.broadcast_to(array.flat[0], [sizes[n] for n in array.shape])

    def program_of(population: Population) -> Program:
        program: Any = population.program
        values = {f.name: getattr(program, f.name) for f in fields(program)}
        arrays = {name: v for name, v in values.items() if isinstance(v, np.ndarray)}
        made: Program = replace(program, **{n: stretched(array) for n, array in arrays.items()})
        return made

    return replace(
        graph,
        shape=replace(graph.shape, width=width, vocab_size=vocab_size),
        populations=tuple(
            replace(p, size=sizes[p.size], program=program_of(p)) for p in graph.populations
        ),
        projections=tuple(
            q if q.weights is None else replace(q, weights=stretched(q.weights))
            for q in graph.projections
        ),
    )


def uniform_rates(graph: SpikingGraph, rate: float = 0.3) -> dict[str, np.ndarray[Any, Any]]:
    """The same activity everywhere."""
    return {p.name: np.full(p.size, rate) for p in graph.populations}


def random_graph(seed: int) -> SpikingGraph:
    """A graph of up to a dozen populations of any program, wired at random along the data's way.

    One in three has sparse projections.
    """
    rng = np.random.default_rng(seed)
    kinds = [kind for kind in PROGRAMS if kind != "embedding"]
    sizes = [int(n) for n in rng.integers(1, 40, 3)]  # few, so that one-to-one can happen
    table = np.broadcast_to(np.uint8(1), (int(rng.integers(2, 30)), sizes[0]))
    populations = [Population("p0", sizes[0], Embedding(table))]
    projections: list[Projection] = []
    for index in range(1, int(rng.integers(2, 13))):
        name, size = f"p{index}", int(rng.choice(sizes))
        program = _program(str(rng.choice(kinds)), size, silent=seed % 2 == 1)
        for port in program.ports:
            source = populations[int(rng.integers(max(0, index - 4), index))]
            alike = source.size == size and rng.random() < 0.6
            weights = None if alike else np.broadcast_to(np.int8(1), (size, source.size))
            projections.append(Projection(f"{name}.{port}", source.name, name, port, weights))
        populations.append(Population(name, size, program))
    graph = SpikingGraph(
        shape=ModelShape(layers=1, width=sizes[0], vocab_size=populations[-1].size),
        populations=tuple(populations),
        projections=tuple(projections),
        logit_scale=1.0,
        weight_bits=int(rng.choice([4, 6, 8])),
    )
    return partly_sparse(graph, seed) if seed % 3 == 2 else graph


def _program(kind: str, size: int, silent: bool) -> Program:
    """A program of zeros and ones; ``silent``: with a dead zone, where it can have one."""
    program: Any = PROGRAMS[kind]
    values: dict[str, Any] = {"int": 1, "bool": False}
    array = np.broadcast_to(np.int32(0), (size,))
    made: Program = program(
        **{
            f.name: values.get(str(f.type), array)
            for f in fields(program)
            if f.name != "dead_zone" or silent
        }
    )
    return made
