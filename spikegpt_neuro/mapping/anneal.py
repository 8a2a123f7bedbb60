r"""Improve where cores stand: simulated annealing on swaps, for fewer hops per token.

.. math:: cost = \sum_{a,b} messages_{ab} \, hops(slot_a, slot_b)

A move swaps two slots, one of which may be empty: half of them anywhere, half beside a core that
it talks to. It is taken if the cost falls, else with probability exp(-rise / temperature)
(Kirkpatrick, Gelatt, Vecchi, Science 1983). The best order seen is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.hardware.mesh import weighted_hops
from spikegpt_neuro.hardware.topology import Indices, Topology
from spikegpt_neuro.mapping.traffic import Traffic

MOVES_PER_CORE = 4000
MOVES = (200_000, 4_000_000)
COOLING = 1e-4  # last temperature against the first
SAMPLES = 1000
RANDOM_ORDERS = 8
NEIGHBOURHOOD = 20


class Neighbours(NamedTuple):
    """Messages between cores in both directions, by core: row k is ``first[k]:first[k + 1]``."""

    first: Indices
    other: Indices
    messages: NDArray[np.float64]


def neighbours_of(traffic: Traffic, cores: int) -> Neighbours:
    """Both directions of a core's traffic under one row (hops do not depend on it)."""
    ends = np.concatenate([traffic.source, traffic.target])
    others = np.concatenate([traffic.target, traffic.source])
    order = np.argsort(ends, kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(ends, minlength=cores))])
    return Neighbours(first, others[order], np.concatenate([traffic.messages] * 2)[order])


def hop_weighted(traffic: Traffic, slots: Indices, topology: Topology) -> float:
    """Messages per token times hops, summed; ``slots[k]`` is where core k stands."""
    hops = topology.hops(slots[traffic.source], slots[traffic.target])
    return float(traffic.messages @ hops)


def random_cost(traffic: Traffic, cores: int, topology: Topology, seed: int) -> float:
    """Mean cost of cores dealt at random over the same chips."""
    rng = np.random.default_rng(seed)
    orders = (rng.permutation(topology.slots)[:cores] for _ in range(RANDOM_ORDERS))
    return float(np.mean([hop_weighted(traffic, order, topology) for order in orders]))


def dealt(cores: int, topology: Topology, seed: int, chip: Sequence[int] | None = None) -> Indices:
    """Slots of the cores (cores,), at random within their chips.

    Where all links are busy, short ways of one kind crowd the same links: dealt at random, traffic
    is even over all of them (Valiant, Brebner, STOC 1981).
    """
    order = np.random.default_rng(seed).permutation(topology.slots)
    if chip is None:
        chip = (np.arange(cores) // topology.usable).tolist()
    return _filled(order, cores, topology, chip)


def in_a_row(cores: int, topology: Topology, chip: Sequence[int] | None = None) -> Indices:
    """Slots of the cores (cores,) along a walk through each chip: what follows stands beside."""
    return _filled(topology.serpentine(), cores, topology, chip)


def improve(traffic: Traffic, cores: int, topology: Topology, seed: int) -> Indices:
    """Slots of the cores (cores,): never worse than in plain order, the same for one seed."""
    plain = np.arange(topology.slots)
    starts = [plain[:cores], topology.serpentine()[:cores]]
    best = min(starts, key=lambda slots: hop_weighted(traffic, slots, topology))
    if cores < 2 or not traffic.messages.any():
        return best
    neighbours = neighbours_of(traffic, cores)
    rest = np.setdiff1d(plain, best)
    slots = np.concatenate([best, rest])  # cores first, then names for the empty slots
    moves = int(np.clip(MOVES_PER_CORE * cores, *MOVES))
    improved: Indices = _anneal(
        slots, cores, *neighbours, topology.coordinates, topology.crossing, moves, np.uint64(seed)
    )[:cores]
    return min([best, improved], key=lambda found: hop_weighted(traffic, found, topology))


def _filled(order: Indices, cores: int, topology: Topology, chip: Sequence[int] | None) -> Indices:
    """The first slots of an order, or of each chip's part of it as many as it has cores."""
    if chip is None:
        return order[:cores]
    counts = np.bincount(chip, minlength=topology.chips)
    return np.concatenate(
        [order[order // topology.usable == k][:n] for k, n in enumerate(counts.tolist())]
    )


@kernel
def _random(state: NDArray[np.uint64]) -> np.float64:
    """Uniform in [0, 1): splitmix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.float64(z >> np.uint64(11)) / 9007199254740992.0


@kernel
def _rise(
    core: int,
    partner: int,
    here: int,
    there: int,
    slots: Indices,
    first: Indices,
    other: Indices,
    messages: NDArray[np.float64],
    at: Indices,
    crossing: float,
) -> float:
    """Change of cost when ``core`` moves from ``here`` to ``there``; its partner's link is kept."""
    total = 0.0
    for k in range(first[core], first[core + 1]):
        neighbour = other[k]
        if neighbour != partner:
            slot = slots[neighbour]
            total += messages[k] * (
                weighted_hops(at, there, slot, crossing) - weighted_hops(at, here, slot, crossing)
            )
    return total


@kernel
def _swap_rise(
    a: int,
    b: int,
    cores: int,
    slots: Indices,
    first: Indices,
    other: Indices,
    messages: NDArray[np.float64],
    at: Indices,
    crossing: float,
) -> float:
    """Change of cost when a and b (empty where >= cores) change places."""
    here, there = slots[a], slots[b]
    rise = _rise(a, b, here, there, slots, first, other, messages, at, crossing)
    if b < cores:
        rise += _rise(b, a, there, here, slots, first, other, messages, at, crossing)
    return rise


@kernel
def _partner(
    a: int,
    state: NDArray[np.uint64],
    slots: Indices,
    names: Indices,
    first: Indices,
    other: Indices,
) -> int:
    """The core to swap with: any, or one beside a core that ``a`` sends to or hears from."""
    count = len(slots)
    degree = first[a + 1] - first[a]
    if degree == 0 or _random(state) < 0.5:
        return int(_random(state) * count)
    friend = slots[other[first[a] + int(_random(state) * degree)]]
    beside = friend + int(_random(state) * (2 * NEIGHBOURHOOD + 1)) - NEIGHBOURHOOD
    return int(names[min(count - 1, max(0, beside))])


@kernel
def _anneal(
    start: Indices,
    cores: int,
    first: Indices,
    other: Indices,
    messages: NDArray[np.float64],
    at: Indices,
    crossing: float,
    moves: int,
    seed: np.uint64,
) -> Indices:
    slots = start.copy()
    names = np.empty_like(slots)  # slot -> core, the inverse of slots
    for name in range(len(slots)):
        names[slots[name]] = name
    state = np.array([seed], np.uint64)
    temperature = 0.0
    for _ in range(SAMPLES):
        a = int(_random(state) * cores)
        b = _partner(a, state, slots, names, first, other)
        if a != b:
            rise = _swap_rise(a, b, cores, slots, first, other, messages, at, crossing)
            temperature += abs(rise) / SAMPLES
    temperature = max(0.1 * temperature, 1e-300)
    factor = COOLING ** (1.0 / moves)
    best = slots.copy()
    cost = 0.0
    lowest = 0.0
    for _ in range(moves):
        temperature *= factor
        a = int(_random(state) * cores)
        b = _partner(a, state, slots, names, first, other)
        if a == b:
            continue
        rise = _swap_rise(a, b, cores, slots, first, other, messages, at, crossing)
        if rise <= 0 or _random(state) < np.exp(-rise / temperature):
            slots[a], slots[b] = slots[b], slots[a]
            names[slots[a]], names[slots[b]] = a, b
            cost += rise
            if cost < lowest - 1e-9:
                lowest = cost
                best[:] = slots
    return best
