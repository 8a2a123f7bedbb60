"""A run of a :class:`~lif_network.LIFNetwork`, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.backends.cycle.traffic.messages import StepMessages
from spikegpt_neuro.energy.events import HardwareEvents
from spikegpt_neuro.energy.hardware import ways_of
from spikegpt_neuro.hardware.machine import Latencies, Machine
from spikegpt_neuro.hardware.mesh import Mesh

from lif_network import LIFNetwork, NeuronRoutes

Floats = NDArray[np.float64]
Parameters = NDArray[np.float32]
Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]

RESOLUTION = 64.0  # steps of the potential within 1, once it has leaked


@dataclass(frozen=True)
class LIFStep:
    """One time step: its messages, what the hardware did, and which neurons fired (N,)."""

    messages: StepMessages
    events: HardwareEvents
    fired: Flags


def simulate(network: LIFNetwork, machine: Machine, steps: int) -> Iterator[LIFStep]:
    """Run the network from rest; every step's spikes arrive in the next one."""
    potential, current = np.zeros(network.size), np.zeros(network.size)
    reached = np.zeros(network.size, bool)
    by_core = np.argsort(network.core, kind="stable")
    first = np.searchsorted(network.core[by_core], np.arange(machine.mesh.cores + 1))
    for _ in range(steps):
        fired, updated = np.zeros(network.size, bool), np.zeros(network.size, bool)
        _update(
            potential,
            current,
            reached,
            network.threshold,
            network.leak,
            network.bias,
            fired,
            updated,
        )
        current[:], reached[:] = 0.0, False
        for p in network.projections:
            _deliver(fired, p.source, p.target, p.weights, current, reached)
        messages = _messages(network.routes, by_core, first, fired, updated, machine.latencies)
        yield LIFStep(messages, _events(messages, fired, updated, machine.mesh), fired)


@kernel
def _update(
    potential: Floats,
    current: Floats,
    reached: Flags,
    threshold: Parameters,
    leak: Parameters,
    bias: Parameters,
    fired: Flags,
    updated: Flags,
) -> None:
    """Step ``potential`` (N,) in place; set the flags of who was updated and who fired."""
    for i in range(len(potential)):
        updated[i] = potential[i] != 0.0 or reached[i] or bias[i] != 0.0 or threshold[i] < 0.0
        if updated[i]:
            leaked = np.trunc(potential[i] * leak[i] * RESOLUTION) / RESOLUTION
            v = leaked + (current[i] + bias[i])
            fired[i] = v > threshold[i]
            potential[i] = 0.0 if fired[i] else v


@kernel
def _deliver(
    fired: Flags, source: int, target: int, weights: Parameters, current: Floats, reached: Flags
) -> None:
    """Add the weights of the neurons that fired to their targets' current."""
    here = slice(target, target + weights.shape[1])
    sums = current[here]
    for i in range(weights.shape[0]):
        if fired[source + i]:
            row = weights[i]
            for j in range(len(row)):
                sums[j] += row[j]
            reached[here] = True


def _messages(
    routes: NeuronRoutes,
    by_core: Indices,
    first: Indices,
    fired: Flags,
    updated: Flags,
    latencies: Latencies,
) -> StepMessages:
    cores = len(first) - 1
    sent = np.where(fired, np.diff(routes.first)[routes.segment], 0)[by_core]
    running = np.concatenate([[0], np.cumsum(sent)])
    messages = StepMessages(
        first=running[first],
        target=np.empty(running[-1], np.int32),
        synapses=np.empty(running[-1], np.int32),
        work=np.empty(running[-1], np.float64),
        leftover=np.empty(cores, np.float64),
        arrived=np.zeros(cores, np.int32),
        arrived_synapses=np.zeros(cores, np.int64),
        begins=np.ones(running[-1], bool),
    )
    _write(
        by_core,
        first,
        fired,
        updated,
        latencies.neuron_access,
        latencies.neuron_update,
        latencies.spike_out,
        routes.segment,
        routes.first,
        routes.target,
        routes.synapses,
        messages.target,
        messages.synapses,
        messages.work,
        messages.leftover,
    )
    return messages


@kernel
def _write(
    by_core: Indices,
    first: Indices,
    fired: Flags,
    updated: Flags,
    access: float,
    update: float,
    spike_out: float,
    segment: Indices,
    first_route: Indices,
    route_target: NDArray[np.int32],
    route_synapses: NDArray[np.int32],
    target: NDArray[np.int32],
    synapses: NDArray[np.int32],
    work: Floats,
    leftover: Floats,
) -> None:
    """Walk every core's neurons, adding up times in their order; fill the last four."""
    m = 0
    for core in range(len(leftover)):
        since = 0.0
        for i in by_core[first[core] : first[core + 1]]:
            since += access + update * updated[i] + spike_out * fired[i]
            if fired[i]:
                for r in range(first_route[segment[i]], first_route[segment[i] + 1]):
                    target[m], synapses[m], work[m] = route_target[r], route_synapses[r], since
                    since = 0.0
                    m += 1
        leftover[core] = since


def _events(messages: StepMessages, fired: Flags, updated: Flags, mesh: Mesh) -> HardwareEvents:
    source = np.repeat(np.arange(mesh.cores), np.diff(messages.first))
    target = messages.target
    ways = ways_of(mesh.ways(source, target))
    ways["spike_within_tile"] *= source != target
    return HardwareEvents(
        neuron_access=len(fired),
        neuron_update=int(updated.sum()),
        spike_out=int(fired.sum()),
        axon_out=messages.count,
        axon_in=messages.count,
        synaptic_operation=int(messages.synapses.sum(dtype=np.int64)),
        **{name: int(each.sum()) for name, each in ways.items()},
    )
