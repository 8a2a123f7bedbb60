"""From pieces to a placement with its figures, and which of several placements is best."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.machine import Machine
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.hardware.topology import Indices, Topology
from spikegpt_neuro.mapping.anneal import dealt, hop_weighted, improve, in_a_row, random_cost
from spikegpt_neuro.mapping.cost import Prediction, predict
from spikegpt_neuro.mapping.goal import Goal
from spikegpt_neuro.mapping.mapped import Hops, Mapped
from spikegpt_neuro.mapping.partition import cores_of
from spikegpt_neuro.mapping.placed_machine import machine_of
from spikegpt_neuro.mapping.placement import Placement
from spikegpt_neuro.mapping.requirements import Workload
from spikegpt_neuro.mapping.routes import Piece, Routes, routes_of
from spikegpt_neuro.mapping.spreading import spreads
from spikegpt_neuro.mapping.traffic import Rates, Traffic, traffic_of, usage_of
from spikegpt_neuro.mapping.work import Work
from spikegpt_neuro.units import digits

LOG = logging.getLogger(__name__)
ROOM = 0.8
"""Share of the chips' synaptic memory up to which it is no limit."""
MORE_CHIPS = 1.5
"""How many more chips than the count before are tried, as long as that pays."""
IN_VAIN = 3
"""Counts of chips on which nothing packed after which the search ends."""
SURE = 0.9
"""Against the fewest cores: a score below this is better by more than predictions err."""
PAYS = 0.98
"""A score that is no more than this, against the one before, is worth more chips."""


@dataclass(frozen=True)
class Candidate:
    """Placed neurons before their cores are moved about, and what they are expected to take."""

    routes: Routes
    placement: Placement
    prediction: Prediction
    score: float


@dataclass(frozen=True)
class Bench:
    """One graph on one profile; ``blank`` is its placement without cores."""

    graph: SpikingGraph
    profile: Profile
    rates: Rates
    load: Workload
    blank: Placement

    def packed(self, candidates: Sequence[list[Piece]]) -> Mapped:
        """The partition whose traffic is the least in plain order, its cores annealed."""
        cores, topology = cores_of(candidates[0]), self._topology(self.blank.chips)
        routed = [(pieces, routes_of(self.load, pieces, cores)) for pieces in candidates]
        found = [(p, routes, traffic_of(self.load, routes, self.rates)) for p, routes in routed]
        plain = np.arange(cores)
        pieces, _, traffic = min(found, key=lambda each: hop_weighted(each[2], plain, topology))
        slots = improve(traffic, cores, topology, self.blank.seed)
        placement = self._placement(pieces, slots, topology)
        routes = placement.routes(self.load, self.profile)
        try:
            prediction = self._prediction(routes, placement)
        except UnsupportedInput:  # a profile without times: places, and tells none
            prediction = None
        return self._mapped(placement, routes, traffic, topology, prediction)

    def fastest(self, goal: Goal, candidates: Sequence[list[Piece]]) -> Mapped:
        """The best of the packed partition and of those spread over more and more chips."""
        LOG.info("placing for %s (%s)", goal.objective, goal.timed)
        packed, known = self._candidate(goal, candidates[0], None), dict[str, int]()
        best, vain = packed, 0
        for chips in self._chip_counts(goal):
            found = [
                self._candidate(goal, each.pieces, each.chip)
                for each in spreads(
                    self.work, self.profile, goal.timed, chips, self.blank.seed, known
                )
            ]
            if not found:
                vain += 1
                if vain == IN_VAIN:
                    break
                continue
            other = min(found, key=lambda each: each.score)
            tokens = 1 / other.prediction.seconds[goal.timed]
            LOG.info(
                "spread over %s: %s tokens/s predicted",
                f"{chips} chip{'s' * (chips != 1)}",
                digits(tokens),
            )
            pays = other.score < PAYS * best.score
            best = min(best, other, key=lambda each: each.score)
            if chips > self.blank.chips and not pays:
                break
            if goal.objective == "energy" and self._has_room(other, chips):
                break
        return self._settled(best if best.score < SURE * packed.score else packed)

    def _settled(self, best: Candidate) -> Mapped:
        """A candidate with all that is said of it."""
        traffic = self._traffic(best.placement.pieces)
        topology = self._topology(best.placement.chips)
        return self._mapped(best.placement, best.routes, traffic, topology, best.prediction)

    def _traffic(self, pieces: Sequence[Piece]) -> Traffic:
        return traffic_of(self.load, routes_of(self.load, pieces, cores_of(pieces)), self.rates)

    def _chip_counts(self, goal: Goal) -> Iterator[int]:
        chips, system = self.blank.chips, self.profile.count("system.chips")
        limit = min(system, goal.chips or system)
        while chips < limit:
            yield chips
            chips = max(chips + 1, int(chips * MORE_CHIPS))
        yield limit

    def _has_room(self, other: Candidate, chips: int) -> bool:
        """Whether memory keeps nothing from being spread: more chips then only draw more power."""
        usage = usage_of(self.load, other.placement.pieces, other.routes, self.profile)
        cores = chips * self.blank.usable_cores
        return int(usage.synaptic_memory.sum()) < ROOM * cores * self.profile.limits.synaptic_memory

    def _candidate(
        self, goal: Goal, pieces: Sequence[Piece], chip: tuple[int, ...] | None
    ) -> Candidate:
        cores = cores_of(pieces)
        chips = self.blank.chips if chip is None else max(chip) + 1
        topology = self._topology(chips)
        if chip is None:
            slots = improve(self._traffic(pieces), cores, topology, self.blank.seed)
        else:
            slots = self._slots(goal, cores, topology, chip)
        placement = self._placement(pieces, slots, topology)
        routes = placement.routes(self.load, self.profile)
        prediction = self._prediction(routes, placement)
        score = goal.score(prediction, placement, self.profile)
        return Candidate(routes, placement, prediction, score)

    def _slots(self, goal: Goal, cores: int, topology: Topology, chip: tuple[int, ...]) -> Indices:
        """Where cores stand: dealt out where all are busy at once, else as data flows."""
        if goal.timed == "pipelined":
            return dealt(cores, topology, self.blank.seed, chip)
        return in_a_row(cores, topology, chip)

    @cached_property
    def work(self) -> Work:
        """What every unit takes, on cores of this profile."""
        usable, chips = self.blank.usable_cores, self.blank.chips
        whole = [(chip, core) for chip in range(chips) for core in range(usable)]
        latencies = self._machine(replace(self.blank, sites=tuple(whole))).latencies
        return Work.of(self.graph, self.load, self.rates, latencies)

    def _machine(self, placement: Placement) -> Machine:
        return machine_of(self.profile, placement, weight_bits=self.graph.weight_bits)

    def _prediction(self, routes: Routes, placement: Placement) -> Prediction:
        return predict(self.work, routes, self.rates, self._machine(placement))

    def _placement(self, pieces: Sequence[Piece], slots: Indices, topology: Topology) -> Placement:
        return replace(
            self.blank,
            chips=topology.chips,
            sites=tuple((int(s) // topology.usable, int(s) % topology.usable) for s in slots),
            pieces=tuple(pieces),
        )

    def _mapped(
        self,
        placement: Placement,
        routes: Routes,
        traffic: Traffic,
        topology: Topology,
        prediction: Prediction | None,
    ) -> Mapped:
        slots = placement.slots
        hops = Hops(
            placed=hop_weighted(traffic, slots, topology),
            plain_order=hop_weighted(traffic, np.arange(len(slots)), topology),
            random_order=random_cost(traffic, len(slots), topology, self.blank.seed),
        )
        usage = usage_of(self.load, placement.pieces, routes, self.profile)
        return Mapped(placement, self.load, usage, traffic, topology, hops, prediction)

    def _topology(self, chips: int) -> Topology:
        return Topology.of(self.profile, max(1, chips))
