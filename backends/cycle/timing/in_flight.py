"""The network of the timing model ``detailed``: densities of links, and messages in flight."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.backends.cycle.timing.heap import put, take
from spikegpt_neuro.hardware.machine import Machine
from spikegpt_neuro.hardware.mesh import gate, hops_between, route

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
    begins: NDArray[np.bool_]
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
    links = _way(m, core, made, chips, path)
    along = 0.0
    for k in range(links):
        along += density[path[k]]
        density[path[k]] += 1.0 / (links + 1)
        highest[path[k]] = max(highest[path[k]], density[path[k]])
    sent = ready + max(0.0, along - links * chips.link_buffer) * mean
    network = max(_latency(m, core, made, chips), along * mean / max(1, links))
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
        links = _way(m, core, made, chips, path)
        for k in range(links):
            density[path[k]] -= 1.0 / (links + 1)
        flight.coming[there] -= 1
        processing = made.processing[made.synapses[m]]
        mean = mean + (mean - processing) / in_flight if in_flight > 0 else 0.0
    return in_flight, mean


@kernel
def _departure(m: int, core: int, made: Made, chips: Chips) -> int:
    """Router where the way of message m begins: its core's, or where a copy is made."""
    original = m
    while not made.begins[original]:
        original -= 1
    begin: int = chips.router[core]
    if original == m:
        return begin
    end = chips.router[made.target[original]]
    return gate(begin, end, chips.rows, chips.chip_columns, chips.chip_rows)


@kernel
def _way(m: int, core: int, made: Made, chips: Chips, path: Indices) -> int:
    """Write the links of message m into ``path``; returns how many."""
    end = chips.router[made.target[m]]
    hops = route(_departure(m, core, made, chips), end, chips.rows, path)
    if not made.begins[m]:
        return hops
    path[hops] = chips.links + core
    return hops + 1


@kernel
def _latency(m: int, core: int, made: Made, chips: Chips) -> float:
    """Of the hops of message m; those of a copy begin at the core, too."""
    there = made.target[m]
    begin, end = chips.router[core], chips.router[there]
    if made.begins[m]:
        if begin == end:
            return chips.within_tile if core != there else 0.0
        return _hop_latency(begin, end, chips)
    middle = _departure(m, core, made, chips)
    before: float = _hop_latency(begin, middle, chips)
    return before + _hop_latency(middle, end, chips)


@kernel
def _hop_latency(begin: int, end: int, chips: Chips) -> float:
    east_west, north_south, crossed = hops_between(
        begin, end, chips.rows, chips.chip_columns, chips.chip_rows
    )
    latency: float = east_west * chips.east_west + north_south * chips.north_south
    latency += crossed * chips.interchip
    return latency
