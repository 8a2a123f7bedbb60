r"""Networks of LIF neurons on cores as SANA-FE knows them: binary spikes and dense synapses.

.. math::
    v[t] &= \mathrm{trunc}(64 \, leak \, v[t-1]) / 64 + bias + \sum_{i \to j} w_{ij} s_i[t-1] \\
    s[t] &= [v[t] > threshold], \qquad v[t] \leftarrow 0 \text{ where } s[t]

A neuron is accessed in every step. It is updated only if its potential is not 0, a spike reached it
over any synapse (of weight 0 too), it has a bias, or its threshold is negative. Parameters have
single precision, potentials and sums double: where all weights are multiples of a power of two that
is not too fine, sums are exact, whatever their order.

This is the LIF of SANA-FE 2.2.9's Loihi, learned from its documentation and by running it; the
integer LIF of a SpikeGPT is :mod:`spikegpt_neuro.neurons.lif`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.hardware.machine import Machine
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.mapping.placed_machine import machine_of
from spikegpt_neuro.mapping.placement import Placement

Parameters = NDArray[np.float32]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Dense:
    """Synapses of neurons ``source`` on with neurons ``target`` on; ``weights`` (n, m)."""

    source: int
    target: int
    weights: Parameters


@dataclass(frozen=True)
class LIFNetwork:
    """Placed neurons; a core walks its own in the order of their numbers.

    ``threshold``, ``leak``, ``bias``  (N,). ``core``  (N,) index among the machine's cores.
    """

    threshold: Parameters
    leak: Parameters
    bias: Parameters
    core: Indices
    projections: tuple[Dense, ...]

    @property
    def size(self) -> int:
        return len(self.core)

    @cached_property
    def routes(self) -> NeuronRoutes:
        """Messages of every neuron: one to each core that holds a target, cores ascending."""
        cores = int(self.core.max()) + 1
        edges = {0, self.size}
        for p in self.projections:
            edges |= {p.source, p.source + len(p.weights)}
        starts = sorted(edges)
        met = np.zeros((len(starts) - 1, cores), np.int64)
        for p in self.projections:
            of_core = np.bincount(
                self.core[p.target : p.target + p.weights.shape[1]], minlength=cores
            )
            met[starts.index(p.source) : starts.index(p.source + len(p.weights))] += of_core
        segment, target = np.nonzero(met)
        return NeuronRoutes(
            segment=np.repeat(np.arange(len(starts) - 1), np.diff(starts)),
            first=np.searchsorted(segment, np.arange(len(starts))),
            target=target.astype(np.int32),
            synapses=met[segment, target].astype(np.int32),
        )


@dataclass(frozen=True)
class NeuronRoutes:
    """Neuron i sends messages ``first[s]:first[s + 1]``, with s = ``segment[i]``."""

    segment: Indices
    first: Indices
    target: NDArray[np.int32]
    synapses: NDArray[np.int32]


def machine_on(profile: Profile, cores: Sequence[int]) -> Machine:
    """The machine of these cores of the first chip, ascending; raises as ``machine_of`` does."""
    placement = Placement(
        hardware=profile.name,
        hardware_sha256=profile.sha256,
        graph="",
        artifact=None,
        embedding="host",
        head="chip",
        seed=0,
        chips=1,
        usable_cores=profile.count("chip.usable_cores"),
        sites=tuple((0, core) for core in cores),
        pieces=(),
    )
    return machine_of(profile, placement)
