"""The messages of a step, from bit masks of the tokens in flight: two compiled passes.

The first pass counts events by segment, which says how much each core sends; the second
walks every core's neurons in their order and writes down the messages of each event, with the work
between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.backends.cycle.traffic.masks import Masks
from spikegpt_neuro.backends.cycle.traffic.messages import (
    Reach,
    StepMessages,
    VolleyMessages,
    Volleys,
)
from spikegpt_neuro.energy.hardware import Accounts
from spikegpt_neuro.hardware.machine import Latencies
from spikegpt_neuro.mapping.routes import Routes

Indices = NDArray[np.int64]
Seconds = NDArray[np.float64]
ONES = np.array([byte.bit_count() for byte in range(256)], np.uint8)
"""Ones in each byte."""


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


def reach_of(routes: Routes) -> Reach:
    """The routes as timing models see them."""
    return Reach(routes.core[routes.segment], routes.target, routes.synapses, routes.begins)


def messages_of(
    routes: Routes, reach: Reach, work: NeuronWork, masks: Masks, tokens: Indices
) -> tuple[StepMessages, Indices]:
    """Messages of a step in which source p works on ``tokens[p]``; and events by segment (S,)."""
    rows = masks.rows_of(tokens)
    where = (routes.population, routes.start, routes.stop)
    (events,) = count_events(routes, masks, tokens[None])
    on_core = slice(0, int(routes.first[routes.cores]))
    sends = np.diff(routes.first_route)
    running = np.concatenate([[0], np.cumsum((events * (sends > 0))[on_core])])
    first = running[routes.first[:-1]]
    made = int(first[-1])
    uses = np.repeat(events, sends)
    uses[int(routes.first_route[on_core.stop]) :] = 0
    volleys = Volleys(
        reach=reach,
        first=first,
        begin=np.empty(made, np.int32),
        end=np.empty(made, np.int32),
        work=np.empty(made, np.float64),
        uses=uses,
        leftover=np.empty(routes.cores, np.float64),
        arrived=np.zeros(routes.cores, np.int32),
        arrived_synapses=np.zeros(routes.cores, np.int64),
    )
    _write(
        routes.first,
        rows,
        masks.bits,
        masks.offset,
        *where,
        routes.first_route,
        work.access,
        work.update,
        work.spike_out,
        volleys.begin,
        volleys.end,
        volleys.work,
        volleys.leftover,
    )
    ways = (routes.first_route, routes.target, routes.synapses)
    arrive(on_core.stop, events, *ways, volleys.arrived, volleys.arrived_synapses)
    return VolleyMessages(volleys), events


def count_events(routes: Routes, masks: Masks, tokens: Indices) -> Indices:
    """(B, S) events of every segment in steps in which source p works on ``tokens[b, p]``."""
    where = (routes.population, routes.start, routes.stop)
    return _count(masks.rows_of(tokens), masks.bits, masks.offset, *where)


@kernel
def _ones(row: NDArray[np.uint8], byte: int, start: int, stop: int) -> int:
    """Ones among the bits from ``start`` to ``stop`` behind a byte."""
    first, last = byte + (start >> 3), byte + (stop >> 3)
    low, high = (1 << (start & 7)) - 1, (1 << (stop & 7)) - 1
    found = 0
    if low:
        found -= ONES[row[first] & low]
    for k in range(first, last):
        found += ONES[row[k]]
    if high:
        found += ONES[row[last] & high]
    return found


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
    """Events of every segment (B, S): ones among its bits."""
    events = np.zeros((len(rows), len(start)), np.int64)
    for b in range(len(rows)):
        for s in range(len(start)):
            row, byte = rows[b, population[s]], offset[population[s]]
            if row >= 0:
                events[b, s] = _ones(bits[row], byte, start[s], stop[s])
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
    access: float,
    update: Seconds,
    spike_out: Seconds,
    begin: NDArray[np.int32],
    end: NDArray[np.int32],
    work: Seconds,
    leftover: Seconds,
) -> None:
    """Walk each core's neurons; a volley carries the work since the one before it."""
    volley = 0
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
                    if first_route[s] < first_route[s + 1]:
                        begin[volley] = first_route[s]
                        end[volley] = first_route[s + 1]
                        work[volley] = since
                        since = 0.0
                        volley += 1
        leftover[core] = since


@kernel
def arrive(
    host: int,
    events: Indices,
    first_route: Indices,
    target: NDArray[np.int32],
    synapses: NDArray[np.int32],
    arrived: NDArray[np.integer],
    arrived_synapses: Indices,
) -> None:
    """What the segments of the host (from ``host`` on) send to each core."""
    for s in range(host, len(events)):
        for route in range(first_route[s], first_route[s + 1]):
            arrived[target[route]] += events[s]
            arrived_synapses[target[route]] += events[s] * synapses[route]
