"""Who records a stock LIF: it cannot do so itself.

The first custom process that receives its spikes does; where there is none (its spikes go to
dense projections only), a process of its own listens.
"""

from __future__ import annotations

from spikegpt_neuro.graph.graph import Projection, SpikingGraph
from spikegpt_neuro.neurons.lif import LIF


def listening_projections(graph: SpikingGraph) -> dict[str, Projection]:
    """LIF population -> the projection at whose end its spikes are recorded."""
    chosen: dict[str, Projection] = {}
    for projection in graph.projections:
        source, target = graph.by_name[projection.source], graph.by_name[projection.target]
        custom = not projection.is_dense and not isinstance(target.program, LIF)
        if isinstance(source.program, LIF) and custom:
            chosen.setdefault(source.name, projection)
    return chosen


def unheard(graph: SpikingGraph) -> list[str]:
    """LIF populations that need a listener of their own."""
    heard = listening_projections(graph)
    return [p.name for p in graph.populations if isinstance(p.program, LIF) and p.name not in heard]
