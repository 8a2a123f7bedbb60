"""Whether the chip part of a deployment fits a hardware profile, by the mapper's own packing.

The populations of the chip are the neurons at the end of each trip: the LIFs, and those that send
the sums of a dense projection. Their events go to the host. Lava's compiler places them in its own
way; this says beforehand whether there is room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spikegpt_neuro.backends.loihi.deployment import Deployment, Trip
from spikegpt_neuro.errors import DoesNotFit
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.mapping.mapper import chips_for
from spikegpt_neuro.mapping.partition import cores_of, partition
from spikegpt_neuro.mapping.placement import Placement, structure_of
from spikegpt_neuro.mapping.requirements import Demand, Input, Reader, Workload, stored_bits
from spikegpt_neuro.mapping.sparse_lists import SparseLists
from spikegpt_neuro.mapping.traffic import Piece

STOCK_STATE_WORDS = {"lif": 2, "graded": 1}
"""Words of state of a stock neuron: current and voltage; the sum."""
ACCUMULATOR_WORDS = 1
PARAMETER_WORDS = 3


@dataclass(frozen=True)
class Capacity:
    """``pieces``: neurons of the chip part on cores, numbered in the order data flows."""

    deployment: Deployment
    profile: Profile
    load: Workload
    pieces: tuple[Piece, ...]

    @property
    def cores(self) -> int:
        return cores_of(self.pieces)

    @property
    def chips(self) -> int:
        return chips_for(self.cores, self.profile)

    def cores_holding(self, trip: Trip) -> int:
        """Cores among which the neurons at the end of ``trip`` are divided."""
        return len({piece.core for piece in self.pieces if piece.population == trip.name})

    def placement(self, artifact: str | None = None) -> Placement:
        """The packing as a placement: what is not in it is on the host."""
        usable = self.profile.count("chip.usable_cores")
        return Placement(
            hardware=self.profile.name,
            hardware_sha256=self.profile.sha256,
            graph=structure_of(self.deployment.graph),
            artifact=artifact,
            embedding="host",
            head="chip" if self._has_head else "host",
            seed=0,
            chips=self.chips,
            usable_cores=usable,
            sites=tuple(divmod(core, usable) for core in range(self.cores)),
            pieces=self.pieces,
        )

    @property
    def _has_head(self) -> bool:
        output = self.deployment.graph.output.name
        return any(trip.target.name == output for trip in self.deployment.trips)


def capacity(deployment: Deployment, profile: Profile) -> Capacity:
    """Pack the chip part.

    Raises :class:`DoesNotFit` naming the first limit that does not hold.
    """
    support = profile.support
    for trip in deployment.trips:
        bits = max(trip.leaving_bits, trip.returning_bits)
        if bits > support.payload_bits:
            raise DoesNotFit(
                f"{trip.name}: messages of {bits} bits, cores of {profile.name} carry "
                f"{support.payload_bits}; choose a chip with graded events"
            )
    load = _workload(deployment.trips, deployment.graph.weight_bits, profile)
    pieces = partition(load, profile)[0]
    found = Capacity(deployment, profile, load, tuple(pieces))
    available = profile.count("system.chips")
    if found.chips > available:
        raise DoesNotFit(
            f"the chip part fills {found.cores:,} cores of {found.chips} chips, {profile.name} has "
            f"{available}; put fewer layers on the chip (layers=..., only_projection=...)"
        )
    return found


def _workload(trips: Sequence[Trip], weight_bits: int, profile: Profile) -> Workload:
    bits = stored_bits(weight_bits, profile.support)
    word = profile.encoding.state_word
    demands = tuple(_demand(trip, bits, word) for trip in trips)
    readers: dict[str, tuple[Reader, ...]] = {trip.name: () for trip in trips}
    for demand in demands:
        (only,) = demand.inputs
        readers[only.source] = (Reader(demand.name, only.dense, only.sparse),)
    sizes = {trip.name: trip.target.size for trip in trips} | {
        _leaving(trip): trip.last - trip.first for trip in trips
    }
    return Workload(demands, sizes, readers, frozenset(trip.name for trip in trips))


def _leaving(trip: Trip) -> str:
    """The host's end of a trip."""
    return f"host -> {trip.name}"


def _demand(trip: Trip, bits: int, word: int) -> Demand:
    kind = "graded" if trip.lif is None else "lif"
    dense = trip.lif is None
    fan_in, lists = trip.last - trip.first if dense else 1, None
    if trip.projection.sparse is not None:
        lists = SparseLists(trip.projection.sparse, trip.first, trip.last)
        fan_in = lists.fan_in
    return Demand(
        name=trip.name,
        size=trip.target.size,
        program=kind,
        inputs=(Input(_leaving(trip), fan_in, bits if dense else 1, dense, lists),),
        neuron_bytes=word * (STOCK_STATE_WORDS[kind] + ACCUMULATOR_WORDS),
        shared_bytes=word * PARAMETER_WORDS,
        whole=False,
    )
