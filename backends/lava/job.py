"""The job directory: what the backend hands to its worker, and what comes back.

::

    job.json      granularity, closed loop or not, what is recorded, the artifact's path, the frame
    graph.sgn     the artifact, unless the caller named one that is already on disk
    tokens.npy    (T,) int64; empty for a closed loop
    logits.npy    (T, V) int32; (1, V) for a closed loop
    tallies.npy   per population: saturations, clipped payloads
    sent/N.npy    (n,) events that each neuron of the N-th population sent
    events/N.npy  (T, n) events of the N-th population, where recorded
    sockets       a link to a directory with a shorter path, where this one's is too long

Every array is made by the backend and mapped into memory by the one Lava process that fills
it, so nothing large goes through a pipe.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.documents import MEGABYTE, read_json
from spikegpt_neuro.errors import CannotWrite
from spikegpt_neuro.graph.graph import Population, SpikingGraph
from spikegpt_neuro.neurons.program import Counts

Granularity = Literal["population", "block"]
Memmap = NDArray[np.integer]

SATURATIONS, CLIPPED = range(2)
"""Columns of ``tallies.npy``."""

SOCKETS = "sockets"
SOCKET_PATH_CHARACTERS = 100  # the system's limit is 104 to 108
SOCKET_NAME_CHARACTERS = len("/pymp-XXXXXXXX/listener-XXXXXXXX")
SHORT_PLACES = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - for folders of our own, made there


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

    def sent(self, index: int) -> Memmap:
        """Events that each neuron of the population at ``index`` of the graph sent."""
        return self._map(f"sent/{index}.npy")

    def events(self, index: int) -> Memmap | None:
        """Events of the population at ``index`` of the graph; None where not recorded."""
        name = f"events/{index}.npy"
        return self._map(name) if (self.directory / name).exists() else None

    def _map(self, name: str) -> Memmap:
        array: Memmap = np.load(self.directory / name, mmap_mode="r+")
        return array


@contextmanager
def job_directory(prefix: str) -> Iterator[Path]:
    """A new directory for a job among the temporary files, removed whatever happens."""
    try:
        directory = Path(tempfile.mkdtemp(prefix=prefix))
    except OSError as error:
        raise CannotWrite(
            f"no folder for temporary files can be written ({error.strerror}): TMPDIR names one"
        ) from error
    try:
        if len(str(directory)) + SOCKET_NAME_CHARACTERS > SOCKET_PATH_CHARACTERS:
            (directory / SOCKETS).symlink_to(_short_directory(prefix), target_is_directory=True)
        yield directory
    finally:
        remove(directory)


def _short_directory(prefix: str) -> str:
    """A directory for sockets, beside a job whose own path is too long for them."""
    for place in SHORT_PLACES:
        with suppress(OSError):
            return tempfile.mkdtemp(prefix=prefix, dir=place)
    raise CannotWrite(
        f"TMPDIR {tempfile.gettempdir()} is too long for a socket, whose path has at most "
        f"{SOCKET_PATH_CHARACTERS} characters, and none of {', '.join(SHORT_PLACES)} can be "
        "written: name a shorter one"
    )


def sockets_of(directory: Path) -> Path:
    """Where sockets of the job in ``directory`` go: there, unless its path is too long."""
    link = directory / SOCKETS
    return link.readlink() if link.is_symlink() else directory


def remove(directory: Path) -> None:
    """Remove a job, its sockets included."""
    sockets = sockets_of(directory)
    for path in {directory, sockets}:
        shutil.rmtree(path, ignore_errors=True)


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
    """Fill ``directory`` for a run of ``tokens`` (empty for a closed loop).

    Raises :class:`CannotWrite` where it has no room for the results.
    """
    rows = 1 if closed_loop else len(tokens)
    arrays = _arrays(graph, rows, recorded)
    _check_room(directory, arrays)
    try:
        if artifact is None:
            artifact = str(directory / "graph.sgn")
            graph.save(artifact)
        for folder in ("events", "sent"):
            (directory / folder).mkdir()
        np.save(directory / "tokens.npy", tokens)
        for name, (shape, dtype) in arrays.items():
            np.lib.format.open_memmap(directory / name, mode="w+", dtype=dtype, shape=shape).flush()
        where = str(Path(artifact).absolute())
        settings = Settings(where, granularity, closed_loop, tuple(recorded), frame)
        (directory / "job.json").write_text(json.dumps(asdict(settings)), "utf-8")
    except OSError as error:
        raise CannotWrite(
            f"{directory}: {error.strerror}; TMPDIR names a folder for what a run leaves"
        ) from error
    return Job(directory)


def _arrays(
    graph: SpikingGraph, rows: int, recorded: Collection[str]
) -> dict[str, tuple[tuple[int, ...], type[np.integer]]]:
    """Shape and type of every array that the run fills, by its file."""
    kept = {
        f"events/{index}.npy": ((rows, population.size), event_type(population))
        for index, population in enumerate(graph.populations)
        if population.name in recorded
    }
    sent = {
        f"sent/{index}.npy": ((population.size,), np.int64)
        for index, population in enumerate(graph.populations)
    }
    return {
        "tallies.npy": ((len(graph.populations), 2), np.int64),
        "logits.npy": ((rows, graph.output.size), np.int32),
        **sent,
        **kept,
    }


def _check_room(
    directory: Path, arrays: Mapping[str, tuple[tuple[int, ...], type[np.integer]]]
) -> None:
    """Raise where the arrays do not fit: they take room as they are filled, and then it kills."""
    sizes = (math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in arrays.values())
    need, free = sum(sizes), shutil.disk_usage(directory).free
    if need > free:
        raise CannotWrite(
            f"{directory.parent}: the run leaves {need // MEGABYTE + 1} MB, {free // MEGABYTE} MB "
            "are free: run fewer tokens, record less, or let TMPDIR name a folder with more room"
        )


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
