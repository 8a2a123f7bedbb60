"""Which projections are answered within a step, by the rule as decision 0021 words it.

A projection takes no step where it is one-to-one, both programs look at one neuron at a time,
both stand on cores, none is the input, and its target would have to wait for it alone.
"""

from __future__ import annotations

from dataclasses import replace

from spikegpt_neuro.graph.graph import SpikingGraph


def within(graph: SpikingGraph, away: set[str]) -> dict[str, tuple[str, str]]:
    """Projection -> (source, target)."""
    at: dict[str, int] = {}
    found = {}
    for population in graph.populations:
        arrivals = sorted(
            (at[q.source] + 1, q.name) for q in graph.projections if q.target == population.name
        )
        at[population.name] = arrivals[-1][0] if arrivals else 0
        alone = len(arrivals) == 1 or (arrivals and arrivals[-1][0] > arrivals[-2][0])
        if not alone:
            continue
        last = next(q for q in graph.projections if q.name == arrivals[-1][1])
        ends = [graph.by_name[last.source], population]
        if last.weights is None and not any(
            p.name in away or p is graph.input or p.program.population_wide for p in ends
        ):
            at[population.name] -= 1
            found[last.name] = (last.source, last.target)
    return found


def stages(graph: SpikingGraph, inside: dict[str, tuple[str, str]]) -> dict[str, int]:
    """Stage of every population: the longest way to it, one-to-one or not."""
    at: dict[str, int] = {}
    for population in graph.populations:
        ways = [
            at[q.source] + (q.name not in inside)
            for q in graph.projections
            if q.target == population.name
        ]
        at[population.name] = max(ways, default=0)
    return at


def without(graph: SpikingGraph, names: set[str]) -> SpikingGraph:
    """The graph less some projections: what is sent between cores."""
    return replace(graph, projections=tuple(q for q in graph.projections if q.name not in names))
