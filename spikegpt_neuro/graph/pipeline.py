r"""The pipelined schedule: which token every population works on at a time step.

A new token enters at every time step. A dense projection hands its sums over one step
later (Lava's stock Dense, and the axons of a chip); a one-to-one connection in the same step.
A population p therefore receives token t at step t + S(p), with its stage

.. math:: S(input) = 0, \qquad S(p) = \max_{q \to p} ( S(q) + [q \to p \text{ is dense}] ).

Where the paths into p differ in length (a residual stream beside its branch, the two inputs
of a gate), the earlier one waits: the projection q -> p is delayed by
S(p) - S(q) - [dense] steps, so that all ports of p speak of the same token.
"""

from __future__ import annotations

from collections.abc import Mapping

from spikegpt_neuro.graph.graph import SpikingGraph


def stages(graph: SpikingGraph) -> Mapping[str, int]:
    """Stage S of every population, in time steps behind the input."""
    found: dict[str, int] = {}
    for population in graph.populations:
        found[population.name] = max(
            (found[p.source] + p.is_dense for p in graph.incoming[population.name]), default=0
        )
    return found


def delays(graph: SpikingGraph) -> Mapping[str, int]:
    """Steps that each projection (by name) has to wait for the slowest one beside it."""
    stage = stages(graph)
    return {p.name: stage[p.target] - stage[p.source] - p.is_dense for p in graph.projections}


def latency(graph: SpikingGraph) -> int:
    """Time steps between a token's entry and its logits."""
    return stages(graph)[graph.output.name]


def depth(graph: SpikingGraph) -> int:
    """Time steps until every population has seen a token: T tokens take T + depth steps.

    More than the latency only where events are computed that the logits do not need.
    """
    return max(stages(graph).values())
