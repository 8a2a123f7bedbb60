r"""What a unit's neurons take of a core's time, per token: the figures that placing weighs.

A core that holds n neurons of a unit is busy with what arrives in the step in which the sources at
stage k send,

.. math:: processing_k(n) = a_k + b_k \, n

with a the axons of dense projections (each neuron of the source is one, whatever n) and b the
synapses, and the one-to-one connections with their axons. In the unit's own stage it makes

.. math:: generation(n) = g \, n, \qquad g = \sum_{members} update + rate \, (spike\_out
    + messages \cdot axon\_out)

and in every step of all it visits its neurons. Expected values over measured rates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.machine import Latencies
from spikegpt_neuro.mapping.requirements import TOKENS, Input, Unit, Workload
from spikegpt_neuro.mapping.traffic import Rates
from spikegpt_neuro.neurons.micro_operations import update_of

Floats = NDArray[np.float64]


def waiting(messages: Floats, service: Floats, cores: int) -> float:
    r"""Seconds that a core waits for others while all of them send and hear at once.

    Each message finds another one in service at its target, of which it waits for the rest:

    .. math:: \frac{messages}{cores} \cdot \frac{E[service^2]}{2 \, E[service]}

    the mean residual service of a queue (Khinchine 1932). ``messages`` per token that take
    ``service`` seconds each.
    """
    busy = float(messages @ service)
    if not busy:
        return 0.0
    return float(messages.sum()) / cores * float(messages @ service**2) / (2 * busy)


@dataclass(frozen=True)
class Work:
    """A workload with its measured activity, on cores of known latencies.

    ``events``   source -> events per token, all its neurons together.
    ``update``   population -> seconds of one neuron for one token.
    """

    load: Workload
    latencies: Latencies
    events: Mapping[str, float]
    update: Mapping[str, float]

    @staticmethod
    def of(graph: SpikingGraph, load: Workload, rates: Rates, latencies: Latencies) -> Work:
        """Of a graph whose neurons send at ``rates``."""
        silent = [name for name in load.sizes if name not in rates and name != TOKENS]
        if silent:
            raise UsageError(
                f"placing by activity needs the activity of {silent[0]}; measure a run"
            )
        events = {name: float(np.sum(rates[name])) for name in load.sizes if name != TOKENS}
        update = {}
        for population in graph.populations:
            updates, micro_operations = update_of(population)
            whole = updates * latencies.neuron_update
            whole += micro_operations * latencies.micro_operation
            update[population.name] = whole / population.size
        return Work(load, latencies, events | {TOKENS: 1.0}, update)

    def stage(self, source: str) -> int:
        """The stage in which a source sends; token ids come with the first."""
        return self.load.stages.get(source, 0)

    def processing(self, unit: Unit) -> dict[int, tuple[float, float]]:
        """Stage of sources -> (a, b); see the module."""
        found: dict[int, tuple[float, float]] = {}
        for each in unit.inputs:
            events, stage = self.events[each.source], self.stage(each.source)
            a, b = found.get(stage, (0.0, 0.0))
            axons = self.latencies.axon_in * events
            synapses = self.latencies.synaptic_operation * events * met_by_event(each, unit.size)
            if each.dense:
                found[stage] = (a + axons, b + synapses)
            else:
                size = self.load.sizes[each.source]
                found[stage] = (a, b + (axons + synapses) / size)
        return found

    def arrivals(self, unit: Unit, neurons: int) -> list[tuple[float, float]]:
        """(events, seconds of each) that a core with ``neurons`` of a unit hears densely."""
        return [
            (
                self.events[each.source],
                self.latencies.axon_in
                + neurons * self.latencies.synaptic_operation * met_by_event(each, unit.size),
            )
            for each in unit.inputs
            if each.dense
        ]

    def generation(self, unit: Unit, messages: Mapping[str, float]) -> float:
        """g, of a unit whose members' events make ``messages`` each."""
        return sum(
            self.update[member.name]
            + self.events[member.name]
            / member.size
            * (
                (member.name not in self.load.handed_on) * self.latencies.spike_out
                + messages[member.name] * self.latencies.axon_out
            )
            for member in unit.members
        )

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        """The workload's units; those that hear one source and speak to the same joined.

        Their neurons i then stand on one core, so that an event of the source is one message.
        """
        joined: dict[object, list[Unit]] = {}
        for unit in self.load.units:
            joined.setdefault(self._company(unit), []).append(unit)
        return tuple(
            Unit(tuple(member for unit in units for member in unit.members))
            for units in joined.values()
        )

    def _company(self, unit: Unit) -> object:
        """Equal for units that are to be joined."""
        if len(unit.members) > 1 or unit.is_heavy or unit.whole:
            return unit.name
        (member,) = unit.members
        readers = frozenset(r.target for r in self.load.readers.get(member.name, ()))
        to_host = member.name in self.load.to_host
        return (unit.single_sources, unit.size, self.stage(member.name), readers, to_host)


def met_by_event(each: Input, size: int) -> float:
    """Synapses that an event meets per neuron of the target, in the mean."""
    if each.sparse is None or not each.sources:
        return 1.0
    return each.sparse.synapses / (each.sources * size)


def readers_of(load: Workload, units: Sequence[Unit]) -> dict[str, list[tuple[int, bool]]]:
    """Population -> units that hear it (by number), and whether densely."""
    number = {member.name: k for k, unit in enumerate(units) for member in unit.members}
    found: dict[str, list[tuple[int, bool]]] = {}
    for source, readers in load.readers.items():
        heard: dict[int, bool] = {}
        for reader in readers:
            k = number[reader.target]
            heard[k] = heard.get(k, False) or reader.dense
        found[source] = sorted(heard.items())
    return found
