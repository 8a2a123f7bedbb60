"""The network of the timing model ``detailed``: densities of links, and messages in flight."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.backends.cycle.timing.heap import put, take
from spikegpt_neuro.backends.cycle.traffic.messages import Reach
from spikegpt_neuro.hardware.machine import Machine
from spikegpt_neuro.hardware.mesh import HOST, gate, hops_between, route

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


class Chips(NamedTuple):
    """A machine as the kernels see it: times in seconds; ``router`` (C,), ``links`` of the mesh."""

    router: NDArray[np.int32]
    links: int
    columns: int
    rows: int
    chip_columns: int
    chip_rows: int
    within_tile: float
    east_west: float
    north_south: float
    interchip: float
    link_buffer: int


class Ways(NamedTuple):
    """All routes (R,) of a machine, measured once.

    ``links``       those of route r, in order, are ``links[first[r]:first[r + 1]]``.
    ``latency``     seconds of its hops.
    ``processing``  seconds that its target is busy with a message.
    """

    target: NDArray[np.int32]
    begins: NDArray[np.bool_]
    first: Indices
    links: NDArray[np.int32]
    latency: Floats
    processing: Floats


class Flight(NamedTuple):
    """Messages between cores; mesh links first, then one link from each core to its router.

    ``free``  (C,) when the core has processed all that it received.
    ``arrivals``, ``flying``  heap of times, with the routes of messages.
    ``coming``, ``most_coming``  (C,) messages in flight to the core: now, and at most.
    ``density``, ``highest``     (L + C,) likewise of the links.
    """

    free: Floats
    arrivals: Floats
    flying: Indices
    coming: NDArray[np.int32]
    most_coming: NDArray[np.int32]
    density: Floats
    highest: Floats


def chips_of(machine: Machine) -> Chips:
    """The machine for the kernels."""
    mesh, latencies = machine.mesh, machine.latencies
    return Chips(
        router=mesh.router,
        links=mesh.links,
        columns=mesh.columns,
        rows=mesh.rows,
        chip_columns=mesh.chip_columns,
        chip_rows=mesh.chip_rows,
        within_tile=latencies.spike_within_tile,
        east_west=latencies.hop_east_west,
        north_south=latencies.hop_north_south,
        interchip=latencies.interchip_hop,
        link_buffer=machine.link_buffer,
    )


def ways_of(chips: Chips, reach: Reach, processing: Floats) -> Ways:
    """Measure all routes; ``processing`` in seconds by number of synapses."""
    count, most = len(reach.target), chips.columns + chips.rows
    on_mesh = (reach.sender < len(chips.router)) & (reach.target != HOST)
    first = np.zeros(count + 1, np.int64)
    links = np.empty((count, most), np.int32)
    latency = np.zeros(count)
    _measure(reach.sender, reach.target, reach.begins, on_mesh, chips, first, links, latency)
    first = np.cumsum(first)
    kept = np.arange(most) < np.diff(first)[:, None]
    return Ways(reach.target, reach.begins, first, links[kept], latency, processing[reach.synapses])


def nothing_in_flight(free: Floats, messages: int, links: int) -> Flight:
    """An empty network over cores that are busy until ``free``."""
    cores = len(free)
    return Flight(
        free=free,
        arrivals=np.empty(messages),
        flying=np.empty(messages, np.int64),
        coming=np.zeros(cores, np.int32),
        most_coming=np.zeros(cores, np.int32),
        density=np.zeros(links + cores),
        highest=np.zeros(links + cores),
    )


@kernel
def fly(
    ready: float,
    way: int,
    in_flight: int,
    mean: float,
    ways: Ways,
    link_buffer: int,
    flight: Flight,
) -> tuple[float, int, float]:
    """Send a message; returns when it was sent, how many are in flight, their mean."""
    density, highest = flight.density, flight.highest
    start, stop = ways.first[way], ways.first[way + 1]
    there, links = ways.target[way], stop - start
    along, share = 0.0, 1.0 / (links + 1)
    for k in range(start, stop):
        link = ways.links[k]
        along += density[link]
        density[link] += share
        highest[link] = max(highest[link], density[link])
    sent = ready + max(0.0, along - links * link_buffer) * mean
    network = max(ways.latency[way], along * mean / max(1, links))
    received = max(sent + network, flight.free[there])
    processing = ways.processing[way]
    flight.free[there] = received + processing
    flight.coming[there] += 1
    flight.most_coming[there] = max(flight.most_coming[there], flight.coming[there])
    in_flight = put(flight.arrivals, flight.flying, in_flight, received, way)
    return sent, in_flight, mean + (processing - mean) / in_flight


@kernel
def land(now: float, in_flight: int, mean: float, ways: Ways, flight: Flight) -> tuple[int, float]:
    """Take what was received until ``now`` off its links; returns the last two as :func:`fly`."""
    density = flight.density
    while in_flight > 0 and flight.arrivals[0] <= now:
        way = flight.flying[0]
        in_flight = take(flight.arrivals, flight.flying, in_flight)
        start, stop = ways.first[way], ways.first[way + 1]
        share = 1.0 / (stop - start + 1)
        for k in range(start, stop):
            density[ways.links[k]] -= share
        flight.coming[ways.target[way]] -= 1
        processing = ways.processing[way]
        mean = mean + (mean - processing) / in_flight if in_flight > 0 else 0.0
    return in_flight, mean


@kernel
def _measure(
    sender: Indices,
    target: NDArray[np.int32],
    begins: NDArray[np.bool_],
    on_mesh: NDArray[np.bool_],
    chips: Chips,
    first: Indices,
    links: NDArray[np.int32],
    latency: Floats,
) -> None:
    """Write the links of every route, its latency, and how many links (of route r at r + 1)."""
    path = np.empty(links.shape[1] + 1, np.int64)
    original = 0
    for r in range(len(target)):
        if not on_mesh[r]:
            continue
        core, there = sender[r], target[r]
        begin, end = chips.router[core], chips.router[there]
        middle = begin
        if begins[r]:
            original = end
            latency[r] = _hop_latency(begin, end, chips)
            if begin == end:
                latency[r] = chips.within_tile if core != there else 0.0
        else:
            # The hops of a copy begin at the core, too.
            middle = gate(begin, original, chips.rows, chips.chip_columns, chips.chip_rows)
            latency[r] = _hop_latency(begin, middle, chips) + _hop_latency(middle, end, chips)
        hops = route(middle, end, chips.rows, path)
        for k in range(hops):
            links[r, k] = path[k]
        if begins[r]:
            links[r, hops] = chips.links + core
            hops += 1
        first[r + 1] = hops


@kernel
def _hop_latency(begin: int, end: int, chips: Chips) -> float:
    east_west, north_south, crossed = hops_between(
        begin, end, chips.rows, chips.chip_columns, chips.chip_rows
    )
    latency: float = east_west * chips.east_west + north_south * chips.north_south
    latency += crossed * chips.interchip
    return latency
