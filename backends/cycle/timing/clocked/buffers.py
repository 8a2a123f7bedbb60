"""Buffers after the ports, and the ports that wait for room in them."""

from __future__ import annotations

from spikegpt_neuro.backends.cycle.timing.clocked.numbers import ceil_cycle, place_of
from spikegpt_neuro.backends.cycle.timing.clocked.part import part
from spikegpt_neuro.backends.cycle.timing.clocked.state import UNITS, State
from spikegpt_neuro.backends.cycle.timing.clocked.wheel import put


@part
def look_again(state: State, number: int, cycle: int) -> None:
    """Let a port decide in the next cycle, or as soon as it is free."""
    port = state.ports[number]
    if not port.pending:
        port.pending = 1
        free = state.ports[port.shares].free
        put(state.wheel, number, max(cycle + 1, ceil_cycle(free)))


@part
def make_room(state: State, number: int, hosted: int, cycle: int) -> None:
    """A message is about to leave the buffer after a port; ``hosted`` more are in an axon-in."""
    buffer, waiting = state.ports[number], state.buffers
    seen, now = buffer.seen, cycle * UNITS
    while seen < buffer.tail and waiting[place_of(state, number, seen)].arrival <= now:
        seen += 1
    buffer.seen = seen
    buffer.deepest = max(buffer.deepest, seen - buffer.head + hosted)
    buffer.occupied -= 1
    buffer.left = cycle
    if buffer.waiters > 0:
        look_again(state, number, cycle)
