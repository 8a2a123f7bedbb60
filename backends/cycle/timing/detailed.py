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

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.backends.cycle.timing.heap import put, take
from spikegpt_neuro.backends.cycle.timing.in_flight import (
    Chips,
    Flight,
    Floats,
    Indices,
    Made,
    chips_of,
    fly,
    land,
    nothing_in_flight,
)
from spikegpt_neuro.backends.cycle.timing.loads import loads
from spikegpt_neuro.backends.cycle.timing.model import StepTiming
from spikegpt_neuro.backends.cycle.timing.names import Timing
from spikegpt_neuro.backends.cycle.traffic.messages import StepMessages
from spikegpt_neuro.hardware.machine import Latencies, Machine
from spikegpt_neuro.hardware.mesh import HOST
from spikegpt_neuro.hardware.step_time import step_seconds

ROUNDING = 1e-9  # densities are sums of fractions: what is less above a whole number is rounding


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
        self._chips = chips_of(machine)

    def step(self, messages: StepMessages) -> StepTiming:
        """Time one step."""
        latencies, links = self.machine.latencies, self.machine.mesh.links
        found = loads(self.machine, messages)
        made = Made(
            messages.first,
            messages.target,
            messages.synapses,
            messages.begins,
            messages.work + latencies.axon_out,
            messages.leftover,
            _processing(latencies, int(messages.synapses.max(initial=0))),
        )
        free = messages.arrived.astype(np.float64) * latencies.axon_in
        free += messages.arrived_synapses * latencies.synaptic_operation
        flight = nothing_in_flight(free, messages.count, links)
        stalled = np.zeros(len(free))
        last = max(free.max(initial=0.0), _send_all(made, self._chips, flight, stalled))
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


def _processing(latencies: Latencies, most_synapses: int) -> Floats:
    """(S + 1,) seconds by number of synapses, added up one by one.

    Where two events coincide, rounding decides which comes first, and what follows depends on it.
    """
    times = np.full(most_synapses + 1, latencies.synaptic_operation)
    times[0] = latencies.axon_in
    return np.cumsum(times)


@kernel
def _send_all(made: Made, chips: Chips, flight: Flight, stalled: Floats) -> float:
    """Send every message, earliest first; returns the time of the last event."""
    cores = len(made.leftover)
    times, ready = np.empty(cores), np.empty(cores, np.int64)  # heap of what cores do next
    following = made.first[:-1].copy()
    waiting = 0
    for core in range(cores):
        waiting = _make_next(core, 0.0, following[core], made, times, ready, waiting)
    in_flight, mean, last = 0, 0.0, 0.0
    while waiting > 0:
        now, core = times[0], ready[0]
        waiting = take(times, ready, waiting)
        m = following[core]
        following[core] += 1
        if m < made.first[core + 1] and made.target[m] != HOST:
            if in_flight > 0 and flight.arrivals[0] <= now:
                in_flight, mean = land(now, in_flight, mean, made, chips, flight)
            sent, in_flight, mean = fly(now, m, core, in_flight, mean, made, chips, flight)
            stalled[core] += sent - now
            now = sent
            last = max(last, flight.free[made.target[m]])
            while following[core] < made.first[core + 1] and not made.begins[following[core]]:
                m = following[core]
                following[core] += 1
                _, in_flight, mean = fly(now, m, core, in_flight, mean, made, chips, flight)
                last = max(last, flight.free[made.target[m]])
        last = max(last, now)
        waiting = _make_next(core, now, following[core], made, times, ready, waiting)
    return last


@kernel
def _make_next(
    core: int, now: float, m: int, made: Made, times: Floats, ready: Indices, waiting: int
) -> int:
    """Put the core's message m, or what it does after its last, on the heap; returns its size."""
    end = made.first[core + 1]
    if m < end:
        return put(times, ready, waiting, now + made.generation[m], core)
    if m == end and made.leftover[core] > 0:
        return put(times, ready, waiting, now + made.leftover[core], core)
    return waiting
