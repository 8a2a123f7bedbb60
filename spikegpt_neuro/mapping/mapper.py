"""From graph and hardware profile to a placement, with everything there is to say about it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.mapping.candidates import Bench
from spikegpt_neuro.mapping.goal import Goal
from spikegpt_neuro.mapping.mapped import Hops, Mapped, Refused
from spikegpt_neuro.mapping.partition import ExceedsCore, cores_of, partition
from spikegpt_neuro.mapping.placement import Placement, structure_of
from spikegpt_neuro.mapping.requirements import Violation, Where, Workload, refusals, workload
from spikegpt_neuro.mapping.traffic import Rates
from spikegpt_neuro.running import Run

__all__ = ["Hops", "Mapped", "Refused", "measured_rates", "place", "place_by_activity"]


def measured_rates(graph: SpikingGraph, run: Run) -> Rates:
    """Events per token of every neuron, from a run that recorded every population's events."""
    recorded = dict(run.events) | {graph.output.name: run.logits_int}
    return {name: np.count_nonzero(e, axis=0) / len(e) for name, e in recorded.items()}


def place(
    graph: SpikingGraph,
    profile: Profile,
    rates: Rates,
    *,
    goal: Goal = Goal(),  # noqa: B008
    embedding: Where = "host",
    head: Where = "chip",
    seed: int = 0,
    artifact: str | None = None,
) -> Mapped | Refused:
    """Place ``graph`` on ``profile``; ``rates`` weigh the traffic.

    The same arguments give the same placement. ``artifact`` is kept in the placement (the
    sha256 of config.json).

    Raises :class:`UnsupportedInput` naming a constant that the goal needs and the profile lacks.
    """
    goal = goal.on(profile)
    load = workload(graph, profile, embedding, head, steps=goal.steps)
    if violations := refusals(graph, profile, embedding, head, goal.steps):
        return Refused(tuple(violations), load)
    try:
        candidates = partition(load, profile)
    except ExceedsCore as error:
        return Refused((error.violation,), load)
    cores = cores_of(candidates[0])
    chips, limit = chips_for(cores, profile), profile.count("system.chips")
    if chips > min(limit, goal.chips or limit):
        violation = _too_many_chips(graph, profile, embedding, head, cores, goal)
        return Refused((violation,), load, cores, chips)
    blank = Placement(
        hardware=profile.name,
        hardware_sha256=profile.sha256,
        graph=structure_of(graph),
        artifact=artifact,
        embedding=embedding,
        head=head,
        seed=seed,
        chips=max(1, chips),
        usable_cores=profile.count("chip.usable_cores"),
        sites=(),
        pieces=(),
        steps=goal.steps,
        objective=goal.objective or "cores",
        schedule=goal.schedule,
    )
    bench = Bench(graph, profile, rates, load, blank)
    if goal.objective == "cores" or not load.demands:
        return bench.packed(candidates)
    return bench.fastest(goal, candidates)


def place_by_activity(
    graph: SpikingGraph,
    profile: Profile,
    measure: Callable[[], Rates],
    *,
    goal: Goal = Goal(),  # noqa: B008
    embedding: Where = "host",
    head: Where = "chip",
    seed: int = 0,
    artifact: str | None = None,
) -> Mapped:
    """Place ``graph`` as :func:`place` does, its traffic weighed by what ``measure()`` gives.

    ``measure``  events per token of every neuron; not asked where no placement can be.

    Raises :class:`DoesNotFit`, which holds every violation.
    """
    rates = {} if refusals(graph, profile, embedding, head, goal.steps) else measure()
    found = place(
        graph,
        profile,
        rates,
        goal=goal,
        embedding=embedding,
        head=head,
        seed=seed,
        artifact=artifact,
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


def _too_many_chips(
    graph: SpikingGraph, profile: Profile, embedding: Where, head: Where, cores: int, goal: Goal
) -> Violation:
    available, needed = profile.count("system.chips"), chips_for(cores, profile)
    is_limited = goal.chips is not None and goal.chips < available
    available = min(available, goal.chips or available)
    where = "allowed are" if is_limited else f"{profile.name} has"
    plural = "s" * (available > 1)
    problem = (
        f"the model fills {cores:,} cores of {needed} chips, {where} {available} "
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
    larger = f"chips={needed}" if is_limited else f"a system of {needed} or more chips"
    return Violation("system", problem, ", ".join([*offers, f"{larger} fits"]))


def _cores_with(
    graph: SpikingGraph, profile: Profile, embedding: Where, head: str, bits: int
) -> int | None:
    load = workload(graph, profile, embedding, "host" if head == "host" else "chip", bits)
    try:
        return cores_of(partition(load, profile)[0])
    except ExceedsCore:
        return None
