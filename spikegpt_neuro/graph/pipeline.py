r"""The pipelined schedule: which token every population works on at a time step.

A new token enters at every time step. A dense projection hands its sums over one step
later, a one-to-one connection ``one_to_one`` steps later: 0 between Lava's processes (stock Dense
delays, a plain connection does not), 1 on a chip (:data:`ON_CHIP`), where every event is seen in
the step after it was sent. A population p therefore receives token t at step t + S(p), with its
stage

.. math:: S(input) = 0, \qquad S(p) = \max_{q \to p} ( S(q) + h(q \to p) ),

h being 1 for a dense projection and ``one_to_one`` for the others. Where the paths into p differ
in length (a residual stream beside its branch, the two inputs of a gate), the earlier one waits:
the projection q -> p is delayed by S(p) - S(q) - h steps, so that all ports of p speak of the same
token.

A projection that needs no exchange can be answered within the step of its source, h = 0
(:func:`within_a_step`): a core that has both neurons i of a one-to-one connection runs one program
after the other and hands the value on in its memory.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from spikegpt_neuro.graph.graph import Population, Projection, SpikingGraph

ON_CHIP = 1
"""Steps that a one-to-one connection takes on a chip."""


def stages(
    graph: SpikingGraph, one_to_one: int = 0, within: Collection[str] = ()
) -> Mapping[str, int]:
    """Stage S of every population, in time steps after the input.

    ``within``  names of the projections that take no step.
    """
    found: dict[str, int] = {}
    for population in graph.populations:
        found[population.name] = max(
            (
                found[p.source] + _steps(p, one_to_one, within)
                for p in graph.incoming[population.name]
            ),
            default=0,
        )
    return found


def delays(
    graph: SpikingGraph, one_to_one: int = 0, within: Collection[str] = ()
) -> Mapping[str, int]:
    """Steps that each projection (by name) has to wait for the slowest one beside it."""
    stage = stages(graph, one_to_one, within)
    return {
        p.name: stage[p.target] - stage[p.source] - _steps(p, one_to_one, within)
        for p in graph.projections
    }


def within_a_step(graph: SpikingGraph, away: Collection[str] = ()) -> frozenset[str]:
    """Projections that a core can answer within a step, where that makes their target earlier.

    One-to-one, between programs that look at one neuron alone, and at most one into a population:
    the one that it waits for. ``away``: populations that are on no core.
    """
    found: set[str] = set()
    stage: dict[str, int] = {}
    for population in graph.populations:
        arrive = {p.name: stage[p.source] + 1 for p in graph.incoming[population.name]}
        last = max(graph.incoming[population.name], key=lambda p: arrive[p.name], default=None)
        if last is not None and _needs_no_exchange(last, graph, away):
            rest = [step for name, step in arrive.items() if name != last.name]
            if max(rest, default=0) < arrive[last.name]:
                found.add(last.name)
                arrive[last.name] -= 1
        stage[population.name] = max(arrive.values(), default=0)
    return frozenset(found)


def _needs_no_exchange(projection: Projection, graph: SpikingGraph, away: Collection[str]) -> bool:
    ends: list[Population] = [graph.by_name[projection.source], graph.by_name[projection.target]]
    return not projection.is_dense and not any(
        p.program.population_wide or p.name in away or p is graph.input for p in ends
    )


def _steps(projection: Projection, one_to_one: int, within: Collection[str]) -> int:
    if projection.name in within:
        return 0
    return 1 if projection.is_dense else one_to_one


def latency(graph: SpikingGraph, one_to_one: int = 0) -> int:
    """Time steps between a token's entry and its logits."""
    return stages(graph, one_to_one)[graph.output.name]


def depth(graph: SpikingGraph, one_to_one: int = 0) -> int:
    """Time steps until every population has seen a token: T tokens take T + depth steps.

    More than the latency only where events are computed that the logits do not need.
    """
    return max(stages(graph, one_to_one).values())
