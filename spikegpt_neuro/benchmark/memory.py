"""The limit that generation runs into: how fast weights can be read from memory.

A token cannot be quicker than reading the weight bytes that it touches. This module counts
those bytes and measures the rate at which this machine reads memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.arithmetic.packing import PACKED_BITS
from spikegpt_neuro.arithmetic.prefetch import LINE_BYTES, prefetch
from spikegpt_neuro.benchmark.rounds import Work
from spikegpt_neuro.graph.graph import Projection, SpikingGraph
from spikegpt_neuro.running import ProjectionActivity

Reader = Callable[[NDArray[np.int64]], int]
ROW, ROWS_AHEAD = 64, 2
READ_BYTES = 512 << 20
"""Size of the array that is read: far beyond any last-level cache."""


def weight_bytes(graph: SpikingGraph) -> int:
    """Bytes of all weights, as the graph holds them in memory and its artifact on disk."""
    return sum(_bytes_of(projection, graph.weight_bits) for projection in _dense(graph))


def touched_bytes(
    graph: SpikingGraph,
    activity: Mapping[str, ProjectionActivity],
    tokens: int,
    by_source: Collection[str] | None = None,
) -> float:
    """Weight bytes that one token touches, averaged over a run of ``tokens`` tokens.

    Weights that lie source by source are touched where an event arrives; others all, and sparse
    ones. ``by_source`` names the projections that a session reads so; None: as they are stored.
    """
    total = 0.0
    for projection in _dense(graph):
        if projection.sparse is not None:
            total += projection.sparse.nbytes
            continue
        sourcewise = projection.by_source if by_source is None else projection.name in by_source
        rows, columns = _shape(projection, by_source=sourcewise)
        read = activity[projection.name].events / tokens if sourcewise else rows
        total += read * _row_bytes(columns, graph.weight_bits)
    return total


def _bytes_of(projection: Projection, bits: int) -> int:
    if projection.sparse is not None:
        return projection.sparse.nbytes
    rows, columns = _shape(projection, by_source=projection.by_source)
    return rows * _row_bytes(columns, bits)


def _dense(graph: SpikingGraph) -> Iterator[Projection]:
    return (q for q in graph.projections if q.is_dense)


def _shape(projection: Projection, *, by_source: bool) -> tuple[int, int]:
    """Rows and columns of the weights: a row per target, or per source."""
    assert projection.shape is not None
    targets, sources = projection.shape
    return (sources, targets) if by_source else (targets, sources)


def _row_bytes(columns: int, bits: int) -> int:
    return (columns + 1) // 2 if bits == PACKED_BITS else columns


@contextmanager
def memory_reader(threads: int, size: int = READ_BYTES) -> Iterator[Work]:
    """Work that reads ``size`` bytes once, shared out to ``threads`` threads.

    The quicker of two readers: the processor alone foresees what is read next, or is told.
    """
    rows = np.ones((size // (8 * ROW), ROW), np.int64)
    parts = np.array_split(rows, threads)
    with ThreadPoolExecutor(threads) as pool:
        quickest = min(READERS, key=lambda reader: _seconds(reader, parts, pool))

        def read() -> float:
            for _ in pool.map(quickest, parts):
                pass
            return float(sum(part.nbytes for part in parts))

        yield read


def _seconds(reader: Reader, parts: list[NDArray[np.int64]], pool: ThreadPoolExecutor) -> float:
    """Seconds of the second of two readings: the first compiles and fetches pages."""
    for _ in range(2):
        begin = time.perf_counter()
        for _ in pool.map(reader, parts):
            pass
        seconds = time.perf_counter() - begin
    return seconds


@kernel
def _total(rows: NDArray[np.int64]) -> int:
    """The sum; as plain a reader as there is, vectorized by the compiler."""
    values = rows.reshape(-1)
    total = 0
    for i in range(len(values)):
        total += values[i]
    return total


@kernel
def _total_ahead(rows: NDArray[np.int64]) -> int:
    """The same of (n, 64), with what lies a kilobyte ahead asked for."""
    total = 0
    for i in range(len(rows)):
        for line in range(0, ROW, LINE_BYTES // 8):
            prefetch(rows, min(i + ROWS_AHEAD, len(rows) - 1), line)
        total += _total(rows[i : i + 1])
    return total


READERS: tuple[Reader, ...] = (_total, _total_ahead)
