"""From events and routes to hardware events: the counts that energy is made of.

A population owns what its neurons do (accesses, updates, spikes) and all that its events cause:
messages, hops, the axons that they arrive on and the synapses that they meet. Whatever counted the
events, a run's activity or a simulation, gives them segment by segment
(:mod:`spikegpt_neuro.mapping.routes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.energy.activity import Activity
from spikegpt_neuro.energy.events import HardwareEvents
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.mesh import HOST, Mesh
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.hardware.topology import Topology, Ways
from spikegpt_neuro.mapping.placement import Placement
from spikegpt_neuro.mapping.requirements import TOKENS, Workload
from spikegpt_neuro.mapping.routes import Routes, with_one_token_id
from spikegpt_neuro.neurons.micro_operations import update_of

Indices = NDArray[np.int64]


def hardware_events(
    graph: SpikingGraph,
    activity: Activity,
    profile: Profile,
    placement: Placement,
    steps: int,
) -> Mapping[str, HardwareEvents]:
    """Sender -> what the chips did for it in ``steps`` steps, messages of the host included.

    Senders are the populations and, for an embedding on the chip, the token ids; those for which
    nothing happened are left out. Raises :class:`UnsupportedInput` where the placement is not one
    of this graph on this hardware.
    """
    placement.check(graph, profile)
    load = with_one_token_id(placement.workload(graph, profile))
    mesh = Mesh.of(Topology.of(profile, placement.chips), placement.slots)
    routes = placement.routes(load, profile)
    events = routes.events_of({**activity.per_neuron, TOKENS: np.array([activity.tokens])})
    active = np.full(len(routes.sources), activity.tokens)
    found = Accounts.of(graph, load, routes, mesh).by_population(events, active, steps)
    nothing = HardwareEvents()
    return {name: own for name, own in found.items() if own != nothing}


@dataclass(frozen=True)
class Accounts:
    """Turns events by segment into counts; P sources, S segments, R routes.

    ``sizes``, ``updates``, ``micro_operations``  (P,) neurons of a source, and what one token
                    asks of the whole population.
    ``extra_bits``  (P,) payload bits of its events beyond the first.
    ``sends``       (P,) whether an event leaves its core's memory: not where all that reads it
                    answers within the step.
    """

    routes: Routes
    mesh: Mesh
    sizes: Indices
    updates: Indices
    micro_operations: Indices
    extra_bits: Indices
    sends: NDArray[np.bool_]

    @staticmethod
    def of(graph: SpikingGraph, load: Workload, routes: Routes, mesh: Mesh) -> Accounts:
        """Of a graph's populations, and the token ids as one neuron that does nothing."""
        updates, micro_operations = np.array(
            [*map(update_of, graph.populations), (0, 0)], np.int64
        ).T
        return Accounts(
            routes=routes,
            mesh=mesh,
            sizes=np.array([*(p.size for p in graph.populations), 1], np.int64),
            updates=updates,
            micro_operations=micro_operations,
            extra_bits=np.array([*(p.events.bits - 1 for p in graph.populations), 0], np.int64),
            sends=np.array([*(p.name not in load.handed_on for p in graph.populations), True]),
        )

    @cached_property
    def on_chip(self) -> NDArray[np.bool_]:
        """(P,) True where the population stands on cores."""
        found = np.zeros(len(self.sizes), bool)
        found[self.routes.population[: self.routes.first[self.routes.cores]]] = True
        return found

    @cached_property
    def _per_event(self) -> Mapping[str, Indices]:
        """Count -> (S,) what one event of each segment adds to it."""
        routes = self.routes
        source, target = routes.core[routes.segment], routes.target
        sends, hears = source < routes.cores, target != HOST
        on_mesh = sends & hears
        bits = self.extra_bits[routes.population[routes.segment]]
        by_route: dict[str, NDArray[Any]] = {
            "axon_out": sends & routes.begins,
            "axon_in": hears,
            "synaptic_operation": routes.synapses,
            "graded_payload_bit": routes.synapses * bits,
            "host_message": ~on_mesh,
        }
        ways = ways_of(self.mesh.ways_from(routes.departures(self.mesh)[on_mesh], target[on_mesh]))
        ways["spike_within_tile"] *= (routes.begins & (source != target))[on_mesh]
        for name, values in ways.items():
            by_route[name] = np.zeros(len(target), np.int64)
            by_route[name][on_mesh] = values
        per_event = {
            name: sum_by(routes.segment, values, len(routes.start))
            for name, values in by_route.items()
        }
        sent = (routes.core < routes.cores) & self.sends[routes.population]
        return per_event | {"spike_out": sent.astype(np.int64)}

    @cached_property
    def _held(self) -> Mapping[str, Indices]:
        """What a step takes -> (P,) cores and chips of which a source has the most neurons."""
        routes, mesh = self.routes, self.mesh
        placed = slice(0, routes.first[routes.cores])
        neurons = np.zeros((len(self.sizes), routes.cores), np.int64)
        size = routes.stop[placed] - routes.start[placed]
        np.add.at(neurons, (routes.population[placed], routes.core[placed]), size)
        chips, chip = np.unique(mesh.coordinates[:, 2:], axis=0, return_inverse=True)
        on_chips = np.zeros((len(chips), len(self.sizes)), np.int64)
        np.add.at(on_chips, chip.reshape(-1), neurons.T)
        return {
            "core_step": np.bincount(neurons.argmax(axis=0), minlength=len(self.sizes)),
            "chip_step": np.bincount(on_chips.argmax(axis=1), minlength=len(self.sizes)),
        }

    def sums(self, events: Indices, active: Indices, steps: int) -> dict[str, Indices]:
        """Hardware event -> (P,) its count, for each source; see :meth:`by_population`."""
        population, count = self.routes.population, len(self.sizes)
        found = {
            name: sum_by(population, each * events, count) for name, each in self._per_event.items()
        }
        found["neuron_access"] = self.on_chip * self.sizes * steps
        found["neuron_update"] = self.on_chip * self.updates * active
        found["micro_operation"] = self.on_chip * self.micro_operations * active
        found["core_step"] = self._held["core_step"] * steps
        found["chip_step"] = self._held["chip_step"] * steps
        return found

    def by_population(
        self, events: Indices, active: Indices, steps: int
    ) -> dict[str, HardwareEvents]:
        """Counts of every source that is on the chip or reaches it.

        ``events`` (S,) by segment, ``active`` (P,) steps in which the source had a token.
        """
        sums = self.sums(events, active, steps)
        present = np.union1d(np.flatnonzero(self.on_chip), self.routes.population).tolist()
        return {
            self.routes.sources[p]: HardwareEvents(**{name: int(n[p]) for name, n in sums.items()})
            for p in present
        }


def ways_of(ways: Ways) -> dict[str, Indices]:
    """Hardware event -> (M,) how often it happens on the way of a message to another core."""
    return {
        "hop_east_west": ways.east_west,
        "hop_north_south": ways.north_south,
        "interchip_hop": ways.borders,
        "spike_within_tile": (ways.east_west + ways.north_south == 0).astype(np.int64),
    }


def sum_by(index: NDArray[np.integer], values: NDArray[Any], count: int) -> Indices:
    """(count,) sums of ``values`` by ``index``, in integers."""
    total = np.zeros(count, np.int64)
    np.add.at(total, index, values)
    return total
