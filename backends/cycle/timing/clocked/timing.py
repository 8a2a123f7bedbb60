"""The clocked timing model: what a step takes on cores and mesh, cycle by cycle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.backends.cycle.timing.clocked.kernel import run
from spikegpt_neuro.backends.cycle.timing.clocked.part import Records
from spikegpt_neuro.backends.cycle.timing.clocked.state import (
    TRACE,
    UNITS,
    State,
    buffers_for,
    clock_of,
    connect,
    cores_before,
    ports_of,
    queues_for,
    routes_of,
)
from spikegpt_neuro.backends.cycle.timing.clocked.wheel import new_wheel
from spikegpt_neuro.backends.cycle.timing.loads import loads
from spikegpt_neuro.backends.cycle.timing.model import StepTiming
from spikegpt_neuro.backends.cycle.timing.names import Timing
from spikegpt_neuro.backends.cycle.traffic.messages import Reach, StepMessages, VolleyMessages
from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.hardware.machine import Machine
from spikegpt_neuro.hardware.step_time import step_seconds


@dataclass(frozen=True)
class MessageTrace:
    """(M,) seconds since the step began, for each message of the step.

    ``departed``   left its core. ``arrived``  was at its target's axon-in.
    ``processed``  its last synapse was done. A message to the host only departs: all three agree.
    """

    departed: NDArray[np.float64]
    arrived: NDArray[np.float64]
    processed: NDArray[np.float64]


class ClockedTiming:
    r"""Cores and routers, cycle by cycle, with finite buffers everywhere.

    A core makes its messages one after the other and waits until each has left; meanwhile it
    processes what its axon-in queue holds, one message after the other, for

    .. math:: axon\_in + \max(synapses \cdot synaptic\_operation, words \cdot memory\_word).

    A message goes east or west first, then north or south. It leaves a buffer when the way out is
    free and the next buffer has room for it, so that a slow core holds up the mesh behind it. Who
    waits for the same way out is served round robin; all decisions fall on clock cycles. A hop
    takes its latency, and a link takes the next message one interval later; a message to a core
    at the same router takes ``spike_within_tile``, one to the core itself nothing, one to the
    host its core's time only. Buffers and axon-in queues hold ``machine.link_buffer`` messages;
    those that came from the host wait in the queue when the step begins.

    The barrier begins in the cycle after the last event. Every stage takes a cycle at least;
    otherwise times are exact to a millionth of a cycle, rounded up, however many add up.

    Raises :class:`UsageError` for a machine without room in its buffers, or without a cycle.
    """

    name: ClassVar[Timing] = "cycle"
    at_once: ClassVar[bool] = True

    def __init__(self, machine: Machine) -> None:
        if machine.link_buffer < 1:
            raise UsageError(
                f"machine: link_buffer is {machine.link_buffer}; expected 1 message or more"
            )
        if not machine.cycle > 0:
            raise UsageError(f"machine: cycle is {machine.cycle:g} s; expected more than 0")
        machine.check_at_once(self.name)
        self.machine = machine
        self._clock = clock_of(machine)
        self._ports = ports_of(machine)
        self._routers, self._inputs = connect(machine.mesh, self._ports)
        self._known: tuple[Reach | None, Records] = (None, None)
        mesh = machine.mesh
        self._places = np.stack([mesh.x, mesh.y, mesh.router], axis=1).astype(np.int32)
        self._words = (int(self._routers["inputs"].max()) + 63) // 64

    def step(self, messages: StepMessages) -> StepTiming:
        return self._timing(self._run(messages, traced=0))

    def traced_step(self, messages: StepMessages) -> tuple[StepTiming, MessageTrace]:
        """Time one step, and tell when each of its messages was where."""
        if isinstance(messages, VolleyMessages):
            messages = messages.one_by_one()
        state = self._run(messages, traced=messages.count)
        return self._timing(state), MessageTrace(
            **{field: self._seconds(state.trace[field]) for field in TRACE.names or ()}
        )

    def _run(self, step: StepMessages, traced: int) -> State:
        mesh, ports, volleys = self.machine.mesh, self._ports.copy(), step.volleys
        copied = volleys.uses[~volleys.reach.begins].any()
        entering = loads(self.machine, step).link_messages if copied else None
        links, into_cores = ports[: mesh.links], ports[mesh.links :]
        state = State(
            clock=self._clock,
            wheel=new_wheel(2 * len(ports)),
            ports=ports,
            cores=cores_before(mesh, volleys),
            routers=self._routers,
            routes=self._routes_of(volleys.reach),
            begin=volleys.begin,
            end=volleys.end,
            work=volleys.work,
            buffers=buffers_for(links, entering),
            queues=queues_for(into_cores, step.arrived),
            places=self._places,
            inputs=self._inputs,
            waiting=np.zeros((len(ports), self._words), np.uint64),
            trace=np.zeros(traced, TRACE),
        )
        run(state)
        return state

    def _routes_of(self, reach: Reach) -> Records:
        """Those of the last step, if they are the same."""
        known, routes = self._known
        if known is not reach:
            routes = routes_of(reach, self.machine.mesh)
            self._known = (reach, routes)
        return routes

    def _timing(self, state: State) -> StepTiming:
        """A finished step, in seconds."""
        ports, cores, cycle = state.ports, state.cores, self.machine.cycle
        latencies = self.machine.latencies
        links = ports[: self.machine.mesh.links]
        ends = (cores["made"], cores["served"], ports["free"])
        last = max(int(times.max(initial=0)) for times in ends)
        return StepTiming(
            seconds=step_seconds(
                (last // UNITS + 1) * cycle, latencies.barrier, latencies.step_minimum
            ),
            generating=self._seconds(cores["generating"]),
            processing=self._seconds(cores["processing"]),
            stalled=self._seconds(cores["stalled"]),
            link_messages=links["tail"].astype(np.int64),
            link_stalled=links["stalled"] * cycle,
            core_queue=ports["deepest"][len(links) :].copy(),
            link_queue=links["deepest"].copy(),
        )

    def _seconds(self, time: NDArray[np.int64]) -> NDArray[np.float64]:
        return time / UNITS * self.machine.cycle
