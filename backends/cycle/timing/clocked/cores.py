"""The stages of a core: neurons and axon-out make messages, axon-in and synapses take them."""

from __future__ import annotations

import math

from spikegpt_neuro.arithmetic.prefetch import prefetch_item
from spikegpt_neuro.backends.cycle.timing.clocked.buffers import follow_queue
from spikegpt_neuro.backends.cycle.timing.clocked.numbers import (
    ceil_cycle,
    input_event,
    links_of,
    place_of,
)
from spikegpt_neuro.backends.cycle.timing.clocked.part import at, part
from spikegpt_neuro.backends.cycle.timing.clocked.state import FROM_HOST, SNAP, UNITS, State
from spikegpt_neuro.backends.cycle.timing.clocked.wheel import NOTHING, put

AHEAD = 4
"""Volleys of a core from its current one to those that it asks for: a few, of the next line."""


@part
def next_volley(state: State, core: int, begin: int) -> None:
    """From ``begin`` on, walk neurons until the next event, and make its first message."""
    maker, scale = state.cores[at(core)], state.clock.scale
    maker.volley += 1
    if maker.volley < maker.stop:
        maker.current = state.begin[at(maker.volley)]
        maker.end = state.end[at(maker.volley)]
        _ask_ahead(state, maker.volley)
        work = math.ceil(state.work[at(maker.volley)] * scale - SNAP)
        _make(state, core, begin, max(UNITS, work + state.clock.axon_out))
    else:
        duration = max(0, math.ceil(maker.leftover * scale - SNAP))
        maker.made = begin + duration
        maker.generating += duration


@part
def _ask_ahead(state: State, volley: int) -> None:
    """Bring what the core needs for its next volleys near: cores take turns, no one in order."""
    prefetch_item(state.begin, volley + AHEAD)
    prefetch_item(state.end, volley + AHEAD)
    prefetch_item(state.work, volley + AHEAD)
    following = volley + 1 if volley + 1 < len(state.begin) else volley
    prefetch_item(state.routes, state.begin[at(following)])


@part
def _make(state: State, core: int, begin: int, duration: int) -> None:
    """Make a message."""
    maker = state.cores[at(core)]
    # Asked for now, the route is there when it is needed.
    route = state.routes[at(maker.current)]
    maker.port, maker.target = route.port, route.target
    maker.made = begin + duration
    maker.generating += duration
    put(state.wheel, input_event(state, links_of(state) + core), ceil_cycle(begin + duration))


@part
def generate(state: State, core: int, begin: int) -> None:
    """The current message has left: make the next one from ``begin`` on, passing by its copies."""
    maker = state.cores[at(core)]
    maker.current += 1
    while maker.current < maker.end and not state.routes[at(maker.current)].begins:
        maker.current += 1
    if maker.current < maker.end:
        _make(state, core, begin, max(UNITS, state.clock.axon_out))
    else:
        next_volley(state, core, begin)


@part
def leave_core(state: State, core: int, begin: int) -> None:
    """The message that a core made is gone: the core goes on."""
    maker = state.cores[at(core)]
    if len(state.trace) > 0:
        state.trace[at(maker.current)].departed = begin
    maker.stalled += begin - maker.made
    generate(state, core, begin)


@part
def receive(state: State, core: int, message: int, synapses: int, arrival: int, cycle: int) -> None:
    """A message will be in the axon-in queue, which is served in order: all follows from that."""
    server, clock, number = state.cores[at(core)], state.clock, links_of(state) + core
    follow_queue(state, number, cycle)
    queue = state.ports[at(number)]
    begin = max(arrival, server.served)
    place = state.queues[at(place_of(state, number, queue.tail))]
    place.arrival, place.left = arrival, ceil_cycle(begin)
    queue.tail += 1
    if queue.tail >= queue.room:
        queue.left = state.queues[at(place_of(state, number, queue.tail - queue.room))].left
    words = (synapses + clock.synapses_per_word - 1) // clock.synapses_per_word
    meeting = max(synapses * clock.synaptic_operation, words * clock.memory_word)
    duration = max(UNITS, clock.axon_in + meeting)
    server.served = begin + duration
    server.processing += duration
    if message != FROM_HOST and len(state.trace) > 0:
        state.trace[at(message)].arrived = arrival
        state.trace[at(message)].processed = server.served


@part
def receive_from_host(state: State, core: int) -> None:
    """What the host sent is in the queue when the step begins."""
    server = state.cores[at(core)]
    for left in range(server.hosted, 0, -1):
        synapses = server.hosted_synapses // left
        server.hosted_synapses -= synapses
        receive(state, core, FROM_HOST, synapses, 0, NOTHING)
