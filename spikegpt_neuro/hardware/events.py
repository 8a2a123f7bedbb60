"""The table of energy events, and that of the categories that their joules belong to.

An event is something that a chip does a number of times and that costs energy, time or both. Its
name is also the key of its constants: ``energy.NAME`` and, where it takes time, ``latency.NAME`` of
a hardware profile. Counts (:class:`~spikegpt_neuro.energy.events.HardwareEvents`), prices, the keys
of profiles, the latencies of the simulator, tables and colours follow from here: a new event is a
row and the place where it is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class EnergyCategory:
    """Where joules belong; ``label`` and ``colour`` in every chart.

    ``is_shared``  belongs to the system as a whole, to no population.
    """

    name: str
    label: str
    colour: str
    is_shared: bool = False


# Colours are distinct for all common kinds of colour blindness (after Okabe and Ito).
CATEGORIES = (
    EnergyCategory("synapse", "synapse", "#0072b2"),
    EnergyCategory("neuron", "neuron", "#d55e00"),
    EnergyCategory("spike", "spike", "#009e73"),
    EnergyCategory("network", "network", "#cc79a7"),
    EnergyCategory("interchip", "interchip", "#e69f00"),
    EnergyCategory("static", "static", "#7b8794", is_shared=True),
    EnergyCategory("host", "host", "#56b4e9", is_shared=True),
)
STATIC = "static"
"""The category of what is drawn whether anything happens or not: power, and no event."""

Time = Literal["needed", "optional", "between chips", "none"]
"""What the simulator does with an event's latency: refuses a profile without it, gives it no time
where the profile counts it into others, needs it for several chips only; or the event takes none.
"""


@dataclass(frozen=True)
class EnergyEvent:
    """One row: ``unit`` is what is counted over a run, ``meaning`` what the constant is for.

    ``category``  a name of :data:`CATEGORIES`.
    ``time``      what its latency is to the simulator.
    ``is_of_steps``  happens in every time step, work or none.
    """

    name: str
    unit: str
    meaning: str
    category: str
    time: Time = "none"
    is_of_steps: bool = False

    @property
    def key(self) -> str:
        """The constant in joules that prices it."""
        return f"energy.{self.name}"

    @property
    def latency(self) -> str | None:
        """The constant in seconds; None where it takes no time."""
        return None if self.time == "none" else f"latency.{self.name}"


EVENTS = (
    EnergyEvent(
        "neuron_access",
        unit="neurons x time steps",
        meaning="every neuron, every step",
        category="neuron",
        time="needed",
        is_of_steps=True,
    ),
    EnergyEvent(
        "neuron_update",
        unit="updates of stock neurons (LIF)",
        meaning="in addition, a neuron that has something to update",
        category="neuron",
        time="needed",
    ),
    EnergyEvent(
        "micro_operation",
        unit="micro-operations of the other neuron programs",
        meaning="one micro-operation of a neuron program",
        category="neuron",
        time="optional",
    ),
    EnergyEvent(
        "spike_out",
        unit="events that neurons sent, before they are copied to several places",
        meaning="a neuron that fires",
        category="spike",
        time="optional",
    ),
    EnergyEvent(
        "axon_out",
        unit="messages that cores sent",
        meaning="a message that a core sends",
        category="spike",
        time="optional",
    ),
    EnergyEvent(
        "axon_in",
        unit="messages that cores received",
        meaning="a message that arrives at a core",
        category="synapse",
        time="optional",
    ),
    EnergyEvent(
        "synaptic_operation",
        unit="synapses met by an event",
        meaning="one synapse of a dense list",
        category="synapse",
        time="needed",
    ),
    EnergyEvent(
        "graded_payload_bit",
        unit="payload bits beyond the first, summed over synaptic operations",
        meaning="a synaptic operation, for each payload bit beyond the first",
        category="synapse",
    ),
    EnergyEvent(
        "spike_within_tile",
        unit="messages that ended at the router where they began, at another core",
        meaning="a message within a tile",
        category="network",
        time="optional",
    ),
    EnergyEvent(
        "hop_east_west",
        unit="hops along rows, chip boundaries included",
        meaning="one hop along a row",
        category="network",
        time="needed",
    ),
    EnergyEvent(
        "hop_north_south",
        unit="hops along columns, chip boundaries included",
        meaning="one hop along a column",
        category="network",
        time="needed",
    ),
    EnergyEvent(
        "interchip_hop",
        unit="chip boundaries crossed",
        meaning="a message over one chip boundary",
        category="interchip",
        time="between chips",
    ),
    EnergyEvent(
        "core_step",
        unit="cores in use x time steps",
        meaning="a core in use, every step, whatever it does",
        category="neuron",
        is_of_steps=True,
    ),
    EnergyEvent(
        "chip_step",
        unit="chips in use x time steps",
        meaning="a chip in use, every step, whatever it does",
        category="network",
        is_of_steps=True,
    ),
    EnergyEvent(
        "host_message",
        unit="messages to and from the host",
        meaning="a message from or to the host",
        category="host",
    ),
)


def timed(*which: Time) -> tuple[str, ...]:
    """Names of the events whose latency is of one of these kinds."""
    return tuple(event.name for event in EVENTS if event.time in which)
