"""Buffers after the ports, and the ports that wait for room in them."""

from __future__ import annotations

from spikegpt_neuro.backends.cycle.timing.clocked.numbers import ceil_cycle, place_of
from spikegpt_neuro.backends.cycle.timing.clocked.part import at, part
from spikegpt_neuro.backends.cycle.timing.clocked.state import UNITS, State
from spikegpt_neuro.backends.cycle.timing.clocked.wheel import put


@part
def look_again(state: State, number: int, cycle: int) -> None:
    """Let a port decide in the next cycle, or as soon as it is free."""
    port = state.ports[at(number)]
    if not port.pending:
        port.pending = 1
        free = state.ports[at(port.shares)].free
        put(state.wheel, number, max(cycle + 1, ceil_cycle(free)))


@part
def make_room(state: State, number: int, cycle: int) -> None:
    """A message is about to leave the buffer after a link."""
    buffer, waiting = state.ports[at(number)], state.buffers
    seen, now = buffer.seen, cycle * UNITS
    while seen < buffer.tail and waiting[at(place_of(state, number, seen))].arrival <= now:
        seen += 1
    buffer.seen = seen
    buffer.deepest = max(buffer.deepest, seen - buffer.head)
    buffer.left = cycle
    if buffer.waiters > 0:
        look_again(state, number, cycle)


@part
def into_core(state: State, number: int, cycle: int) -> int:
    """The first cycle, from this one on, in which a port into a core can let a message through.

    It takes one a cycle, and the place of one that has left is seen to be free in the next.
    """
    port = state.ports[at(number)]
    earliest: int = max(cycle, ceil_cycle(port.free), port.left + 1)
    return earliest


@part
def follow_queue(state: State, number: int, cycle: int) -> None:
    """Let what leaves an axon-in queue until the end of a cycle's first phase be gone from it."""
    port, queues = state.ports[at(number)], state.queues
    head, seen = port.head, port.seen
    while head < port.tail:
        left = queues[at(place_of(state, number, head))].left
        if left > cycle:
            break
        while (
            seen < port.tail and queues[at(place_of(state, number, seen))].arrival <= left * UNITS
        ):
            seen += 1
        port.deepest = max(port.deepest, seen - head)
        head += 1
    port.head, port.seen = head, seen
