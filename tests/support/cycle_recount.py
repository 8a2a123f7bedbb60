"""The messages of a step, neuron by neuron in plain Python: nothing of the product's intervals.

Which neuron reaches which core comes from matrices of synapses, one per source of events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.mapping.placement import Placement

Array = np.ndarray[Any, Any]
HOST = -1


@dataclass(frozen=True)
class CoreMessages:
    """(target, synapses, work, begins) of each message of a core, and its work after the last.

    What does not begin at the core is a copy, made where the one before entered its chip.
    """

    made: list[tuple[int, int, float, bool]]
    leftover: float


def cores_of_neurons(graph: SpikingGraph, placement: Placement) -> dict[str, Array]:
    """Population -> core of each neuron; HOST for populations that stand on no core."""
    found = {p.name: np.full(p.size, HOST) for p in graph.populations}
    for piece in placement.pieces:
        found[piece.population][piece.start : piece.stop] = piece.core
    return found


def synapses_met(graph: SpikingGraph, name: str, core_of: Mapping[str, Array], cores: int) -> Array:
    """(neurons, cores): synapses of a neuron of ``name`` on each core."""
    met = np.zeros((graph.by_name[name].size, cores), int)
    for q in graph.projections:
        targets = core_of[q.target]
        if q.source != name or (targets == HOST).all():
            continue
        size = graph.by_name[q.target].size
        reaches = np.ones((len(met), size), int)
        if q.weights is None:
            reaches = np.eye(size, dtype=int)
        elif q.is_sparse:
            reaches = (q.weights.T != 0).astype(int)
        for j, core in enumerate(targets):
            met[:, core] += reaches[:, j]
    return met


def goes_to_host(graph: SpikingGraph, name: str, core_of: Mapping[str, Array]) -> bool:
    heard = any(q.source == name and (core_of[q.target] == HOST).all() for q in graph.projections)
    return bool((core_of[name] != HOST).all()) and (heard or name == graph.output.name)


def chip_by_chip(
    targets: list[tuple[int, int, bool]], core: int, met: Array, placement: Placement
) -> list[tuple[int, int, bool]]:
    """Targets with those of a chip together; of another chip's, the first alone begins."""
    chips = [chip for chip, _ in placement.sites]
    found = []
    for chip in dict.fromkeys(chips[c] for c in np.flatnonzero(met.any(axis=0))):
        there = [(c, n) for c, n, _ in targets if chips[c] == chip]
        found += [(c, n, chip == chips[core] or k == 0) for k, (c, n) in enumerate(there)]
    return found


def step_by_hand(
    graph: SpikingGraph,
    placement: Placement,
    events: Mapping[str, Array],
    update: Mapping[str, float],
    access: float,
    spike_out: float,
    reaches_chips: bool = False,
) -> tuple[list[CoreMessages], Array, Array]:
    """Messages of each core, then messages and synapses that arrive from the host, by core.

    ``events`` (n,) of the populations that work on a token in this step; others are idle.
    """
    cores = len(placement.sites)
    core_of = cores_of_neurons(graph, placement)
    met = {p.name: synapses_met(graph, p.name, core_of, cores) for p in graph.populations}
    made = []
    for core in range(cores):
        messages: list[tuple[int, int, float, bool]] = []
        work = 0.0
        for piece in (p for p in placement.pieces if p.core == core):
            name = piece.population
            for neuron in range(piece.start, piece.stop):
                work += access
                if name not in events:
                    continue
                work += update[name]
                if not events[name][neuron]:
                    continue
                work += spike_out
                row = met[name][neuron]
                targets = [(int(c), int(row[c]), True) for c in np.flatnonzero(row)]
                if reaches_chips:
                    targets = chip_by_chip(targets, core, met[name], placement)
                if goes_to_host(graph, name, core_of):
                    targets.append((HOST, 0, True))
                for target, synapses, begins in targets:
                    messages.append((target, synapses, work, begins))
                    work = 0.0
        made.append(CoreMessages(messages, work))
    arrived, arrived_synapses = np.zeros((2, cores), int)
    first = graph.input
    if (core_of[first.name] == HOST).all():
        if first.name in events:
            sent = np.asarray(events[first.name]) != 0
            arrived += ((met[first.name] > 0) & sent[:, None]).sum(axis=0)
            arrived_synapses += (met[first.name] * sent[:, None]).sum(axis=0)
    elif first.name in events:  # a token id meets one entry of each column of the table
        held = np.bincount(core_of[first.name], minlength=cores)
        arrived += held > 0
        arrived_synapses += held
    return made, arrived, arrived_synapses
