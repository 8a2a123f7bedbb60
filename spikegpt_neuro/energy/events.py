"""What the parts of the chips did: the counts that energy is made of."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class HardwareEvents:
    """Counts over a run, each named as the profile's constant that prices it.

    ``neuron_access``        neurons x time steps.
    ``neuron_update``        updates of stock neurons (LIF).
    ``micro_operation``      micro-operations of the other neuron programs.
    ``spike_out``            events that neurons sent, before fan-out to cores.
    ``axon_out``, ``axon_in``  messages that cores sent and received.
    ``synaptic_operation``   synapses met by an event.
    ``graded_payload_bit``   payload bits beyond the first, summed over synaptic operations.
    ``spike_within_tile``    messages that ended at the router where they began, another core's.
    ``hop_east_west``, ``hop_north_south``  hops within the mesh, chip boundaries included.
    ``interchip_hop``        chip boundaries crossed.
    ``host_message``         messages to and from the host.
    """

    neuron_access: int = 0
    neuron_update: int = 0
    micro_operation: int = 0
    spike_out: int = 0
    axon_out: int = 0
    axon_in: int = 0
    synaptic_operation: int = 0
    graded_payload_bit: int = 0
    spike_within_tile: int = 0
    hop_east_west: int = 0
    hop_north_south: int = 0
    interchip_hop: int = 0
    host_message: int = 0

    def __add__(self, other: HardwareEvents) -> HardwareEvents:
        names = [field.name for field in fields(self)]
        return HardwareEvents(*(getattr(self, n) + getattr(other, n) for n in names))
