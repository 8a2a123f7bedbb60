"""What the clocked model keeps: routers, their ports and buffers, and the cores, as records.

A *port* is a way out of a router: links first (numbered as in :class:`Mesh`), then one port into
each core. After every port lies a buffer: that of a link at the next router, that of a core's
port is its axon-in queue. An *input* of a router is the buffer of a link that ends there, or a core
with the message that it made; it has the number of that link, or of that core's port.

Links that share a port of their chip share its time, and take turns. A message for several cores of
another chip is copied at the head of the buffer where it enters that chip: its copies leave the
buffer one after the other. They may turn from a column into a row, which could end in messages that
wait for each other in a circle; so these buffers hold whatever comes.

Times within a step are whole numbers of :data:`UNITS`, a millionth of a cycle.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.backends.cycle.timing.clocked.part import Records
from spikegpt_neuro.backends.cycle.timing.clocked.wheel import NOTHING, Wheel
from spikegpt_neuro.backends.cycle.traffic.messages import Reach, Volleys
from spikegpt_neuro.hardware.machine import Machine
from spikegpt_neuro.hardware.mesh import (
    ARRIVED,
    EAST,
    HOST,
    NORTH,
    SOUTH,
    WEST,
    Mesh,
    crosses_chips,
    towards,
)

Integers = NDArray[np.int64]

UNITS = 1_000_000
SNAP = 1e-3
"""Units by which a time may exceed a whole number before it counts as longer: float noise."""

FROM_HOST = -1

PORT = np.dtype(
    [
        # who waits for the port
        ("waiters", np.int32),  # inputs; which ones is in ``State.waiting``
        ("turn", np.int32),  # place of the input that was served last
        ("asked", np.int64),  # last cycle in which it is to decide
        ("following", np.int32),  # next port that is to decide in this cycle
        # the input with the port's number
        ("place", np.int32),  # among the inputs of its router
        # of the first link, for all that share the port
        ("free", np.int64),  # when the next message may begin, in units
        # the buffer after the port
        # cycle in which one last left, or in which an axon-in queue will have room for the next:
        ("left", np.int64),  # the place is free in the one after it
        ("head", np.int32),  # messages so far that left it,
        ("tail", np.int32),  # were sent to it,
        ("room", np.int32),  # may be in it and on their way to it
        ("ring", np.int32),  # its places: from this one on,
        ("mask", np.int32),  # as many and one more, a power of 2
        # the port
        ("shares", np.int32),  # first link of the port that it shares; else itself
        ("source", np.int32),  # router that the port leaves
        ("end", np.int32),  # router where the link ends
        ("latency", np.int64),  # units to cross
        ("interval", np.int64),  # units between two messages
        ("since", np.int64),  # cycle in which an input began to wait
        ("stalled", np.int64),  # cycles in which an input waited
        ("seen", np.int32),  # messages so far that were seen in the buffer
        ("deepest", np.int32),  # most messages in it
        ("stride", np.int32),  # from the number of one that shares the port to the next one's
        ("sharing", np.int16),  # how many do
        ("served", np.int16),  # place of the link that was served last
        ("place_there", np.int16),  # among the links that share the port
        ("border", np.int8),  # 1: between chips
        ("pending", np.int8),  # 1: the port decides again in a later cycle
    ],
    align=True,
)
"""Two cache lines: what most events look at stands first."""
CORE = np.dtype(
    [
        ("current", np.int32),  # route of the message that is being made,
        ("port", np.int32),  # and what is known of it,
        ("target", np.int32),
        ("end", np.int32),  # end of its volley's
        ("volley", np.int32),  # that volley,
        ("stop", np.int32),  # end of the core's
        ("made", np.int64),  # when the current one is made; at last, when the neurons are walked
        ("leftover", np.float64),  # seconds
        ("hosted", np.int32),  # messages from the host that wait when the step begins,
        ("hosted_synapses", np.int64),  # and their synapses
        ("served", np.int64),  # when all that have come so far are processed
        ("generating", np.int64),  # units in all
        ("processing", np.int64),
        ("stalled", np.int64),
    ],
    align=True,
)
ROUTER = np.dtype(
    [
        ("x", np.int32),
        ("y", np.int32),
        ("chip", np.int32),
        ("first", np.int32),
        ("inputs", np.int32),
    ],
    align=True,
)
WAITING = np.dtype([("arrival", np.int64), ("route", np.int32), ("target", np.int32)], align=True)
QUEUED = np.dtype([("arrival", np.int64), ("left", np.int64)])
ROUTE = np.dtype(
    [
        ("target", np.int32),
        ("synapses", np.int32),
        ("port", np.int32),  # first on the way from the sender; NOTHING to the host
        ("begins", np.int32),
    ]
)
TRACE = np.dtype([("departed", np.int64), ("arrived", np.int64), ("processed", np.int64)])


class Clock(NamedTuple):
    """Times of the stages in units; ``scale`` is units per second."""

    scale: float
    axon_out: int
    axon_in: int
    synaptic_operation: int
    memory_word: int
    synapses_per_word: int
    within_tile: int


class State(NamedTuple):
    """Everything of one step.

    ``wheel``     events: P ports decide again, P inputs have a message to send; in this order.
    ``ports``     (P,) of :data:`PORT`; so ``cores`` (C,), ``routers`` and ``routes``: a message is
                  known by its route.
    ``begin``, ``end``, ``work``  (V,) of the volleys.
    ``buffers``   of :data:`WAITING`, after links, and ``queues`` of :data:`QUEUED`, of axon-in:
                  rings, one after the other. A message in a queue will leave it, for the axon-in
                  stage, in the cycle ``left``: that is known as soon as it comes.
    ``places``    (C, 3): x, y and router of each core.
    ``inputs``    a router's inputs are ``inputs[first:first + inputs]``.
    ``waiting``   (P, W) bits: which of its router's inputs wait for each port.
    ``trace``     (M,) of :data:`TRACE`, where each message has its route; (0,) to record nothing.
    """

    clock: Clock
    wheel: Wheel
    ports: Records
    cores: Records
    routers: Records
    routes: Records
    begin: NDArray[np.int32]
    end: NDArray[np.int32]
    work: NDArray[np.float64]
    buffers: Records
    queues: Records
    places: NDArray[np.int32]
    inputs: NDArray[np.int32]
    waiting: NDArray[np.uint64]
    trace: Records


def units(seconds: float, cycle: float) -> int:
    """The fewest units that are not shorter than ``seconds``."""
    return int(np.ceil(seconds / cycle * UNITS - SNAP))


def clock_of(machine: Machine) -> Clock:
    """Stage times of a machine in units."""
    t, cycle = machine.latencies, machine.cycle
    return Clock(
        scale=UNITS / cycle,
        axon_out=units(t.axon_out, cycle),
        axon_in=units(t.axon_in, cycle),
        synaptic_operation=units(t.synaptic_operation, cycle),
        memory_word=units(t.memory_word, cycle),
        synapses_per_word=machine.synapses_per_word,
        within_tile=units(t.spike_within_tile, cycle),
    )


def ports_of(machine: Machine) -> Records:
    """(P,) ports of a machine at rest, their routers' inputs not yet numbered."""
    mesh = machine.mesh
    ports = np.zeros(mesh.links + mesh.cores, PORT)
    for field in ("end", "left", "turn", "asked"):
        ports[field] = NOTHING
    links, into_cores = ports[: mesh.links], ports[mesh.links :]
    links["source"] = np.repeat(np.arange(mesh.routers), 4)
    links["end"] = mesh.ends
    links["latency"], links["interval"] = _link_times(machine)
    into_cores["source"] = mesh.router
    # What decides in a cycle is seen in the next: a port takes one message a cycle at most.
    into_cores["interval"] = UNITS
    ports["shares"], ports["sharing"], ports["stride"] = np.arange(len(ports)), 1, 1
    ports["room"] = machine.link_buffer
    links["border"] = crosses_chips(mesh)
    _share(links, mesh)
    return ports


def _share(links: Records, mesh: Mesh) -> None:
    """Let links (L,) share ports; those of one port have numbers at equal distances."""
    links["shares"] = mesh.port
    order = np.lexsort((np.arange(mesh.links), mesh.port))
    first, start, sharing = np.unique(mesh.port[order], return_index=True, return_counts=True)
    links["sharing"][first] = sharing
    links["place_there"][order] = np.arange(mesh.links) - np.repeat(start, sharing)
    several = sharing > 1
    links["stride"][first[several]] = order[start[several] + 1] - order[start[several]]
    links["served"][first] = sharing - 1


def buffers_for(ports: Records, entering: Integers | None) -> Records:
    """Rings for the buffers after links, whose places it writes into their ``ports``.

    ``entering``  (L,) messages over each link in a step with copies; None: there are none.
    """
    if entering is not None:
        border = np.flatnonzero(ports["border"])
        ports["room"][border] = entering[border] + 1
    return np.zeros(_rings(ports, ports["room"]), WAITING)


def queues_for(ports: Records, hosted: NDArray[np.int32]) -> Records:
    """Rings for the axon-in queues, whose places it writes into the ``ports`` (C,) to cores.

    ``hosted``  (C,) messages from the host, which wait there without regard to the room.
    """
    return np.zeros(_rings(ports, np.maximum(ports["room"], hosted)), QUEUED)


def _rings(ports: Records, places: Integers) -> int:
    """Let each port have a ring of ``places`` or more; returns what they take together."""
    places = 1 << np.ceil(np.log2(np.maximum(1, places))).astype(np.int64)
    ports["ring"] = np.cumsum(places) - places
    ports["mask"] = places - 1
    return int(places.sum())


def _link_times(machine: Machine) -> tuple[Integers, Integers]:
    """(L,) latency and interval of each link in units, a cycle at least."""
    mesh, t, cycle = machine.mesh, machine.latencies, machine.cycle
    crosses = crosses_chips(mesh)
    hop = np.empty((mesh.routers, 4))
    hop[:, [EAST, WEST]], hop[:, [NORTH, SOUTH]] = t.hop_east_west, t.hop_north_south
    latency = hop.ravel() + crosses * t.interchip_hop
    return (
        np.array([max(UNITS, units(s, cycle)) for s in latency]),
        np.array([max(UNITS, units(s, cycle)) for s in machine.link_intervals]),
    )


def connect(mesh: Mesh, ports: Records) -> tuple[Records, NDArray[np.int32]]:
    """Routers, and their inputs router by router; numbers the inputs' places in ``ports``."""
    links = np.flatnonzero(ports["end"] != NOTHING)
    inputs = np.concatenate([links, mesh.links + np.arange(mesh.cores)])
    router = np.concatenate([ports["end"][links], mesh.router])
    order = np.argsort(router, kind="stable")
    inputs, router = inputs[order], router[order]
    routers = np.zeros(mesh.routers, ROUTER)
    routers["x"], routers["y"] = np.divmod(np.arange(mesh.routers), mesh.rows)
    across = -(-mesh.rows // mesh.chip_rows)
    routers["chip"] = routers["x"] // mesh.chip_columns * across + routers["y"] // mesh.chip_rows
    routers["first"] = np.searchsorted(router, np.arange(mesh.routers))
    routers["inputs"] = np.bincount(router, minlength=mesh.routers)
    ports["place"][inputs] = np.arange(len(inputs)) - routers["first"][router]
    return routers, inputs.astype(np.int32)


def cores_before(mesh: Mesh, step: Volleys) -> Records:
    """(C,) cores when a step begins."""
    cores = np.zeros(mesh.cores, CORE)
    cores["volley"], cores["stop"] = step.first[:-1] - 1, step.first[1:]
    cores["leftover"] = step.leftover
    cores["hosted"], cores["hosted_synapses"] = step.arrived, step.arrived_synapses
    return cores


def routes_of(reach: Reach, mesh: Mesh) -> Records:
    """The routes, with the ports that their messages leave the senders by."""
    routes = np.zeros(len(reach.target), ROUTE)
    for field in ("target", "synapses", "begins"):
        routes[field] = getattr(reach, field)
    ports = np.full(len(routes), NOTHING, np.int64)
    on_mesh = np.flatnonzero((reach.sender < mesh.cores) & (reach.target != HOST))
    _first_ports(on_mesh, reach.sender, reach.target, mesh.x, mesh.y, mesh.rows, mesh.links, ports)
    routes["port"] = ports
    return routes


@kernel
def _first_ports(
    routes: Integers,
    sender: Integers,
    target: NDArray[np.int32],
    x: NDArray[np.int32],
    y: NDArray[np.int32],
    rows: int,
    links: int,
    ports: Integers,
) -> None:
    for route in routes:
        here, there = sender[route], target[route]
        direction = towards(x[here], y[here], x[there], y[there])
        into_core = direction == ARRIVED
        ports[route] = links + there if into_core else 4 * (x[here] * rows + y[here]) + direction
