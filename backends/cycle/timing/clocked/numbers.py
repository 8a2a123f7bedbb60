"""Numbers of ports and events, and the cycles that times fall in."""

from __future__ import annotations

from spikegpt_neuro.backends.cycle.timing.clocked.part import part
from spikegpt_neuro.backends.cycle.timing.clocked.state import UNITS, State


@part
def links_of(state: State) -> int:
    """How many ports are links: the port into core c has the number ``links + c``."""
    return len(state.ports) - len(state.cores)


@part
def input_event(state: State, number: int) -> int:
    """The event that input ``number`` has a message to send."""
    return len(state.ports) + number


@part
def place_of(state: State, number: int, count: int) -> int:
    """Where the buffer after a port keeps the message that came after ``count`` others."""
    port = state.ports[number]
    place: int = port.ring + (count & port.mask)
    return place


@part
def ceil_cycle(time: int) -> int:
    """The first cycle that does not begin before ``time``."""
    return (time + UNITS - 1) // UNITS


@part
def begin_in(earliest: int, cycle: int) -> int:
    """When something decided in ``cycle`` begins: back in the last cycle if it could have."""
    return earliest if earliest > (cycle - 1) * UNITS else cycle * UNITS
