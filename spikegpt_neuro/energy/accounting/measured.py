"""From a measured run to the counts that every named accounting takes."""

from __future__ import annotations

from collections.abc import Sequence

from spikegpt_neuro.energy.accounting.record import TokenCounts
from spikegpt_neuro.energy.activity import Activity
from spikegpt_neuro.energy.counts import arrivals_of, firing_rate
from spikegpt_neuro.graph.graph import SpikingGraph


def counts_of(graph: SpikingGraph, activity: Activity, context: int) -> TokenCounts:
    """Mean counts per token of a measured run, as named accountings take them."""
    arrivals = [a for a in arrivals_of(graph, activity) if a.is_linear]

    def mean(values: Sequence[int]) -> float:
        return sum(values) / activity.tokens

    return TokenCounts(
        shape=graph.shape,
        context=context,
        firing_rate=firing_rate(graph, activity),
        effective_acs=mean([a.effective_acs for a in arrivals]),
        effective_macs=mean([a.effective_macs for a in arrivals]),
        dense=mean([a.dense for a in arrivals]),
        synaptic_operations=mean([a.synaptic_operations for a in arrivals]),
        neuron_updates=float(sum(p.size for p in graph.populations if p is not graph.input)),
    )
