"""What follows from routes: messages per token between cores, and what every core uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.hardware.mesh import HOST
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.mapping.requirements import Workload
from spikegpt_neuro.mapping.routes import Piece as Piece
from spikegpt_neuro.mapping.routes import Routes, by_population

Rates = Mapping[str, NDArray[np.float64]]
"""Population -> events per token of each neuron, (n,)."""


@dataclass(frozen=True)
class Traffic:
    """Messages per token: ``messages[k]`` from core ``source[k]`` to core ``target[k]``.

    What one message brings to several cores counts at each of them: how close they should stand.
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


def usage_of(load: Workload, pieces: Sequence[Piece], routes: Routes, profile: Profile) -> Usage:
    """What the pieces use on each core; an axon is a neuron and a place that it sends to."""
    cores = routes.cores
    counts = {name: np.zeros(cores, np.int64) for name in Usage.__annotations__}
    demands = {d.name: d for d in load.demands}
    for name, population in by_population(pieces).items():
        demand = demands[name]
        for piece in population:
            counts["neurons"][piece.core] += piece.size
            needed = demand.synaptic_bytes(piece.size, profile.encoding, piece.start)
            counts["synaptic_memory"][piece.core] += needed
            counts["neuron_memory"][piece.core] += piece.size * demand.neuron_bytes
        for core in {p.core for p in population}:
            counts["neuron_memory"][core] += demand.shared_bytes
    size = routes.stop - routes.start
    hears = routes.target != HOST
    np.add.at(counts["input_axons"], routes.target[hears], size[routes.segment[hears]])
    placed = routes.core < cores
    np.add.at(counts["output_axons"], routes.core[placed], (size * routes.messages)[placed])
    return Usage(**counts)


def traffic_of(load: Workload, routes: Routes, rates: Rates) -> Traffic:
    """Messages per token between cores; a core's messages to itself are left out."""
    cores, to_host = routes.cores, 0.0
    begin, end = np.zeros((2, len(routes.start)))  # rates of a source summed up to each segment
    for index, name in enumerate(routes.sources):
        mine = np.flatnonzero(routes.population == index)
        if len(mine):
            total = np.concatenate([[0.0], np.cumsum(rate_of(load, name, rates))])
            begin[mine], end[mine] = total[routes.start[mine]], total[routes.stop[mine]]
            to_host += float(total[-1]) * (name in load.to_host)
    source, target, sent = _sent(routes, begin, end)
    from_host = float(np.cumsum(np.append(0.0, sent[source == cores]))[-1])
    between = (source < cores) & (source != target) & (sent != 0)
    pairs, which = np.unique(source[between] * (cores + 1) + target[between], return_inverse=True)
    messages = _sum_by(which.reshape(-1), sent[between], len(pairs))
    return Traffic(pairs // (cores + 1), pairs % (cores + 1), messages, from_host, to_host)


def _sent(
    routes: Routes, begin: NDArray[np.float64], end: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """(from, to, messages per token) of each source on each core, one source after the other.

    Segments side by side that send to the same core are one difference of running sums.
    """
    route = np.flatnonzero(routes.target != HOST)
    segment, target = routes.segment[route], routes.target[route].astype(np.int64)
    core, population = routes.core[segment], routes.population[segment]
    order = np.lexsort((routes.start[segment], target, core, population))
    segment, target, core, population = (a[order] for a in (segment, target, core, population))
    groups = np.ones(len(order), bool)
    ends = (population, core, target)
    groups[1:] = np.any([a[1:] != a[:-1] for a in ends], axis=0)
    starts = groups.copy()
    starts[1:] |= routes.start[segment[1:]] != routes.stop[segment[:-1]]
    first = np.flatnonzero(starts)
    last = np.append(first[1:], len(order))[: len(first)] - 1
    within = end[segment[last]] - begin[segment[first]]
    sent = _sum_by((np.cumsum(groups) - 1)[first], within, int(groups.sum()))
    return core[groups], target[groups], sent


def _sum_by(
    index: NDArray[np.integer], values: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    """(count,) sums of ``values`` by ``index``, added up in their order."""
    total = np.zeros(count)
    np.add.at(total, index, values)
    return total


def rate_of(load: Workload, source: str, rates: Rates) -> NDArray[np.float64]:
    """Events per token of each neuron of a source (n,)."""
    if source in rates:
        return np.asarray(rates[source], np.float64)
    size = load.sizes[source]  # token ids: one of them per token
    return np.full(size, 1.0 / size)
