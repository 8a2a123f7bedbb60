r"""What a placement is expected to take: the simulator's bound, on measured rates.

With the events per token of every segment (:mod:`~spikegpt_neuro.mapping.routes`) and the stages of
their populations, each core has generation and processing in each stage, and each link messages:

.. math::
    t_{fall-through} &= \sum_s step\big( \max_c \, core_{cs} \vee \max_l \, link_{ls} \big) \\
    t_{pipelined} &= step\Big( \max_c \big( \sum_s core_{cs} \big) + wait \vee
        \max_l \sum_s link_{ls} \Big)

with the equations of :mod:`~spikegpt_neuro.hardware.step_time`. The wait is that of cores which all
send and hear at once (:func:`~spikegpt_neuro.mapping.work.waiting`); in a token that falls through,
few do. Expected values in place of each token's own: a bound of means, a little below the mean of
bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.hardware.machine import Machine
from spikegpt_neuro.hardware.mesh import HOST, add_messages
from spikegpt_neuro.hardware.step_time import core_seconds, processing_seconds, step_seconds
from spikegpt_neuro.mapping.routes import Routes
from spikegpt_neuro.mapping.traffic import Rates, rate_of
from spikegpt_neuro.mapping.work import Work, waiting
from spikegpt_neuro.schedules import Schedule

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Prediction:
    """``seconds``: per token, by schedule.

    ``busy``  (C,) seconds per token that each core works, all steps together.
    ``steps``  that a token takes to fall through.
    ``interchip_messages``  per token that cross at least one border between chips.
    ``links``  (L,) messages per token over each link of the mesh.
    """

    seconds: Mapping[Schedule, float]
    busy: Floats = field(repr=False)
    steps: int
    interchip_messages: float
    links: Floats = field(repr=False)


@dataclass(frozen=True)
class Loads:
    """Seconds per token by core and stage (C, S), and messages over links (L, S)."""

    generation: Floats
    processing: Floats
    reading: Floats
    links: Floats


def predict(work: Work, routes: Routes, rates: Rates, machine: Machine) -> Prediction:
    """Expected figures of placed neurons."""
    latencies = machine.latencies
    events = routes.rates_of(lambda name: rate_of(work.load, name, rates))
    loads = _loads(work, routes, events, machine)
    visits = latencies.neuron_access * _neurons(routes)

    def step(generation: Floats, processing: Floats, links: Floats, wait: float) -> float:
        cores = core_seconds(generation + visits, processing, adds=machine.adds)
        busiest = max(
            float(cores.max(initial=0.0)) + wait, float(machine.link_seconds(links).max(initial=0))
        )
        return step_seconds(busiest, latencies.barrier, latencies.step_minimum)

    received = np.maximum(loads.processing, loads.reading)
    falling = sum(
        step(loads.generation[:, s], received[:, s], loads.links[:, s], 0.0)
        for s in range(loads.generation.shape[1])
    )
    generated, taken = loads.generation.sum(axis=1), received.sum(axis=1)
    wait = _wait(routes, events, machine)
    return Prediction(
        {
            "pipelined": step(generated, taken, loads.links.sum(axis=1), wait),
            "fall-through": falling,
        },
        generated + taken + visits,
        loads.generation.shape[1],
        _interchip(routes, events, machine),
        loads.links.sum(axis=1),
    )


def _neurons(routes: Routes) -> Floats:
    """(C,) neurons on each core."""
    placed = routes.core < routes.cores
    size = (routes.stop - routes.start)[placed].astype(float)
    found: Floats = np.bincount(routes.core[placed], size, routes.cores).astype(float)
    return found


def _loads(work: Work, routes: Routes, events: Floats, machine: Machine) -> Loads:
    latencies, cores = machine.latencies, routes.cores
    stage = np.array([work.stage(name) for name in routes.sources])[routes.population]
    steps = int(stage.max(initial=0)) + 1
    update = np.array([work.update.get(name, 0.0) for name in routes.sources])
    sends = np.array([name not in work.load.handed_on for name in routes.sources])
    of = routes.population
    made = update[of] * (routes.stop - routes.start)
    made += events * (latencies.spike_out * sends[of] + latencies.axon_out * routes.messages)
    placed = routes.core < cores
    generation = _table(routes.core[placed], stage[placed], made[placed], (cores, steps))
    hears = routes.target != HOST
    segment, target = routes.segment[hears], routes.target[hears].astype(np.int64)
    each, synapses = events[segment], routes.synapses[hears]
    seconds = processing_seconds(
        each, each * synapses, latencies.axon_in, latencies.synaptic_operation
    )
    words = -(-synapses // machine.synapses_per_word)
    at = stage[segment]
    return Loads(
        generation,
        _table(target, at, seconds, (cores, steps)),
        _table(target, at, each * words * latencies.memory_word, (cores, steps)),
        _links(routes, hears, at, each, machine, steps),
    )


def _table(
    row: NDArray[np.integer], column: NDArray[np.integer], values: Floats, shape: tuple[int, int]
) -> Floats:
    """``values`` summed into a table."""
    flat: Floats = np.bincount(row * shape[1] + column, values, shape[0] * shape[1]).astype(float)
    return flat.reshape(shape)


def _links(
    routes: Routes,
    hears: NDArray[np.bool_],
    stage: NDArray[np.integer],
    messages: Floats,
    machine: Machine,
    steps: int,
) -> Floats:
    """(L, S) messages over each link; those of the host have no way on the mesh."""
    mesh = machine.mesh
    found = np.zeros((steps, mesh.links))
    begin, end = routes.departures(mesh)[hears], mesh.router[routes.target[hears]]
    order = np.argsort(stage, kind="stable")
    order = order[routes.core[routes.segment[hears]][order] < mesh.cores]
    bounds = np.searchsorted(stage[order], np.arange(steps + 1))
    for s in range(steps):
        mine = order[bounds[s] : bounds[s + 1]]
        add_messages(begin[mine], end[mine], messages[mine], mesh.rows, found[s])
    return found.T


def _wait(routes: Routes, events: Floats, machine: Machine) -> float:
    latencies = machine.latencies
    hears = routes.target != HOST
    each, synapses = events[routes.segment[hears]], routes.synapses[hears]
    service = latencies.axon_in + synapses * latencies.synaptic_operation
    return waiting(each, service, routes.cores)


def _interchip(routes: Routes, events: Floats, machine: Machine) -> float:
    source, target = routes.core[routes.segment], routes.target
    between = (source < routes.cores) & (target != HOST) & routes.begins
    crossed = machine.mesh.ways(source[between], target[between]).borders > 0
    return float(events[routes.segment[between]][crossed].sum())
