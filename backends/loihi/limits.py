"""Limits of a deployment: of the stock processes' arithmetic, of the machine, and of the chips."""

from __future__ import annotations

from spikegpt_neuro.backends.lava.limits import lif_problems
from spikegpt_neuro.backends.lava.machine import SLOTS, Footprint, check_machine
from spikegpt_neuro.backends.loihi.deployment import Deployment
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.neurons.lif import LIF

PROCESSES_PER_TRIP = 4
CHANNELS_PER_TRIP = 5
PROCESSES_BESIDE = 2  # the host's, and Lava's runtime service


def check_arithmetic(deployment: Deployment) -> None:
    """Raise :class:`UnsupportedInput` naming what the stock processes would compute otherwise.

    A sum that fits a message (see :attr:`Deployment.trips`) cannot overflow a Dense.
    """
    graph = deployment.graph
    for trip in deployment.trips:
        if trip.lif is not None and isinstance(trip.lif.program, LIF):
            for problem in lif_problems(graph, trip.lif.name, trip.lif.program):
                raise UnsupportedInput(f"loihi: {problem}; keep it on the host (layers=...)")


def footprint(deployment: Deployment) -> Footprint:
    """What a rehearsal takes of this machine."""
    trips = deployment.trips
    return Footprint(
        processes=PROCESSES_PER_TRIP * len(trips) + PROCESSES_BESIDE,
        channels=CHANNELS_PER_TRIP * len(trips),
        synapses=sum(t.target.size * (t.last - t.first) for t in trips if t.lif is None),
        words=SLOTS * sum(2 * (t.last - t.first) + 3 * t.target.size for t in trips),
    )


def check_rehearsal(deployment: Deployment, recorded: int) -> None:
    """Raise :class:`DoesNotFit` where this machine cannot hold all processes at once.

    ``recorded``: number of files that hold events.
    """
    check_machine(
        footprint(deployment), recorded, "rehearse less at a time (layers=..., only_projection=...)"
    )
