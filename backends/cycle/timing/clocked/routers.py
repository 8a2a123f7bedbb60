"""Routers: inputs ask for ports, and ports let one input through at a time."""

from __future__ import annotations

from spikegpt_neuro.backends.cycle.timing.clocked.buffers import look_again, make_room
from spikegpt_neuro.backends.cycle.timing.clocked.cores import generate, leave_core, serve
from spikegpt_neuro.backends.cycle.timing.clocked.numbers import (
    begin_in,
    ceil_cycle,
    input_event,
    links_of,
    place_of,
)
from spikegpt_neuro.backends.cycle.timing.clocked.part import part
from spikegpt_neuro.backends.cycle.timing.clocked.state import IDLE, UNITS, State
from spikegpt_neuro.backends.cycle.timing.clocked.wheel import NOTHING, put
from spikegpt_neuro.hardware.mesh import ARRIVED, HOST, towards


@part
def head_asks(state: State, link: int, cycle: int) -> int:
    """A message is at the head of a link's buffer: it asks for its way on."""
    buffer = state.ports[link]
    target = state.buffers[place_of(state, link, buffer.head)].target
    return _ask(state, link, buffer.end, target, cycle)


@part
def core_asks(state: State, core: int, cycle: int) -> int:
    """A message was made: it asks for its way, or is gone if it is for the host."""
    maker = state.cores[core]
    target = state.messages[maker.current].target
    if target != HOST:
        return _ask(state, links_of(state) + core, maker.router, target, cycle)
    if len(state.trace) > 0:
        record = state.trace[maker.current]
        record.departed = record.arrived = record.processed = maker.made
    maker.current += 1
    generate(state, core, maker.made)
    return NOTHING


@part
def _ask(state: State, asking: int, router: int, target: int, cycle: int) -> int:
    """Let an input wait for the port on the way to ``target``."""
    number = _route(state, router, target)
    port = state.ports[number]
    if port.waiters == 0:
        port.since = cycle
        port.alone = asking
    else:
        port.alone = NOTHING
    port.waiters += 1
    state.ports[asking].wanted = number
    return number


@part
def _route(state: State, router: int, target: int) -> int:
    """The port on the way from a router to a core."""
    here, there = state.routers[router], state.cores[target]
    direction = towards(here.x, here.y, there.x, there.y)
    if direction == ARRIVED:
        return links_of(state) + target
    return 4 * router + direction


@part
def decide(state: State, number: int, cycle: int) -> None:
    """Let one input through if the port is free and there is room after it."""
    port = state.ports[number]
    if port.waiters == 0:
        return
    just_left = port.left == cycle
    if state.ports[port.shares].free > cycle * UNITS:
        look_again(state, number, cycle)
    elif port.occupied + just_left < port.room:
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
    shares = state.ports[number].shares
    first = state.ports[shares]
    if first.sharing == 1:
        return False
    place = first.served + 1 if first.served + 1 < first.sharing else 0
    while place != state.ports[number].place_there:
        other = state.ports[shares + place * first.stride]
        if other.waiters > 0 and other.occupied + (other.left == cycle) < other.room:
            return True
        place = place + 1 if place + 1 < first.sharing else 0
    return False


@part
def _next_turn(state: State, number: int) -> int:
    """The first input that waits, counted from the one after the last that was served."""
    port = state.ports[number]
    router = state.routers[port.source]
    place, asking = port.turn, port.alone
    while asking == NOTHING:
        place = place + 1 if place + 1 < router.inputs else 0
        other = state.inputs[router.first + place]
        if state.ports[other].wanted == number:
            asking = other
    turn: int = asking
    return turn


@part
def _let_through(state: State, number: int, cycle: int) -> None:
    """Send the message of the input whose turn it is through a port that has room."""
    port, links = state.ports[number], links_of(state)
    shared = state.ports[port.shares]
    turn = _next_turn(state, number)
    port.turn = state.ports[turn].place
    port.waiters -= 1
    port.alone = NOTHING
    state.ports[turn].wanted = NOTHING
    if turn < links:
        head = state.buffers[place_of(state, turn, state.ports[turn].head)]
        message, target = head.message, head.target
        begin = begin_in(max(head.arrival, shared.free), cycle)
        arrival = begin + port.latency
        if not _is_copied(state, turn, cycle):
            _leave_link(state, turn, cycle)
    else:
        maker = state.cores[turn - links]
        message, target = maker.current, state.messages[maker.current].target
        begin = begin_in(max(maker.made, shared.free), cycle)
        to_neighbour = number >= links and number != turn
        arrival = begin + (state.clock.within_tile if to_neighbour else port.latency)
        leave_core(state, turn - links, begin)
    shared.free = begin + port.interval
    shared.served = port.place_there
    if len(state.trace) > 0 and not state.messages[message].begins and state.ports[turn].border:
        state.trace[message].departed = begin
    _enter(state, number, message, target, arrival, cycle)


@part
def _is_copied(state: State, link: int, cycle: int) -> bool:
    """Where a message enters the chip of its target: put its next copy in its place, if any."""
    buffer = state.ports[link]
    if not buffer.border:
        return False
    head = state.buffers[place_of(state, link, buffer.head)]
    copy = head.message + 1
    if copy == len(state.messages) or state.messages[copy].begins:
        return False
    if state.routers[buffer.end].chip != state.routers[state.cores[head.target].router].chip:
        return False
    head.message, head.target = copy, state.messages[copy].target
    put(state.wheel, input_event(state, link), cycle + 1)
    return True


@part
def _leave_link(state: State, link: int, cycle: int) -> None:
    """The head of a link's buffer is gone: the one behind it may ask in the next cycle."""
    buffer = state.ports[link]
    make_room(state, link, 0, cycle)
    buffer.head += 1
    if buffer.head < buffer.tail:
        arrival = state.buffers[place_of(state, link, buffer.head)].arrival
        put(state.wheel, input_event(state, link), max(cycle + 1, ceil_cycle(arrival)))


@part
def _enter(state: State, number: int, message: int, target: int, arrival: int, cycle: int) -> None:
    """A message is on its way to the buffer after a port."""
    buffer = state.ports[number]
    waiting = state.buffers[place_of(state, number, buffer.tail)]
    waiting.message, waiting.arrival, waiting.target = message, arrival, target
    first = buffer.head == buffer.tail
    buffer.tail += 1
    buffer.occupied += 1
    core = number - links_of(state)
    if core < 0:
        if first:
            put(state.wheel, input_event(state, number), ceil_cycle(arrival))
        return
    if len(state.trace) > 0:
        state.trace[message].arrived = arrival
    # An idle core with messages in its queue already waits for the first of them.
    if first and state.cores[core].serving == IDLE:
        serve(state, core, cycle)
