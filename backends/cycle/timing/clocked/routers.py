"""Routers: inputs ask for ports, and ports let one input through at a time."""

from __future__ import annotations

import numpy as np

from spikegpt_neuro.arithmetic.prefetch import prefetch_item
from spikegpt_neuro.backends.cycle.timing.clocked.buffers import into_core, look_again, make_room
from spikegpt_neuro.backends.cycle.timing.clocked.cores import generate, leave_core, receive
from spikegpt_neuro.backends.cycle.timing.clocked.numbers import (
    begin_in,
    ceil_cycle,
    input_event,
    links_of,
    place_of,
)
from spikegpt_neuro.backends.cycle.timing.clocked.part import at, lowest_bit, part
from spikegpt_neuro.backends.cycle.timing.clocked.state import UNITS, State
from spikegpt_neuro.backends.cycle.timing.clocked.wheel import NOTHING, ONE, put
from spikegpt_neuro.hardware.mesh import ARRIVED, towards

NONE, ALL = np.uint64(0), np.uint64(2**64 - 1)


@part
def head_asks(state: State, link: int, cycle: int) -> int:
    """A message is at the head of a link's buffer: it asks for its way on."""
    buffer = state.ports[at(link)]
    head = state.buffers[at(place_of(state, link, buffer.head))]
    prefetch_item(state.routes, head.route)
    target = head.target
    return _ask(state, link, _route(state, buffer.end, target), cycle)


@part
def core_asks(state: State, core: int, cycle: int) -> int:
    """A message was made: it asks for its way, or is gone if it is for the host."""
    maker = state.cores[at(core)]
    port = maker.port
    if port != NOTHING:
        return _ask(state, links_of(state) + core, port, cycle)
    if len(state.trace) > 0:
        record = state.trace[at(maker.current)]
        record.departed = record.arrived = record.processed = maker.made
    generate(state, core, maker.made)
    return NOTHING


@part
def _ask(state: State, asking: int, number: int, cycle: int) -> int:
    """Let an input wait for a port; the port, if it decides now."""
    port, place = state.ports[at(number)], state.ports[at(asking)].place
    first = port.waiters == 0
    port.waiters += 1
    state.waiting[at(number), at(place >> 6)] |= ONE << np.uint64(place & 63)
    if number < links_of(state):
        if first:
            port.since = cycle
        return NOTHING if port.pending else number
    if not first:
        return NOTHING
    earliest = into_core(state, number, cycle)
    if earliest == cycle:
        return number
    put(state.wheel, number, earliest)
    return NOTHING


@part
def _route(state: State, router: int, target: int) -> int:
    """The port on the way from a router to a core."""
    here, places = state.routers[at(router)], state.places
    direction = towards(here.x, here.y, places[at(target), 0], places[at(target), 1])
    if direction == ARRIVED:
        return links_of(state) + target
    return 4 * router + direction


@part
def decide(state: State, number: int, cycle: int) -> None:
    """Let one input through if the port is free and there is room after it."""
    port = state.ports[at(number)]
    if number >= links_of(state):
        _let_through(state, number, cycle)
        if port.waiters > 0:
            put(state.wheel, number, into_core(state, number, cycle + 1))
        return
    if port.waiters == 0:
        return
    just_left = port.left == cycle
    if state.ports[at(port.shares)].free > cycle * UNITS:
        look_again(state, number, cycle)
    elif port.tail - port.head + just_left < port.room:
        if _is_turn_of_another(state, number, cycle):
            look_again(state, number, cycle)
            return
        _let_through(state, number, cycle)
        if port.waiters > 0:
            look_again(state, number, cycle)
        else:
            port.stalled += cycle - port.since
    elif just_left:
        look_again(state, number, cycle)


@part
def _is_turn_of_another(state: State, number: int, cycle: int) -> bool:
    """Whether a link that shares the port could send, and comes first after the last served."""
    shares = state.ports[at(number)].shares
    first = state.ports[at(shares)]
    if first.sharing == 1:
        return False
    place = first.served + 1 if first.served + 1 < first.sharing else 0
    while place != state.ports[at(number)].place_there:
        other = state.ports[at(shares + place * first.stride)]
        occupied = other.tail - other.head + (other.left == cycle)
        if other.waiters > 0 and occupied < other.room:
            return True
        place = place + 1 if place + 1 < first.sharing else 0
    return False


@part
def _next_turn(state: State, number: int) -> int:
    """The first input that waits, from the one after the last that was served; it waits no more."""
    port, waiting = state.ports[at(number)], state.waiting
    place = port.turn + 1
    word = place >> 6
    bits = (
        waiting[at(number), at(word)] & (ALL << np.uint64(place & 63))
        if word < waiting.shape[1]
        else NONE
    )
    while bits == 0:
        word = word + 1 if word + 1 < waiting.shape[1] else 0
        bits = waiting[at(number), at(word)]
    place = (word << 6) + lowest_bit(bits)
    waiting[at(number), at(word)] ^= ONE << np.uint64(place & 63)
    turn: int = state.inputs[at(state.routers[at(port.source)].first + place)]
    return turn


@part
def _let_through(state: State, number: int, cycle: int) -> None:
    """Send the message of the input whose turn it is through a port that has room."""
    port, links = state.ports[at(number)], links_of(state)
    shared = state.ports[at(port.shares)]
    turn = _next_turn(state, number)
    port.turn = state.ports[at(turn)].place
    port.waiters -= 1
    if turn < links:
        head = state.buffers[at(place_of(state, turn, state.ports[at(turn)].head))]
        message, target = head.route, head.target
        begin = begin_in(max(head.arrival, shared.free), cycle)
        arrival = begin + port.latency
        if not _is_copied(state, turn, cycle):
            _leave_link(state, turn, cycle)
    else:
        maker = state.cores[at(turn - links)]
        message, target = maker.current, maker.target
        begin = begin_in(max(maker.made, shared.free), cycle)
        to_neighbour = number >= links and number != turn
        arrival = begin + (state.clock.within_tile if to_neighbour else port.latency)
        leave_core(state, turn - links, begin)
    shared.free = begin + port.interval
    shared.served = port.place_there
    if (
        len(state.trace) > 0
        and not state.routes[at(message)].begins
        and state.ports[at(turn)].border
    ):
        state.trace[at(message)].departed = begin
    _enter(state, number, message, target, arrival, cycle)


@part
def _is_copied(state: State, link: int, cycle: int) -> bool:
    """Where a message enters the chip of its target: put its next copy in its place, if any."""
    buffer = state.ports[at(link)]
    if not buffer.border:
        return False
    head = state.buffers[at(place_of(state, link, buffer.head))]
    copy = head.route + 1
    if copy == len(state.routes) or state.routes[at(copy)].begins:
        return False
    if (
        state.routers[at(buffer.end)].chip
        != state.routers[at(state.places[at(head.target), 2])].chip
    ):
        return False
    head.route, head.target = copy, state.routes[at(copy)].target
    put(state.wheel, input_event(state, link), cycle + 1)
    return True


@part
def _leave_link(state: State, link: int, cycle: int) -> None:
    """The head of a link's buffer is gone: the one behind it may ask in the next cycle."""
    buffer = state.ports[at(link)]
    make_room(state, link, cycle)
    buffer.head += 1
    if buffer.head < buffer.tail:
        arrival = state.buffers[at(place_of(state, link, buffer.head))].arrival
        put(state.wheel, input_event(state, link), max(cycle + 1, ceil_cycle(arrival)))


@part
def _enter(state: State, number: int, message: int, target: int, arrival: int, cycle: int) -> None:
    """A message is on its way to the buffer after a port."""
    core = number - links_of(state)
    if core >= 0:
        receive(state, core, message, state.routes[at(message)].synapses, arrival, cycle)
        return
    buffer = state.ports[at(number)]
    waiting = state.buffers[at(place_of(state, number, buffer.tail))]
    waiting.route, waiting.arrival, waiting.target = message, arrival, target
    if buffer.head == buffer.tail:
        put(state.wheel, input_event(state, number), ceil_cycle(arrival))
    buffer.tail += 1
