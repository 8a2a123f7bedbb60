"""Which cores hear a neuron, and how many synapses it meets on each.

A neuron sends one message to each core that holds at least one of its targets. Neurons of one
population that stand together and reach the same cores form a *segment*: a run's events counted by
segment tell everything that the parts of the chips did.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.backends.cycle.traffic.messages import HOST
from spikegpt_neuro.mapping.requirements import TOKENS, Workload
from spikegpt_neuro.mapping.traffic import Piece, by_population

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Routes:
    """Segments in the order of cores, each core's in the order of its neurons; the host's last.

    ``sources``     names of what sends events: the populations, and token ids last.
    ``first``       (C + 2,) segments of core c are ``first[c]:first[c + 1]``; C is the host.
    ``population``  (S,) index in ``sources``; ``start``, ``stop``: (S,) its neurons.
    ``first_route`` (S + 1,) routes of segment s are ``first_route[s]:first_route[s + 1]``.
    ``target``      (R,) core that hears the segment, ascending; :data:`HOST` last.
    ``synapses``    (R,) synapses that one event of the segment meets there.
    """

    sources: tuple[str, ...]
    first: Indices
    population: Indices
    start: Indices
    stop: Indices
    first_route: Indices
    target: NDArray[np.int32]
    synapses: NDArray[np.int32]

    @property
    def cores(self) -> int:
        return len(self.first) - 2

    @cached_property
    def core(self) -> Indices:
        """(S,) core of each segment; C where it is the host."""
        return np.repeat(np.arange(self.cores + 1), np.diff(self.first))

    @cached_property
    def segment(self) -> Indices:
        """(R,) segment of each route."""
        return np.repeat(np.arange(len(self.start)), np.diff(self.first_route))


@dataclass(frozen=True)
class _Segment:
    core: int
    piece: int
    population: int
    start: int
    stop: int
    targets: tuple[tuple[int, int], ...]


def routes_of(
    load: Workload, pieces: Sequence[Piece], cores: int, sources: tuple[str, ...]
) -> Routes:
    """Routes of placed neurons and of what arrives from the host.

    An id at an embedding on the chip counts as one event of the one neuron ``token ids``.
    """
    placed = by_population(pieces)
    order = {piece: k for k, piece in enumerate(pieces)}
    segments = [
        _Segment(piece.core, order.get(piece, 0), index, *found)
        for index, name in enumerate(sources)
        for piece in placed.get(name) or _on_host(load, name, cores)
        for found in _segments(load, name, piece, placed)
    ]
    segments.sort(key=lambda s: (s.core, s.piece, s.start))
    counts = np.bincount([s.core for s in segments], minlength=cores + 1)
    targets = [pair for s in segments for pair in s.targets]
    heard, synapses = np.array(targets, np.int32).reshape(-1, 2).T
    return Routes(
        sources=sources,
        first=_running_sum(counts),
        population=np.array([s.population for s in segments], np.int64),
        start=np.array([s.start for s in segments], np.int64),
        stop=np.array([s.stop for s in segments], np.int64),
        first_route=_running_sum([len(s.targets) for s in segments]),
        target=np.ascontiguousarray(heard),
        synapses=np.ascontiguousarray(synapses),
    )


def _running_sum(counts: Sequence[int] | Indices) -> Indices:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def size_of(load: Workload, source: str) -> int:
    """Neurons of a source; the token ids of an embedding on the chip are one."""
    return 1 if source == TOKENS else load.sizes[source]


def _on_host(load: Workload, source: str, host: int) -> list[Piece]:
    """What is not placed and yet heard on the chip sends from the host."""
    return [Piece(source, 0, size_of(load, source), host)] if load.readers.get(source) else []


def _segments(
    load: Workload, source: str, piece: Piece, placed: Mapping[str, Sequence[Piece]]
) -> Iterator[tuple[int, int, tuple[tuple[int, int], ...]]]:
    """(start, stop, targets) of the piece's neurons, cut where the cores that hear them change."""
    heard = [h for h in _heard(load, source, placed) if h[0] < piece.stop and h[1] > piece.start]
    cuts = {piece.start, piece.stop}
    cuts |= {cut for h in heard for cut in h[:2] if piece.start < cut < piece.stop}
    bounds = np.array(sorted(cuts))
    cores = sorted({core for _, _, core, _ in heard})
    column = {core: k for k, core in enumerate(cores)}
    synapses = np.zeros((len(bounds) - 1, len(cores)), np.int64)
    for start, stop, core, count in heard:
        begin, end = np.searchsorted(bounds, [max(start, piece.start), min(stop, piece.stop)])
        synapses[begin:end, column[core]] += count
    changes = np.flatnonzero((synapses[1:] != synapses[:-1]).any(axis=1)) + 1
    edges = [0, *changes.tolist(), len(synapses)]
    to_host = ((HOST, 0),) if source in load.to_host else ()
    for begin, end in pairwise(edges):
        row = synapses[begin]
        reached = tuple((cores[k], int(row[k])) for k in np.flatnonzero(row))
        yield int(bounds[begin]), int(bounds[end]), reached + to_host


def _heard(
    load: Workload, source: str, placed: Mapping[str, Sequence[Piece]]
) -> list[tuple[int, int, int, int]]:
    """(start, stop, core, synapses): every neuron of an interval meets so many on the core."""
    size = size_of(load, source)
    return [
        (0, size, piece.core, piece.size) if dense else (piece.start, piece.stop, piece.core, 1)
        for target, dense in load.readers.get(source, ())
        for piece in placed[target]
    ]
