"""The job directory: what the backend hands to its worker, and what comes back.

::

    job.json      granularity, closed loop or not, what is recorded, the artifact's path, the frame
    graph.sgn     the artifact, unless the caller named one that is already on disk
    tokens.npy    (T,) int64; empty for a closed loop
    logits.npy    (T, V) int32; (1, V) for a closed loop
    tallies.npy   per population: events sent, saturations, clipped payloads
    events/N.npy  (T, n) events of the N-th population, where recorded

Every array is made by the backend and mapped into memory by the one Lava process that fills
it, so nothing large goes through a pipe.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.documents import MEGABYTE, read_json
from spikegpt_neuro.graph.graph import Population, SpikingGraph
from spikegpt_neuro.neurons.program import Counts

Granularity = Literal["population", "block"]
Memmap = NDArray[np.integer]

EVENTS, SATURATIONS, CLIPPED = range(3)
"""Columns of ``tallies.npy``."""


@dataclass(frozen=True)
class Settings:
    """Content of ``job.json``.

    ``recorded``  names of the populations whose events are kept.
    ``frame``     tokens per time step (always 1 by population).
    """

    artifact: str
    granularity: Granularity
    closed_loop: bool
    recorded: tuple[str, ...]
    frame: int = 1


@dataclass(frozen=True)
class Job:
    """Paths and arrays of one job directory."""

    directory: Path

    @property
    def settings(self) -> Settings:
        return read_json(self.directory / "job.json", Settings, limit=MEGABYTE, exact=True)

    @property
    def tokens(self) -> NDArray[np.int64]:
        tokens: NDArray[np.int64] = np.load(self.directory / "tokens.npy")
        return tokens

    @property
    def logits(self) -> Memmap:
        return self._map("logits.npy")

    @property
    def tallies(self) -> Memmap:
        return self._map("tallies.npy")

    def events(self, index: int) -> Memmap | None:
        """Events of the population at ``index`` of the graph; None where not recorded."""
        name = f"events/{index}.npy"
        return self._map(name) if (self.directory / name).exists() else None

    def _map(self, name: str) -> Memmap:
        array: Memmap = np.load(self.directory / name, mmap_mode="r+")
        return array


def write_job(
    directory: Path,
    graph: SpikingGraph,
    tokens: NDArray[np.int64],
    *,
    granularity: Granularity,
    closed_loop: bool,
    recorded: Collection[str],
    artifact: str | None,
    frame: int = 1,
) -> Job:
    """Fill ``directory`` for a run of ``tokens`` (empty for a closed loop)."""
    if artifact is None:
        artifact = str(directory / "graph.sgn")
        graph.save(artifact)
    rows = 1 if closed_loop else len(tokens)
    (directory / "events").mkdir()
    np.save(directory / "tokens.npy", tokens)
    _new_array(directory / "tallies.npy", (len(graph.populations), 3), np.int64)
    _new_array(directory / "logits.npy", (rows, graph.output.size), np.int32)
    for index, population in enumerate(graph.populations):
        if population.name in recorded:
            dtype = event_type(population)
            _new_array(directory / "events" / f"{index}.npy", (rows, population.size), dtype)
    settings = Settings(artifact, granularity, closed_loop, tuple(recorded), frame)
    (directory / "job.json").write_text(json.dumps(asdict(settings)), "utf-8")
    return Job(directory)


def event_type(population: Population) -> type[np.integer]:
    """How a run stores events: one byte for spikes, int32 for payloads."""
    return np.uint8 if population.events.is_binary else np.int32


def read_events(job: Job, graph: SpikingGraph) -> dict[str, NDArray[np.integer]]:
    """The recorded events, copied out of the job directory."""
    recorded = job.settings.recorded
    return {
        population.name: np.array(job.events(index))
        for index, population in enumerate(graph.populations)
        if population.name in recorded
    }


def read_counts(job: Job, graph: SpikingGraph, exact: Collection[str]) -> Mapping[str, Counts]:
    """What the populations named in ``exact`` lost; a stock LIF does not count its losses."""
    tallies = job.tallies
    return {
        population.name: Counts(int(row[SATURATIONS]), int(row[CLIPPED]))
        for population, row in zip(graph.populations, tallies, strict=True)
        if population.name in exact
    }


def _new_array(path: Path, shape: tuple[int, ...], dtype: type[np.integer]) -> None:
    np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape).flush()
