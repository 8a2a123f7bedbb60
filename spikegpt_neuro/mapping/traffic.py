"""Who reaches whom: axons, messages per token between cores, and what every core uses.

A neuron sends one message to each core that holds at least one of its targets. Neurons of a
population lie in contiguous pieces, so that everything here is sums over intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.mapping.requirements import Workload

Interval = tuple[int, int]
Rates = Mapping[str, NDArray[np.float64]]
"""Population -> events per token of each neuron, (n,)."""


@dataclass(frozen=True)
class Piece:
    """Neurons ``start`` to ``stop`` (exclusive) of a population, on a core."""

    population: str
    start: int
    stop: int
    core: int

    @property
    def size(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Traffic:
    """Messages per token: ``messages[k]`` from core ``source[k]`` to core ``target[k]``.

    ``from_host`` and ``to_host`` count the host's; where it is attached is the board's matter,
    so they have no hops.
    """

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    messages: NDArray[np.float64]
    from_host: float
    to_host: float


@dataclass(frozen=True)
class Usage:
    """What each core uses, (cores,) each; the names are those of :class:`CoreLimits`."""

    neurons: NDArray[np.int64]
    synaptic_memory: NDArray[np.int64]
    neuron_memory: NDArray[np.int64]
    input_axons: NDArray[np.int64]
    output_axons: NDArray[np.int64]


def by_population(pieces: Sequence[Piece]) -> dict[str, list[Piece]]:
    """Population -> its pieces in order of neurons."""
    table: dict[str, list[Piece]] = {}
    for piece in pieces:
        table.setdefault(piece.population, []).append(piece)
    return {name: sorted(found, key=lambda p: p.start) for name, found in table.items()}


def reached(
    load: Workload, source: str, placed: Mapping[str, Sequence[Piece]]
) -> dict[int, list[Interval]]:
    """Core -> which neurons of ``source`` have a target there, as disjoint intervals."""
    found: dict[int, list[Interval]] = {}
    size = load.sizes[source]
    for target, dense in load.readers.get(source, ()):
        for piece in placed[target]:
            interval = (0, size) if dense else (piece.start, piece.stop)
            found.setdefault(piece.core, []).append(interval)
    return {core: _merged(intervals) for core, intervals in found.items()}


def _merged(intervals: list[Interval]) -> list[Interval]:
    merged: list[Interval] = []
    for start, stop in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
        else:
            merged.append((start, stop))
    return merged


def fan_out(load: Workload, source: str, cores: Mapping[int, list[Interval]]) -> NDArray[np.int64]:
    """Messages that each neuron of ``source`` sends when it has an event, (n,)."""
    change = np.zeros(load.sizes[source] + 1, np.int64)
    for intervals in cores.values():
        for start, stop in intervals:
            change[start] += 1
            change[stop] -= 1
    return np.cumsum(change[:-1]) + (source in load.to_host)


def usage_of(load: Workload, pieces: Sequence[Piece], cores: int, profile: Profile) -> Usage:
    """What the pieces use on each of ``cores`` cores."""
    counts = {name: np.zeros(cores, np.int64) for name in Usage.__annotations__}
    placed = by_population(pieces)
    demands = {d.name: d for d in load.demands}
    for name, population in placed.items():
        demand = demands[name]
        for piece in population:
            counts["neurons"][piece.core] += piece.size
            needed = demand.synaptic_bytes(piece.size, profile.encoding)
            counts["synaptic_memory"][piece.core] += needed
            counts["neuron_memory"][piece.core] += piece.size * demand.neuron_bytes
        for core in {p.core for p in population}:
            counts["neuron_memory"][core] += demand.shared_bytes
    for source in load.readers:
        cores_reached = reached(load, source, placed)
        for core, intervals in cores_reached.items():
            counts["input_axons"][core] += sum(stop - start for start, stop in intervals)
        sent = np.concatenate([[0], np.cumsum(fan_out(load, source, cores_reached))])
        for piece in placed.get(source, ()):
            counts["output_axons"][piece.core] += sent[piece.stop] - sent[piece.start]
    return Usage(**counts)


def traffic_of(load: Workload, pieces: Sequence[Piece], rates: Rates) -> Traffic:
    """Messages per token between cores; a core's messages to itself are left out."""
    table: dict[tuple[int, int], float] = {}
    from_host = to_host = 0.0
    placed = by_population(pieces)
    for source in load.readers:
        rate = _rate(load, source, rates)
        total = np.concatenate([[0.0], np.cumsum(rate)])
        for core, intervals in reached(load, source, placed).items():
            if source not in placed:
                from_host += sum(float(total[stop] - total[start]) for start, stop in intervals)
            for piece in placed.get(source, ()):
                sent = _events(total, intervals, piece)
                if sent and piece.core != core:
                    key = (piece.core, core)
                    table[key] = table.get(key, 0.0) + sent
        to_host += float(total[-1]) * (source in load.to_host)
    keys = sorted(table)
    ends = np.array(keys, np.int64).reshape(-1, 2)
    messages = np.array([table[key] for key in keys])
    return Traffic(ends[:, 0], ends[:, 1], messages, from_host, to_host)


def _rate(load: Workload, source: str, rates: Rates) -> NDArray[np.float64]:
    if source in rates:
        return np.asarray(rates[source], np.float64)
    size = load.sizes[source]  # token ids: one of them per token
    return np.full(size, 1.0 / size)


def _events(total: NDArray[np.float64], intervals: list[Interval], piece: Piece) -> float:
    """Events per token of the piece's neurons that lie in ``intervals``."""
    clipped = ((max(start, piece.start), min(stop, piece.stop)) for start, stop in intervals)
    return sum(float(total[stop] - total[start]) for start, stop in clipped if start < stop)
