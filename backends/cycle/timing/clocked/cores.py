"""The stages of a core: neurons and axon-out make messages, axon-in and synapses take them."""

from __future__ import annotations

import math

from spikegpt_neuro.backends.cycle.timing.clocked.buffers import make_room
from spikegpt_neuro.backends.cycle.timing.clocked.numbers import (
    begin_in,
    ceil_cycle,
    input_event,
    links_of,
    place_of,
    queue_event,
)
from spikegpt_neuro.backends.cycle.timing.clocked.part import part
from spikegpt_neuro.backends.cycle.timing.clocked.state import FROM_HOST, IDLE, SNAP, UNITS, State
from spikegpt_neuro.backends.cycle.timing.clocked.wheel import put


@part
def generate(state: State, core: int, begin: int) -> None:
    """Make the next message from ``begin`` on, or walk the rest of the neurons."""
    maker, scale = state.cores[core], state.clock.scale
    if maker.current < maker.stop:
        work = math.ceil(state.messages[maker.current].work * scale - SNAP)
        duration = max(UNITS, work + state.clock.axon_out)
        event = input_event(state, links_of(state) + core)
        put(state.wheel, event, ceil_cycle(begin + duration))
    else:
        duration = max(0, math.ceil(maker.leftover * scale - SNAP))
    maker.made = begin + duration
    maker.generating += duration


@part
def leave_core(state: State, core: int, begin: int) -> None:
    """The message that a core made is gone: the core goes on."""
    maker = state.cores[core]
    if len(state.trace) > 0:
        state.trace[maker.current].departed = begin
    maker.stalled += begin - maker.made
    maker.current += 1
    while maker.current < maker.stop and not state.messages[maker.current].begins:
        maker.current += 1
    generate(state, core, begin)


@part
def serve(state: State, core: int, cycle: int) -> None:
    """Take the next message from the axon-in queue, those from the host first."""
    server, number = state.cores[core], links_of(state) + core
    queue = state.ports[number]
    server.serving = IDLE
    hosted = server.hosted
    if hosted > 0:
        synapses = server.hosted_synapses // hosted
        make_room(state, number, hosted, cycle)
        server.hosted -= 1
        server.hosted_synapses -= synapses
        _process(state, core, FROM_HOST, synapses, 0, cycle)
    elif queue.head < queue.tail:
        first = state.buffers[place_of(state, number, queue.head)]
        if first.arrival > cycle * UNITS:
            put(state.wheel, queue_event(state, core), ceil_cycle(first.arrival))
            return
        make_room(state, number, 0, cycle)
        queue.head += 1
        synapses = state.messages[first.message].synapses
        _process(state, core, first.message, synapses, first.arrival, cycle)


@part
def _process(
    state: State, core: int, message: int, synapses: int, arrival: int, cycle: int
) -> None:
    """Axon-in and synapse stages begin with a message."""
    server, clock = state.cores[core], state.clock
    words = (synapses + clock.synapses_per_word - 1) // clock.synapses_per_word
    meeting = max(synapses * clock.synaptic_operation, words * clock.memory_word)
    duration = max(UNITS, clock.axon_in + meeting)
    server.serving = message
    server.served = begin_in(max(arrival, server.served), cycle) + duration
    server.processing += duration
    put(state.wheel, queue_event(state, core), ceil_cycle(server.served))
