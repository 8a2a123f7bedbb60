"""From graph and hardware profile to a placement, with everything there is to say about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from spikegpt_neuro.errors import DoesNotFit
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.hardware.topology import Topology
from spikegpt_neuro.mapping.anneal import hop_weighted, improve, random_cost
from spikegpt_neuro.mapping.partition import ExceedsCore, cores_of, partition
from spikegpt_neuro.mapping.placement import Placement, structure_of
from spikegpt_neuro.mapping.requirements import Violation, Where, Workload, refusals, workload
from spikegpt_neuro.mapping.routes import Piece, Routes, routes_of
from spikegpt_neuro.mapping.traffic import Rates, Traffic, Usage, traffic_of, usage_of
from spikegpt_neuro.running import Run


@dataclass(frozen=True)
class Hops:
    """Hop-weighted traffic, messages x hops per token: as placed, with cores numbered through
    in the order data flows, and dealt at random over the same chips (a mean of 8).
    """  # noqa: D205

    placed: float
    plain_order: float
    random_order: float


@dataclass(frozen=True)
class Mapped:
    """A model on a chip, without a violation."""

    placement: Placement
    load: Workload = field(repr=False)
    usage: Usage = field(repr=False)
    traffic: Traffic = field(repr=False)
    topology: Topology = field(repr=False)
    hops: Hops

    @property
    def cores(self) -> int:
        return len(self.placement.sites)


@dataclass(frozen=True)
class Refused:
    """Why there is no placement; ``cores`` and ``chips`` where only chips are missing."""

    violations: tuple[Violation, ...]
    load: Workload
    cores: int | None = None
    chips: int | None = None

    def error(self, profile: Profile) -> DoesNotFit:
        """The same as an error; its text is the first violation."""
        first, *more = self.violations
        figures = {
            "hardware": profile.name,
            "chips": self.chips,
            "cores": self.cores,
            "neurons": self.load.neurons,
            "synapses": self.load.dense_synapses,
            "synaptic_memory_used": None,
            "utilization": None,
        }
        others = f" (and {len(more)} more, see violations)" if more else ""
        return DoesNotFit(f"{first}{others}", self.violations, figures)


def measured_rates(graph: SpikingGraph, run: Run) -> Rates:
    """Events per token of every neuron, from a run that recorded every population's events."""
    recorded = dict(run.events) | {graph.output.name: run.logits_int}
    return {name: np.count_nonzero(e, axis=0) / len(e) for name, e in recorded.items()}


def place(
    graph: SpikingGraph,
    profile: Profile,
    rates: Rates,
    *,
    embedding: Where = "host",
    head: Where = "chip",
    seed: int = 0,
    artifact: str | None = None,
) -> Mapped | Refused:
    """Place ``graph`` on ``profile``; ``rates`` weigh the traffic.

    The same arguments give the same placement. ``artifact`` is kept in the placement (the
    sha256 of config.json).
    """
    load = workload(graph, profile, embedding, head)
    if violations := refusals(graph, profile, embedding, head):
        return Refused(tuple(violations), load)
    try:
        candidates = partition(load, profile)
    except ExceedsCore as error:
        return Refused((error.violation,), load)
    cores = cores_of(candidates[0])
    chips = chips_for(cores, profile)
    if chips > profile.count("system.chips"):
        violation = _too_many_chips(graph, profile, embedding, head, cores)
        return Refused((violation,), load, cores, chips)
    topology = Topology.of(profile, max(1, chips))
    pieces, routes, traffic = _least_traffic(load, candidates, rates, topology)
    slots = improve(traffic, cores, topology, seed)
    placement = Placement(
        hardware=profile.name,
        hardware_sha256=profile.sha256,
        graph=structure_of(graph),
        artifact=artifact,
        embedding=embedding,
        head=head,
        seed=seed,
        chips=topology.chips,
        usable_cores=topology.usable,
        sites=tuple((int(s) // topology.usable, int(s) % topology.usable) for s in slots),
        pieces=tuple(pieces),
    )
    hops = Hops(
        placed=hop_weighted(traffic, slots, topology),
        plain_order=hop_weighted(traffic, np.arange(cores), topology),
        random_order=random_cost(traffic, cores, topology, seed),
    )
    usage = usage_of(load, pieces, routes, profile)
    return Mapped(placement, load, usage, traffic, topology, hops)


def place_by_activity(
    graph: SpikingGraph,
    profile: Profile,
    measure: Callable[[], Rates],
    *,
    embedding: Where = "host",
    head: Where = "chip",
    seed: int = 0,
    artifact: str | None = None,
) -> Mapped:
    """Place ``graph`` as :func:`place` does, its traffic weighed by what ``measure()`` gives.

    ``measure``  events per token of every neuron; not asked where no placement can be.

    Raises :class:`DoesNotFit`, which holds every violation.
    """
    rates = {} if refusals(graph, profile, embedding, head) else measure()
    found = place(
        graph, profile, rates, embedding=embedding, head=head, seed=seed, artifact=artifact
    )
    if isinstance(found, Refused):
        raise found.error(profile)
    return found


def chips_for(cores: int, profile: Profile) -> int:
    """Chips that hold this many cores."""
    return -(-cores // profile.count("chip.usable_cores"))


def lower_bound_cores(load: Workload, profile: Profile) -> int:
    """Cores that the dense weights alone would fill, with no overhead at all."""
    return max(1, -(-load.weight_bytes // profile.limits.synaptic_memory))


def _least_traffic(
    load: Workload, candidates: Sequence[list[Piece]], rates: Rates, topology: Topology
) -> tuple[list[Piece], Routes, Traffic]:
    """The partition whose traffic is the least in plain order; ties go to the first."""
    cores = cores_of(candidates[0])
    routed = [(pieces, routes_of(load, pieces, cores)) for pieces in candidates]
    found = [(pieces, routes, traffic_of(load, routes, rates)) for pieces, routes in routed]
    plain = np.arange(cores)
    return min(found, key=lambda each: hop_weighted(each[2], plain, topology))


def _too_many_chips(
    graph: SpikingGraph, profile: Profile, embedding: Where, head: Where, cores: int
) -> Violation:
    available, needed = profile.count("system.chips"), chips_for(cores, profile)
    plural = "s" * (available > 1)
    problem = (
        f"the model fills {cores:,} cores of {needed} chips, {profile.name} has {available} "
        f"chip{plural} ({needed - available} missing)"
    )
    smaller = {
        f"weight_bits={bits} at convert": (head, bits)
        for bits in (6, 4)
        if bits < graph.weight_bits
    }
    if head == "chip":
        smaller = {"head='host'": ("host", graph.weight_bits), **smaller}
    offers = [
        f"{option} takes {chips_for(found, profile)}"
        for option, (place_of_head, bits) in smaller.items()
        if (found := _cores_with(graph, profile, embedding, place_of_head, bits)) is not None
    ]
    larger = f"a system of {needed} or more chips fits"
    return Violation("system", problem, ", ".join([*offers, larger]))


def _cores_with(
    graph: SpikingGraph, profile: Profile, embedding: Where, head: str, bits: int
) -> int | None:
    load = workload(graph, profile, embedding, "host" if head == "host" else "chip", bits)
    try:
        return cores_of(partition(load, profile)[0])
    except ExceedsCore:
        return None
