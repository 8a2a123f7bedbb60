"""A trace file in Chrome's format, which Perfetto opens: what cores and queues did, step by step.

A model tells of a step how long each stage of a core worked, not when: every slice is drawn from
the beginning of its step. Each chip is a process, and each core has two rows of slices: its
neurons (then the time in which messages could not leave), and its synapses. The file holds the
busiest cores and links and as many of the first steps as :data:`EVENTS` allows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from spikegpt_neuro.backends.cycle.result import Simulation
from spikegpt_neuro.files import write_atomically

EVENTS = 200_000
"""Most events of a file: about 20 MB."""
CORES, LINKS = 64, 16
PER_CORE, PER_LINK, PER_STEP = 5, 1, 1
MICROSECONDS = 1e6

Event = dict[str, Any]


def write_trace(path: Path, simulation: Simulation) -> None:
    """Write the trace, whole or not at all."""
    content = {
        "displayTimeUnit": "ns",
        "otherData": simulation.to_json(),
        "traceEvents": list(trace_events(simulation)),
    }
    write_atomically(path, json.dumps(content, separators=(",", ":")) + "\n")


def trace_events(simulation: Simulation) -> Iterator[Event]:
    """The events, names of the rows first."""
    cores = _busiest(simulation.cores.busy, CORES)
    links = _busiest(simulation.links.occupied, LINKS)
    in_a_step = PER_STEP + PER_CORE * len(cores) + PER_LINK * len(links)
    steps = min(simulation.series.steps, max(1, EVENTS // in_a_step))
    yield from _names(simulation, cores)
    end = np.cumsum(simulation.step_seconds[:steps]) * MICROSECONDS
    begin = np.concatenate([[0.0], end])[:steps]
    for step in range(steps):
        at = float(begin[step])
        yield _slice(0, 0, f"step {step}", at, float(end[step]) - at)
        for core in cores:
            yield from _core_events(simulation, core, step, at)
        for link in links:
            queue = float(simulation.series.link_queue[step, link])
            yield _counter(f"queue, {simulation.links.names[link]}", at, queue)


def _busiest(load: np.ndarray[Any, Any], most: int) -> list[int]:
    """Indices of the largest loads above 0, in ascending order."""
    found = np.argsort(-load, kind="stable")[:most]
    return sorted(found[load[found] > 0].tolist())


def _core_events(simulation: Simulation, core: int, step: int, at: float) -> Iterator[Event]:
    series, row = simulation.series, 2 * core + 1
    chip = _chip(simulation, core)
    generating, processing, stalled = (
        float(stage[step, core]) * MICROSECONDS
        for stage in (series.generating, series.processing, series.stalled)
    )
    if generating:
        yield _slice(chip, row, "neurons", at, generating)
    if stalled:
        yield _slice(chip, row, "stalled", at + generating, stalled)
    if processing:
        yield _slice(chip, row + 1, "synapses", at, processing)
    name = simulation.cores.names[core]
    yield _counter(f"queue, {name}", at, float(series.core_queue[step, core]), chip)
    yield _counter(f"messages sent, {name}", at, float(series.sent[step, core]), chip)


def _chip(simulation: Simulation, core: int) -> int:
    """Process number of a core's chip; 0 is the steps' and the links'."""
    return int(simulation.cores.names[core].split()[1]) + 1


def _names(simulation: Simulation, cores: list[int]) -> Iterator[Event]:
    yield _name("process_name", 0, 0, "steps and links")
    for chip in sorted({_chip(simulation, core) for core in cores}):
        yield _name("process_name", chip, 0, f"chip {chip - 1}")
    for core in cores:
        chip, name = _chip(simulation, core), simulation.cores.names[core]
        yield _name("thread_name", chip, 2 * core + 1, f"{name}: neurons")
        yield _name("thread_name", chip, 2 * core + 2, f"{name}: synapses")


def _name(kind: str, process: int, row: int, name: str) -> Event:
    return {"ph": "M", "pid": process, "tid": row, "name": kind, "args": {"name": name}}


def _slice(process: int, row: int, name: str, at: float, duration: float) -> Event:
    return {
        "ph": "X",
        "pid": process,
        "tid": row,
        "name": name,
        "ts": round(at, 6),
        "dur": round(duration, 6),
    }


def _counter(name: str, at: float, value: float, process: int = 0) -> Event:
    return {"ph": "C", "pid": process, "name": name, "ts": round(at, 6), "args": {"count": value}}
