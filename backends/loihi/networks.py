"""From a deployment to a network of Lava Processes. Imports Lava; only the worker uses this.

Each trip is a chain: host - adapter - synapses - neurons - adapter - host. Synapses send no
events, so a stock GradedVec with threshold 0 sends its sums; the current of a LIF has to pass
synapses, so a stock Sparse with weight 1 hands it over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from lava.magma.core.resources import Loihi2NeuroCore, NeuroCore
from lava.proc.graded.process import GradedVec
from lava.proc.sparse.process import Sparse
from numpy.typing import NDArray
from scipy.sparse import identity

from spikegpt_neuro.backends.lava.networks import stock_lif, stock_synapses
from spikegpt_neuro.backends.lava.steps import Recorder
from spikegpt_neuro.backends.loihi.deployment import Deployment, Trip
from spikegpt_neuro.backends.loihi.host import HostStep
from spikegpt_neuro.backends.loihi.platforms import Platform
from spikegpt_neuro.backends.loihi.processes.host import host_process
from spikegpt_neuro.errors import CheckFailed


@dataclass(frozen=True)
class ChipNetwork:
    """Connected Lava Processes.

    ``entry``    the host's process; Lava finds the others.
    ``on_chip``  the stock processes, by what they are for.
    ``depth``    time steps that it needs beyond one per token.
    """

    entry: Any
    depth: int
    on_chip: Mapping[str, Any]


def network_of(
    deployment: Deployment,
    platform: Platform,
    tokens: NDArray[np.int64],
    recorders: Mapping[str, Recorder],
) -> ChipNetwork:
    """The network that runs ``tokens``; the platform alone decides where."""
    trips = deployment.trips
    step = HostStep(deployment, tokens, recorders)
    back = [t.target.size for t in trips]
    away = [t.last - t.first for t in trips]
    host = host_process(step, back, away)
    on_chip: dict[str, Any] = {}
    for index, trip in enumerate(trips):
        synapses, neurons = _stock(trip)
        there = platform.to_chip(trip.last - trip.first, trip.leaving_bits)
        again = platform.to_host(trip.target.size, trip.returning_bits)
        getattr(host, f"out_{index}").connect(there.inp)
        there.out.connect(synapses.s_in)
        synapses.a_out.connect(neurons.a_in)
        neurons.s_out.connect(again.inp)
        again.out.connect(getattr(host, f"in_{index}"))
        on_chip |= {f"synapses of {trip.name}": synapses, f"neurons of {trip.name}": neurons}
    return ChipNetwork(host, deployment.depth, on_chip)


def _stock(trip: Trip) -> tuple[Any, Any]:
    """The synapses and neurons of a trip."""
    if trip.lif is not None:
        one = identity(trip.lif.size, dtype=np.int32, format="csr")
        return Sparse(weights=one, num_message_bits=trip.leaving_bits), stock_lif(trip.lif)
    sources = slice(trip.first, trip.last)
    synapses = stock_synapses(trip.projection, trip.leaving_bits, sources)
    return synapses, GradedVec(shape=(trip.target.size,), vth=0)


def check_on_neuro_cores(network: ChipNetwork) -> None:
    """Raise :class:`CheckFailed` if Lava chose a CPU model for anything that belongs on the chip.

    Lava does so without a word where it finds no other model; nothing would be measured then.
    """
    cores = {NeuroCore, Loihi2NeuroCore}
    for name, process in network.on_chip.items():
        if not cores & set(process.model_class.required_resources):
            raise CheckFailed(
                f"{name}: this Lava has no neuro-core model of {type(process).__name__}, the chip "
                "would stand idle; check the installation of Lava's Loihi extension"
            )
