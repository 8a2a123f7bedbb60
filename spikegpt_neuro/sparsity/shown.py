"""What people are shown of dead zones: those of a graph, and those of a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.neurons.program import IntArray
from spikegpt_neuro.results import Result


@dataclass(frozen=True, repr=False)
class Thresholds(Result):
    """Dead zones of one population: an event needs a payload beyond its neuron's threshold.

    ``median``, ``largest``  over its neurons, in units of the payload, which reaches ``payload``.
    ``silent``               share of its neurons that can never send.
    """

    median: float
    largest: int
    payload: int
    silent: float

    HEADLINE: ClassVar[tuple[str, ...]] = ("median", "largest", "payload", "silent")

    @classmethod
    def of(cls, zones: IntArray, payload: int) -> Thresholds:
        never = float(np.mean(zones >= payload))
        return cls(float(np.median(zones)), int(zones.max()), payload, never)


def thresholds_of(graph: SpikingGraph) -> dict[str, Thresholds]:
    """Population -> its dead zones, for those that have any."""
    zones = {p.name: (p.program.dead_zone, p.events.high) for p in graph.populations}
    return {n: Thresholds.of(zone, high) for n, (zone, high) in zones.items() if zone is not None}


@dataclass(frozen=True, repr=False)
class RealThresholds(Result):
    """Dead zones of a checkpoint: its neurons send what exceeds their thresholds, in real units.

    ``populations``, ``neurons``  how many have a threshold above 0.
    ``median``, ``largest``       over these neurons.
    """

    populations: int
    neurons: int
    median: float
    largest: float

    HEADLINE: ClassVar[tuple[str, ...]] = ("populations", "neurons", "median", "largest")

    @classmethod
    def of(cls, model: SpikeGPT) -> RealThresholds | None:
        """None where no neuron has one."""
        above = [z[z > 0] for z in model.dead_zones.values() if z.any()]
        if not above:
            return None
        found = np.concatenate(above)
        return cls(len(above), found.size, float(np.median(found)), float(found.max()))
