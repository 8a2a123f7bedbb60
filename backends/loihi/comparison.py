"""What the chip part should have cost by a profile's constants, beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np

from spikegpt_neuro.backends.loihi.capacity import Capacity
from spikegpt_neuro.backends.loihi.deployment import Trip
from spikegpt_neuro.backends.reference.synapses import Synapses
from spikegpt_neuro.energy.events import HardwareEvents
from spikegpt_neuro.energy.pricing import CATEGORY_OF, Time, price
from spikegpt_neuro.energy.record import SHARED, Estimate, Range, added
from spikegpt_neuro.running import Run

COUNTED: Mapping[str, str] = {
    "syn_ops": "synaptic_operation",
    "spikes_in": "axon_in",
    "dendrite_updates": "neuron_access",
    "axon_out": "axon_out",
}
"""Counter of the chip -> the hardware event that it counts."""


@dataclass(frozen=True)
class ComparedQuantity:
    """One quantity of a category; ``ratio``: measured over estimated, None where that is 0."""

    category: str
    quantity: str
    unit: str
    measured: float
    estimated: Range

    @property
    def ratio(self) -> float | None:
        return self.measured / self.estimated.value if self.estimated.value else None


def events_on_chip(plan: Capacity, reference: Run) -> Mapping[str, HardwareEvents]:
    """Trip -> what the chip did for it, from the reference's events of the same tokens.

    Hops are not counted: where Lava's compiler puts the cores is not known.
    """
    steps = len(reference.tokens) + plan.deployment.depth
    return {
        trip.name: _events(trip, plan.cores_holding(trip), reference, steps)
        for trip in plan.deployment.trips
    }


def _events(trip: Trip, cores: int, reference: Run, steps: int) -> HardwareEvents:
    leaving = np.asarray(reference.events[trip.source.name], np.int32)[:, trip.first : trip.last]
    sent = int(np.count_nonzero(leaving))
    if trip.lif is not None:
        answered, met = int(np.count_nonzero(reference.events[trip.lif.name])), sent
    else:
        whole = np.zeros((len(leaving), trip.source.size), np.int32)
        whole[:, trip.first : trip.last] = leaving
        sums = Synapses(trip.projection, trip.source.events).accumulate(whole)
        answered, met = int(np.count_nonzero(sums)), sent * trip.target.size
    messages = sent if trip.lif is not None else sent * cores
    return HardwareEvents(
        neuron_access=trip.target.size * steps,
        neuron_update=trip.target.size * len(reference.tokens),
        spike_out=answered,
        axon_out=answered,
        axon_in=messages,
        synaptic_operation=met,
        graded_payload_bit=met * (trip.source.events.bits - 1),
        host_message=messages + answered,
    )


def compare(measured: Estimate, plan: Capacity, reference: Run) -> Sequence[ComparedQuantity]:
    """Measured against estimated, category by category.

    The estimate prices the events of the same tokens, and static power over the measured time.
    """
    events = events_on_chip(plan, reference)
    found = price(events, Time(measured.seconds), measured.chips, plan.profile)
    static = found.joules["static"]
    dynamic = added(j for name, j in found.joules.items() if name not in SHARED)
    rows = [
        ComparedQuantity("static", "energy", "J", measured.joules["static"].value, static),
        ComparedQuantity("dynamic", "energy", "J", measured.undivided.value, dynamic),
        ComparedQuantity("total", "energy", "J", measured.total.value, static + dynamic),
    ]
    total = reduce(add, events.values(), HardwareEvents())
    for counter, name in COUNTED.items():
        if counter in measured.raw["counts"]:
            expected = Range.exactly(getattr(total, name))
            counted = measured.raw["counts"][counter]
            rows.append(ComparedQuantity(CATEGORY_OF[name], name, "", counted, expected))
    return rows
