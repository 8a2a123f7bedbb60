"""One step, cycle by cycle.

A cycle has two phases. First everything that ends in it takes effect: messages reach the head of
their buffer, are made, or have been processed. Then every port that an input waits for decides
once, on what was the case when the phase began: a message that leaves frees its place, and lets
the one behind it ask, from the next cycle on. So the order within a phase does not matter, and
cycles without events are skipped without a difference.

Decisions fall on cycles, durations do not: what could begin within the last cycle is counted from
that moment, so that fractions of a cycle never add up to a drift.
"""

from __future__ import annotations

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.backends.cycle.timing.clocked.cores import generate, serve
from spikegpt_neuro.backends.cycle.timing.clocked.numbers import input_event, links_of, queue_event
from spikegpt_neuro.backends.cycle.timing.clocked.part import part
from spikegpt_neuro.backends.cycle.timing.clocked.routers import core_asks, decide, head_asks
from spikegpt_neuro.backends.cycle.timing.clocked.state import State
from spikegpt_neuro.backends.cycle.timing.clocked.wheel import NOTHING, next_cycle, put, take


@kernel
def run(state: State) -> None:
    """Let the step happen, until no event pends."""
    _start(state)
    cycle = next_cycle(state.wheel)
    while cycle != NOTHING:
        _pass(state, cycle)
        cycle = next_cycle(state.wheel)


@part
def _start(state: State) -> None:
    """Every core begins to walk its neurons, and to process what came from the host."""
    for core in range(len(state.cores)):
        generate(state, core, 0)
        if state.cores[core].hosted > 0:
            put(state.wheel, queue_event(state, core), 0)


@part
def _pass(state: State, cycle: int) -> None:
    """One cycle: its events take effect, then ports decide."""
    ports, events = state.ports, state.wheel.events
    deciding = NOTHING
    event = take(state.wheel, cycle)
    while event != NOTHING:
        following = events[event].following
        state.wheel.lists[0].pending -= 1
        port = _happen(state, event, cycle)
        if port != NOTHING and ports[port].asked != cycle:
            ports[port].asked = cycle
            ports[port].following = deciding
            deciding = port
        event = following
    while deciding != NOTHING:
        decide(state, deciding, cycle)
        deciding = ports[deciding].following


@part
def _happen(state: State, event: int, cycle: int) -> int:
    """Let an event take effect; the port that has to decide now, if any."""
    if event < input_event(state, 0):
        state.ports[event].pending = 0
        return event
    if event < queue_event(state, 0):
        number, links = event - input_event(state, 0), links_of(state)
        if number < links:
            return head_asks(state, number, cycle)
        return core_asks(state, number - links, cycle)
    core = event - queue_event(state, 0)
    serving = state.cores[core].serving
    if serving >= 0 and len(state.trace) > 0:
        state.trace[serving].processed = state.cores[core].served
    serve(state, core, cycle)
    return NOTHING
