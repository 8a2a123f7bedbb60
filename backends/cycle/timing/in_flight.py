"""The network of the timing model ``detailed``: densities of links, and messages in flight."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.backends.cycle.timing.heap import put, take
from spikegpt_neuro.hardware.machine import Machine
from spikegpt_neuro.hardware.mesh import hops_between, route

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


class Chips(NamedTuple):
    """A machine as the kernels see it: times in seconds; ``router`` (C,), ``links`` of the mesh."""

    router: NDArray[np.int32]
    links: int
    rows: int
    chip_columns: int
    chip_rows: int
    within_tile: float
    east_west: float
    north_south: float
    interchip: float
    link_buffer: int


class Made(NamedTuple):
    """The messages of a step, with the seconds that each takes its core to make.

    ``processing``  seconds that its target is busy with a message, by number of synapses.
    """

    first: Indices
    target: NDArray[np.int32]
    synapses: NDArray[np.int32]
    generation: Floats
    leftover: Floats
    processing: Floats


class Flight(NamedTuple):
    """Messages between cores; mesh links first, then one link from each core to its router.

    ``free``  (C,) when the core has processed all that it received.
    ``arrivals``, ``flying``, ``sender``  (M,) heap of times, with messages; core of each message.
    ``coming``, ``most_coming``  (C,) messages in flight to the core: now, and at most.
    ``density``, ``highest``     (L + C,) likewise of the links. ``path``  room for one route.
    """

    free: Floats
    arrivals: Floats
    flying: Indices
    sender: Indices
    coming: NDArray[np.int32]
    most_coming: NDArray[np.int32]
    density: Floats
    highest: Floats
    path: Indices


def chips_of(machine: Machine) -> Chips:
    """The machine for the kernels."""
    mesh, latencies = machine.mesh, machine.latencies
    return Chips(
        router=mesh.router,
        links=mesh.links,
        rows=mesh.rows,
        chip_columns=mesh.chip_columns,
        chip_rows=mesh.chip_rows,
        within_tile=latencies.spike_within_tile,
        east_west=latencies.hop_east_west,
        north_south=latencies.hop_north_south,
        interchip=latencies.interchip_hop,
        link_buffer=machine.link_buffer,
    )


def nothing_in_flight(free: Floats, messages: int, links: int) -> Flight:
    """An empty network over cores that are busy until ``free``."""
    cores = len(free)
    return Flight(
        free=free,
        arrivals=np.empty(messages),
        flying=np.empty(messages, np.int64),
        sender=np.empty(messages, np.int64),
        coming=np.zeros(cores, np.int32),
        most_coming=np.zeros(cores, np.int32),
        density=np.zeros(links + cores),
        highest=np.zeros(links + cores),
        path=np.empty(links + 1, np.int64),
    )


@kernel
def fly(
    ready: float,
    m: int,
    core: int,
    in_flight: int,
    mean: float,
    made: Made,
    chips: Chips,
    flight: Flight,
) -> tuple[float, int, float]:
    """Send message m of a core; returns when it was sent, how many are in flight, their mean."""
    there = made.target[m]
    path, density, highest = flight.path, flight.density, flight.highest
    hops = route(chips.router[core], chips.router[there], chips.rows, path)
    path[hops] = chips.links + core
    along = 0.0
    for k in range(hops + 1):
        along += density[path[k]]
        density[path[k]] += 1.0 / (hops + 2)
        highest[path[k]] = max(highest[path[k]], density[path[k]])
    sent = ready + max(0.0, along - (hops + 1) * chips.link_buffer) * mean
    network = max(_hop_latency(core, there, hops, chips), along * mean / (hops + 1))
    received = max(sent + network, flight.free[there])
    processing = made.processing[made.synapses[m]]
    flight.free[there] = received + processing
    flight.sender[m] = core
    flight.coming[there] += 1
    flight.most_coming[there] = max(flight.most_coming[there], flight.coming[there])
    in_flight = put(flight.arrivals, flight.flying, in_flight, received, m)
    return sent, in_flight, mean + (processing - mean) / in_flight


@kernel
def land(
    now: float, in_flight: int, mean: float, made: Made, chips: Chips, flight: Flight
) -> tuple[int, float]:
    """Take what was received until ``now`` off its links; returns the last two as :func:`fly`."""
    path, density = flight.path, flight.density
    while in_flight > 0 and flight.arrivals[0] <= now:
        m = flight.flying[0]
        in_flight = take(flight.arrivals, flight.flying, in_flight)
        core, there = flight.sender[m], made.target[m]
        hops = route(chips.router[core], chips.router[there], chips.rows, path)
        path[hops] = chips.links + core
        for k in range(hops + 1):
            density[path[k]] -= 1.0 / (hops + 2)
        flight.coming[there] -= 1
        processing = made.processing[made.synapses[m]]
        mean = mean + (mean - processing) / in_flight if in_flight > 0 else 0.0
    return in_flight, mean


@kernel
def _hop_latency(core: int, there: int, hops: int, chips: Chips) -> float:
    if hops == 0:
        return chips.within_tile if core != there else 0.0
    east_west, north_south, crossed = hops_between(
        chips.router[core], chips.router[there], chips.rows, chips.chip_columns, chips.chip_rows
    )
    latency: float = east_west * chips.east_west + north_south * chips.north_south
    latency += crossed * chips.interchip
    return latency
