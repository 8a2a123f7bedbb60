r"""The timing model ``detailed``: messages meet on links and wait for the cores that they go to.

Messages are sent in the order of time. A message in flight is spread over its links: the one from
its core into the router and those of its XY route, *hops* + 1 in all; it adds 1 / (hops + 2) to
the density of each. When a message is ready to be sent, with D the densities along its route and p
the mean processing time of all messages in flight,

.. math::
    wait &= p \, \max(0, D - (hops + 1) \, link\_buffer), \qquad
    network = \max(hop \; latencies, \; D \, p / (hops + 1)) \\
    sent &= ready + wait, \qquad received = \max(sent + network, \; free_{target}), \qquad
    free_{target} = received + processing

and its core makes the next message from *sent* on. A message leaves the links when it is received.
A copy (of a message to several cores of another chip) is sent with its original, and adds to the
links from where it is made. The step ends with the last event and the barrier. Messages to the host
take their core's time and no route; messages from the host keep their core busy from the beginning.

It is the model of the same name in SANA-FE 2.2.9 (Boyle et al., IEEE TCAD 2025), learned from its
documentation and by running it. Events of equal time matter: their order decides who waits, and a
step may take a percent longer or shorter. Here it is that of a heap (``heap.py``) filled core by
core, which is SANA-FE's for the first chip of a process (its later chips vary).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.backends.cycle.timing.heap import put, take
from spikegpt_neuro.backends.cycle.timing.in_flight import (
    Flight,
    Floats,
    Indices,
    Ways,
    chips_of,
    fly,
    land,
    nothing_in_flight,
    ways_of,
)
from spikegpt_neuro.backends.cycle.timing.loads import loads
from spikegpt_neuro.backends.cycle.timing.model import StepTiming
from spikegpt_neuro.backends.cycle.timing.names import Timing
from spikegpt_neuro.backends.cycle.traffic.messages import Reach, StepMessages
from spikegpt_neuro.hardware.machine import Latencies, Machine
from spikegpt_neuro.hardware.mesh import HOST
from spikegpt_neuro.hardware.step_time import step_seconds

ROUNDING = 1e-9  # densities are sums of fractions: what is less above a whole number is rounding
FINISHED = -1  # no message: the core has made its last one
NEVER = -1.0


class DetailedTiming:
    """Event-ordered, with a network that fills up and empties link by link.

    The model knows no single queue: ``core_queue`` counts messages on their way to a core wherever
    they wait, ``link_queue`` rounds densities up, and ``link_stalled`` stays 0.
    """

    name: Timing = "detailed"
    at_once = True

    def __init__(self, machine: Machine) -> None:
        machine.check_at_once(self.name)
        self.machine = machine
        self._known: tuple[Reach | None, Ways | None] = (None, None)

    def step(self, messages: StepMessages) -> StepTiming:
        """Time one step."""
        latencies, links = self.machine.latencies, self.machine.mesh.links
        found, volleys = loads(self.machine, messages), messages.volleys
        free = messages.arrived.astype(np.float64) * latencies.axon_in
        free += messages.arrived_synapses * latencies.synaptic_operation
        flight = nothing_in_flight(free, messages.count, links)
        stalled = np.zeros(len(free))
        sent = _send_all(
            volleys.first,
            volleys.begin,
            volleys.end,
            volleys.work,
            volleys.leftover,
            latencies.axon_out,
            self._ways_of(volleys.reach),
            self.machine.link_buffer,
            flight,
            stalled,
        )
        last = max(free.max(initial=0.0), sent)
        return StepTiming(
            seconds=step_seconds(float(last), latencies.barrier, latencies.step_minimum),
            generating=found.generating,
            processing=found.processing,
            stalled=stalled,
            link_messages=found.link_messages,
            link_stalled=np.zeros(links),
            core_queue=flight.most_coming,
            link_queue=np.ceil(flight.highest[:links] - ROUNDING).astype(np.int32),
        )

    def _ways_of(self, reach: Reach) -> Ways:
        """Those of the last step, if its routes are the same."""
        known, ways = self._known
        if ways is None or known is not reach:
            processing = _processing(self.machine.latencies, int(reach.synapses.max(initial=0)))
            ways = ways_of(chips_of(self.machine), reach, processing)
            self._known = (reach, ways)
        return ways


def _processing(latencies: Latencies, most_synapses: int) -> Floats:
    """(S + 1,) seconds by number of synapses, added up one by one.

    Where two events coincide, rounding decides which comes first, and what follows depends on it.
    """
    times = np.full(most_synapses + 1, latencies.synaptic_operation)
    times[0] = latencies.axon_in
    return np.cumsum(times)


@kernel
def _send_all(
    first: Indices,
    begin: NDArray[np.int32],
    end: NDArray[np.int32],
    work: Floats,
    leftover: Floats,
    axon_out: float,
    ways: Ways,
    link_buffer: int,
    flight: Flight,
    stalled: Floats,
) -> float:
    """Send every message, earliest first; returns the time of the last event."""
    cores = len(leftover)
    times, ready = np.empty(cores), np.empty(cores, np.int64)  # heap of what cores do next
    volley, made = first[:-1] - 1, np.zeros(cores, np.int64)  # of each core, and the route in it
    waiting = 0
    for core in range(cores):
        made[core] = FINISHED
        duration = _make_next(core, first, begin, end, work, leftover, axon_out, volley, made)
        if duration >= 0:
            waiting = put(times, ready, waiting, duration, core)
    in_flight, mean, last = 0, 0.0, 0.0
    while waiting > 0:
        now, core = times[0], ready[0]
        waiting = take(times, ready, waiting)
        way = made[core]
        if way != FINISHED and ways.target[way] != HOST:
            if in_flight > 0 and flight.arrivals[0] <= now:
                in_flight, mean = land(now, in_flight, mean, ways, flight)
            sent, in_flight, mean = fly(now, way, in_flight, mean, ways, link_buffer, flight)
            stalled[core] += sent - now
            now = sent
            last = max(last, flight.free[ways.target[way]])
            while made[core] + 1 < end[volley[core]] and not ways.begins[made[core] + 1]:
                made[core] += 1
                way = made[core]
                _, in_flight, mean = fly(now, way, in_flight, mean, ways, link_buffer, flight)
                last = max(last, flight.free[ways.target[way]])
        last = max(last, now)
        duration = _make_next(core, first, begin, end, work, leftover, axon_out, volley, made)
        if duration >= 0:
            waiting = put(times, ready, waiting, now + duration, core)
    return last


@kernel
def _make_next(
    core: int,
    first: Indices,
    begin: NDArray[np.int32],
    end: NDArray[np.int32],
    work: Floats,
    leftover: Floats,
    axon_out: float,
    volley: Indices,
    made: Indices,
) -> float:
    """Go on to the core's next message, or to what it does after its last; the seconds it takes."""
    if made[core] != FINISHED and made[core] + 1 < end[volley[core]]:
        made[core] += 1
        return axon_out
    if volley[core] == first[core + 1]:
        return NEVER
    volley[core] += 1
    if volley[core] < first[core + 1]:
        made[core] = begin[volley[core]]
        duration: float = work[volley[core]] + axon_out
        return duration
    made[core] = FINISHED
    return leftover[core] if leftover[core] > 0 else NEVER
