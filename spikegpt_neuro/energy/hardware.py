"""From activity and a placement to hardware events: the counts that energy is made of.

A population owns what its neurons do (accesses, updates, spikes) and all that its events cause:
messages, hops, the axons that they arrive on and the synapses that they meet.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.energy.activity import Activity
from spikegpt_neuro.energy.counts import arrivals_of
from spikegpt_neuro.energy.events import HardwareEvents
from spikegpt_neuro.energy.messages import HOST, Messages, messages_of
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.hardware.topology import Topology
from spikegpt_neuro.mapping.placement import Placement
from spikegpt_neuro.mapping.requirements import TOKENS, workload
from spikegpt_neuro.neurons.micro_operations import update_of

Schedule = Literal["pipelined", "fall-through"]


@dataclass(frozen=True)
class Distance:
    """(C, C) hops along rows and columns between cores in use, and chip boundaries crossed."""

    east_west: NDArray[np.int64]
    north_south: NDArray[np.int64]
    chips: NDArray[np.int64]

    @staticmethod
    def of(topology: Topology, slots: NDArray[np.int64]) -> Distance:
        """Of cores that stand at ``slots`` of the mesh."""
        at = topology.coordinates[slots]
        apart = np.abs(at[:, None, :] - at[None, :, :])
        return Distance(apart[..., 0], apart[..., 1], apart[..., 2] + apart[..., 3])


def hardware_events(
    graph: SpikingGraph,
    activity: Activity,
    profile: Profile,
    placement: Placement,
    steps: int,
) -> Mapping[str, HardwareEvents]:
    """Sender -> what the chips did for it in ``steps`` steps, messages of the host included.

    Senders are the populations and, for an embedding on the chip, the token ids; those for which
    nothing happened are left out.
    """
    load = workload(graph, profile, placement.embedding, placement.head)
    messages = messages_of(graph, activity, load, placement.pieces)
    distance = Distance.of(Topology.of(profile, placement.chips), placement.slots)
    on_chip = {d.name for d in load.demands}
    neurons = {name: _neuron_events(graph, activity, name, steps) for name in on_chip}
    synapses = _synapse_events(graph, activity, on_chip)
    none = HardwareEvents()
    events = {
        name: neurons.get(name, none)
        + synapses.get(name, none)
        + _message_events(messages, index, distance)
        for index, name in enumerate(messages.senders)
    }
    return {name: own for name, own in events.items() if own != none}


def _neuron_events(
    graph: SpikingGraph, activity: Activity, name: str, steps: int
) -> HardwareEvents:
    """Work of the neurons themselves."""
    population = graph.by_name[name]
    updates, micro_operations = update_of(population)
    return HardwareEvents(
        neuron_access=population.size * steps,
        neuron_update=updates * activity.tokens,
        micro_operation=micro_operations * activity.tokens,
        spike_out=activity.events(name),
    )


def _message_events(messages: Messages, sender: int, distance: Distance) -> HardwareEvents:
    mine = messages.sender == sender
    source, target, count = messages.source[mine], messages.target[mine], messages.count[mine]
    on_chip = (source != HOST) & (target != HOST)
    a, b, n = source[on_chip], target[on_chip], count[on_chip]
    east_west, north_south = distance.east_west[a, b], distance.north_south[a, b]
    same_router = (east_west + north_south == 0) & (a != b)
    return HardwareEvents(
        axon_out=int(count[source != HOST].sum()),
        axon_in=int(count[target != HOST].sum()),
        spike_within_tile=int(n[same_router].sum()),
        hop_east_west=int(n @ east_west),
        hop_north_south=int(n @ north_south),
        interchip_hop=int(n @ distance.chips[a, b]),
        host_message=int(count[~on_chip].sum()),
    )


def _synapse_events(
    graph: SpikingGraph, activity: Activity, on_chip: Collection[str]
) -> dict[str, HardwareEvents]:
    """What events met on the chip; an embedding there is a table, and an id meets one row of it."""
    found: dict[str, HardwareEvents] = {}
    for arrived in arrivals_of(graph, activity):
        if arrived.target in on_chip:
            met = HardwareEvents(
                synaptic_operation=arrived.synaptic_operations,
                graded_payload_bit=arrived.payload_bit_operations,
            )
            found[arrived.source] = found.get(arrived.source, HardwareEvents()) + met
    if graph.input.name in on_chip:
        looked_up = activity.tokens * graph.input.size
        found[TOKENS] = HardwareEvents(synaptic_operation=looked_up)
    return found
