"""The placed hardware as the timing models see it: cores at routers of one mesh, and latencies."""

from __future__ import annotations

from dataclasses import dataclass

from spikegpt_neuro.hardware.mesh import Mesh


@dataclass(frozen=True)
class Latencies:
    """Seconds, from a hardware profile; ``barrier`` is the one for the tiles and chips in use.

    ``neuron_access``       every neuron, every step; ``neuron_update`` in addition where there
                            is something to update; ``micro_operation`` of a neuron program.
    ``spike_out``           a neuron that fires. ``axon_out``: each message that a core sends.
    ``axon_in``             each message that arrives; then ``synaptic_operation`` per synapse.
    ``spike_within_tile``   a message between cores of one router.
    ``hop_east_west``, ``hop_north_south``  one hop; ``interchip_hop`` in addition where the hop
                            crosses a chip boundary.
    ``link_interval``, ``interchip_interval``  shortest time between two messages over one link
                            within a chip, and over one link between chips.
    ``memory_word``         shortest time between two reads of a core's synaptic memory.
    """

    neuron_access: float
    neuron_update: float
    micro_operation: float
    spike_out: float
    axon_out: float
    axon_in: float
    synaptic_operation: float
    spike_within_tile: float
    hop_east_west: float
    hop_north_south: float
    interchip_hop: float
    link_interval: float
    interchip_interval: float
    memory_word: float
    barrier: float


@dataclass(frozen=True)
class Machine:
    """``link_buffer``: messages that the buffer at the end of a link holds.

    ``cycle``              seconds of one clock cycle, the resolution of the clocked model.
    ``synapses_per_word``  synapses that one read of synaptic memory brings.
    """

    mesh: Mesh
    latencies: Latencies
    link_buffer: int
    cycle: float
    synapses_per_word: int
