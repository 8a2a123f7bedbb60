"""One step, cycle by cycle.

A cycle has two phases. First everything that ends in it takes effect: messages reach the head of
their buffer, or are made. Then every port that an input waits for decides
once, on what was the case when the phase began: a message that leaves frees its place, and lets
the one behind it ask, from the next cycle on. So the order within a phase does not matter, and
cycles without events are skipped without a difference. What an axon-in queue holds needs no events:
it is served in order, so that a message's time there is known when it is sent.

Decisions fall on cycles, durations do not: what could begin within the last cycle is counted from
that moment, so that fractions of a cycle never add up to a drift.
"""

from __future__ import annotations

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.backends.cycle.timing.clocked.buffers import follow_queue
from spikegpt_neuro.backends.cycle.timing.clocked.cores import next_volley, receive_from_host
from spikegpt_neuro.backends.cycle.timing.clocked.numbers import input_event, links_of
from spikegpt_neuro.backends.cycle.timing.clocked.part import at, part
from spikegpt_neuro.backends.cycle.timing.clocked.routers import core_asks, decide, head_asks
from spikegpt_neuro.backends.cycle.timing.clocked.state import State
from spikegpt_neuro.backends.cycle.timing.clocked.wheel import NOTHING, next_cycle, take

FOREVER = 1 << 62


@kernel
def run(state: State) -> None:
    """Let the step happen, until no event pends."""
    _start(state)
    cycle = next_cycle(state.wheel)
    while cycle != NOTHING:
        _pass(state, cycle)
        cycle = next_cycle(state.wheel)
    for number in range(links_of(state), len(state.ports)):
        follow_queue(state, number, FOREVER)


@part
def _start(state: State) -> None:
    """Every core begins to walk its neurons, and to process what came from the host."""
    for core in range(len(state.cores)):
        next_volley(state, core, 0)
        receive_from_host(state, core)


@part
def _pass(state: State, cycle: int) -> None:
    """One cycle: its events take effect, then ports decide."""
    ports, events = state.ports, state.wheel.events
    deciding = NOTHING
    event = take(state.wheel, cycle)
    while event != NOTHING:
        following = events[at(event)].following
        state.wheel.lists[0].pending -= 1
        port = _happen(state, event, cycle)
        if port != NOTHING and ports[at(port)].asked != cycle:
            ports[at(port)].asked = cycle
            ports[at(port)].following = deciding
            deciding = port
        event = following
    while deciding != NOTHING:
        decide(state, deciding, cycle)
        deciding = ports[at(deciding)].following


@part
def _happen(state: State, event: int, cycle: int) -> int:
    """Let an event take effect; the port that has to decide now, if any."""
    if event < input_event(state, 0):
        state.ports[at(event)].pending = 0
        return event
    number, links = event - input_event(state, 0), links_of(state)
    if number < links:
        return head_asks(state, number, cycle)
    return core_asks(state, number - links, cycle)
