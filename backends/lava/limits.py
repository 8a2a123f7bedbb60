"""Limits: of the stock processes' arithmetic. What a network takes of the machine."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from spikegpt_neuro.backends.lava.job import Granularity
from spikegpt_neuro.backends.lava.listening import unheard
from spikegpt_neuro.backends.lava.machine import SLOTS, Footprint
from spikegpt_neuro.backends.lava.parts import parts
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.graph.graph import ACCUMULATOR_BITS, Projection, SpikingGraph
from spikegpt_neuro.neurons.lif import CURRENT_LIMIT, DECAY_ONE, LIF

PORTS_MAX = 3
FRAME_SLOTS = 2  # a frame is large, and read in the time step in which it is sent


def check_stock_arithmetic(graph: SpikingGraph) -> None:
    """Raise :class:`UnsupportedInput` naming what the stock processes would compute otherwise."""
    for problem in _stock_problems(graph):
        raise UnsupportedInput(
            f"Lava at population granularity: {problem}; granularity='block' can run it"
        )


def _stock_problems(graph: SpikingGraph) -> Iterator[str]:
    for projection in graph.projections:
        if projection.is_dense:
            doubled = 2 * _largest_sum(graph, projection)
            if doubled >= 1 << (ACCUMULATOR_BITS - 1):
                yield f"projection {projection.name}: sums up to {doubled} overflow stock synapses"
    for population in graph.populations:
        if isinstance(population.program, LIF):
            yield from lif_problems(graph, population.name, population.program)
        elif len(population.program.ports) > PORTS_MAX:
            yield f"population {population.name} has more than {PORTS_MAX} ports"


def lif_problems(graph: SpikingGraph, name: str, program: LIF) -> Iterator[str]:
    """What a stock LIF would compute otherwise than the population ``name``."""
    (projection,) = graph.incoming[name]
    if projection.shift:
        yield f"population {name}: a stock LIF cannot shift its input by {projection.shift}"
    largest = _largest_sum(graph, projection)
    if program.du != DECAY_ONE - 1 or largest > CURRENT_LIMIT:
        yield (
            f"population {name}: its current may wrap (du {program.du}, inputs up to {largest}; "
            f"the stock LIF wraps elsewhere, limits: du {DECAY_ONE - 1}, {CURRENT_LIMIT})"
        )


def _largest_sum(graph: SpikingGraph, projection: Projection) -> int:
    """Largest magnitude that can arrive over ``projection``."""
    high = graph.by_name[projection.source].events.high
    weights = projection.weights
    if weights is None:
        return high << projection.shift
    return int(np.abs(weights.astype(np.int64)).sum(axis=1).max()) * high


def footprint(
    graph: SpikingGraph, granularity: Granularity, *, closed_loop: bool, frame: int = 1
) -> Footprint:
    """What the network of ``graph`` will take; one process is Lava's runtime service."""
    if granularity == "block":
        boxes = len(parts(graph)) + 2 * closed_loop
        slots = SLOTS if closed_loop else FRAME_SLOTS
        sent = [name for part in parts(graph)[: len(parts(graph)) - 1] for name in part.sends]
        neurons = sum(graph.by_name[name].size for name in sent)
        beside = 1 + graph.output.size if closed_loop else 0
        return Footprint(boxes + 1, boxes - 1, words=slots * (frame * neurons + beside))
    dense = [q for q in graph.projections if q.is_dense]
    listeners = unheard(graph)
    sizes = [graph.by_name[q.source].size for q in graph.projections]
    sizes += [graph.by_name[q.target].size for q in dense]
    sizes += [graph.by_name[name].size for name in listeners]
    return Footprint(
        processes=len(graph.populations) + len(dense) + len(listeners) + 1,
        channels=len(sizes),
        synapses=sum(q.synapses * (1 + q.is_sparse) for q in dense),  # with an index at each
        words=SLOTS * sum(sizes),
    )
