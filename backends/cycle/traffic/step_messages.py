"""The messages of a step, from bit masks of the tokens in flight: two compiled passes.

The first pass counts events by segment, which says how many messages each core makes; the second
walks every core's neurons in their order and writes the messages down, with the work between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.backends.cycle.traffic.masks import Masks
from spikegpt_neuro.backends.cycle.traffic.messages import StepMessages
from spikegpt_neuro.energy.hardware import Accounts
from spikegpt_neuro.hardware.machine import Latencies
from spikegpt_neuro.mapping.routes import Routes

Indices = NDArray[np.int64]
Seconds = NDArray[np.float64]


@dataclass(frozen=True)
class NeuronWork:
    """Seconds of a neuron: ``access`` in every step, ``update`` (P,) in addition where its
    population works on a token, ``spike_out`` (P,) where it has an event.
    """  # noqa: D205

    access: float
    update: Seconds
    spike_out: Seconds

    @staticmethod
    def of(latencies: Latencies, accounts: Accounts) -> NeuronWork:
        """Neurons of one population share its updates and micro-operations evenly."""
        whole = accounts.updates * latencies.neuron_update
        whole = whole + accounts.micro_operations * latencies.micro_operation
        spike_out: Seconds = np.where(accounts.sends, latencies.spike_out, 0.0)
        return NeuronWork(latencies.neuron_access, whole / accounts.sizes, spike_out)


def messages_of(
    routes: Routes, work: NeuronWork, masks: Masks, tokens: Indices
) -> tuple[StepMessages, Indices]:
    """Messages of a step in which source p works on ``tokens[p]``; and events by segment (S,)."""
    rows = masks.rows_of(tokens)
    where = (routes.population, routes.start, routes.stop)
    events = _count(rows, masks.bits, masks.offset, *where)
    on_core = slice(0, int(routes.first[routes.cores]))
    per_segment = events * np.diff(routes.first_route)
    running = np.concatenate([[0], np.cumsum(per_segment[on_core])])
    first = running[routes.first[:-1]]
    made = int(first[-1])
    messages = StepMessages(
        first=first,
        target=np.empty(made, np.int32),
        synapses=np.empty(made, np.int32),
        work=np.empty(made, np.float64),
        leftover=np.empty(routes.cores, np.float64),
        arrived=np.zeros(routes.cores, np.int32),
        arrived_synapses=np.zeros(routes.cores, np.int64),
        begins=np.empty(made, bool),
    )
    reach = (routes.first_route, routes.target, routes.synapses)
    _write(
        routes.first,
        rows,
        masks.bits,
        masks.offset,
        *where,
        *reach,
        routes.begins,
        work.access,
        work.update,
        work.spike_out,
        messages.target,
        messages.synapses,
        messages.work,
        messages.begins,
        messages.leftover,
    )
    _arrive(on_core.stop, events, *reach, messages.arrived, messages.arrived_synapses)
    return messages, events


@kernel
def _has_event(bits: NDArray[np.uint8], row: int, first: int, neuron: int) -> bool:
    return bool((bits[row, first + (neuron >> 3)] >> (neuron & 7)) & 1)


@kernel
def _count(
    rows: Indices,
    bits: NDArray[np.uint8],
    offset: Indices,
    population: Indices,
    start: Indices,
    stop: Indices,
) -> Indices:
    """Events of every segment (S,)."""
    events = np.zeros(len(start), np.int64)
    for s in range(len(start)):
        row = rows[population[s]]
        if row >= 0:
            for neuron in range(start[s], stop[s]):
                events[s] += _has_event(bits, row, offset[population[s]], neuron)
    return events


@kernel
def _write(
    first: Indices,
    rows: Indices,
    bits: NDArray[np.uint8],
    offset: Indices,
    population: Indices,
    start: Indices,
    stop: Indices,
    first_route: Indices,
    route_target: NDArray[np.int32],
    route_synapses: NDArray[np.int32],
    route_begins: NDArray[np.bool_],
    access: float,
    update: Seconds,
    spike_out: Seconds,
    target: NDArray[np.int32],
    synapses: NDArray[np.int32],
    work: Seconds,
    begins: NDArray[np.bool_],
    leftover: Seconds,
) -> None:
    """Walk each core's neurons; a message carries the work since the one before it."""
    message = 0
    for core in range(len(leftover)):
        since = 0.0
        for s in range(first[core], first[core + 1]):
            p = population[s]
            row = rows[p]
            if row < 0:
                since += access * (stop[s] - start[s])
                continue
            for neuron in range(start[s], stop[s]):
                since += access + update[p]
                if _has_event(bits, row, offset[p], neuron):
                    since += spike_out[p]
                    for route in range(first_route[s], first_route[s + 1]):
                        target[message] = route_target[route]
                        synapses[message] = route_synapses[route]
                        begins[message] = route_begins[route]
                        work[message] = since
                        since = 0.0
                        message += 1
        leftover[core] = since


@kernel
def _arrive(
    host: int,
    events: Indices,
    first_route: Indices,
    target: NDArray[np.int32],
    synapses: NDArray[np.int32],
    arrived: NDArray[np.int32],
    arrived_synapses: Indices,
) -> None:
    """What the segments of the host (from ``host`` on) send to each core."""
    for s in range(host, len(events)):
        for route in range(first_route[s], first_route[s + 1]):
            arrived[target[route]] += events[s]
            arrived_synapses[target[route]] += events[s] * synapses[route]
