"""Linear -> LIF pairs of an integer graph: what the feed-forward formats can carry whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.graph.graph import Population, Projection, SpikingGraph
from spikegpt_neuro.neurons import LIF, Requantize
from spikegpt_neuro.neurons.program import EventFormat


@dataclass(frozen=True)
class Pair:
    """A dense projection, the population that requantizes its sums, and the LIF after it."""

    projection: Projection
    requantize: Population
    lif: Population
    events: EventFormat

    @property
    def name(self) -> str:
        return self.projection.name

    @property
    def scale(self) -> Requantize:
        assert isinstance(self.requantize.program, Requantize)
        return self.requantize.program

    @property
    def neuron(self) -> LIF:
        assert isinstance(self.lif.program, LIF)
        return self.lif.program

    @property
    def current_weights(self) -> NDArray[np.float64]:
        """Weights (out, in) in units of the LIF's current, not rounded: W m 2^-s, exact."""
        weights = self.projection.weights
        assert weights is not None
        factor = self.scale.mantissa * 2.0 ** -self.scale.shift.astype(np.float64)
        return weights * factor[:, None]


def linear_lif_pairs(graph: SpikingGraph) -> tuple[Pair, ...]:
    """Every dense projection whose requantized sums are a LIF's current and nothing else."""
    found = []
    for lif in graph.populations:
        if not isinstance(lif.program, LIF):
            continue
        (current,) = graph.incoming[lif.name]
        between = graph.by_name[current.source]
        if current.is_dense or current.shift or not isinstance(between.program, Requantize):
            continue
        (projection,) = graph.incoming[between.name]
        if projection.is_dense:
            events = graph.by_name[projection.source].events
            found.append(Pair(projection, between, lif, events))
    return tuple(found)
