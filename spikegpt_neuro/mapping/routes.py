r"""What a message is, who hears whom, and how many synapses one event meets.

A neuron i of a population has s synapses on core c, dense projections bringing as many as target
neurons stand there, one-to-one projections one:

.. math:: s_{ic} = \sum_{q\ dense} |\{j \in c\}| + \sum_{q\ one-to-one} [i \in c]

When it has an event it sends *one message to each core that holds at least one of its targets*,
its own core included, and one to the host where the host hears it:

.. math:: m_i = |\{c : s_{ic} > 0\}| + [\text{the host hears}\ i]

Where the hardware fans messages out behind a chip's border (``support.multicast = "chip"``), the
cores of another chip have *one* message together, which is copied where it enters that chip: only
the first of their routes *begins* at the sender. The host sends to each core by itself.

That rule stands here, in :func:`_begins` and in what :class:`_Reach` takes as places, and nowhere
else: output and input axons, traffic per token, energy events and the simulator's messages follow
from :class:`Routes`; the partitioner, which asks before all is placed and counts a message for
every core, from :func:`messages_per_event`.

Neurons of a population that stand together and send the same messages form a *segment*: events
counted by segment tell everything that the parts of the chips did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.hardware.mesh import HOST, Mesh
from spikegpt_neuro.mapping.requirements import TOKENS, Workload

Indices = NDArray[np.int64]
ABROAD = -1
"""In place of the chip of a core: the host."""


@dataclass(frozen=True)
class Piece:
    """Neurons ``start`` to ``stop`` (exclusive) of a population, on a core."""

    population: str
    start: int
    stop: int
    core: int

    @property
    def size(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Routes:
    """Segments in the order of cores, each core's in the order of its neurons; the host's last.

    ``sources``     names of what sends events: the populations, and token ids last.
    ``first``       (C + 2,) segments of core c are ``first[c]:first[c + 1]``; C is the host.
    ``population``  (S,) index in ``sources``; ``start``, ``stop``: (S,) its neurons.
    ``first_route`` (S + 1,) routes of segment s are ``first_route[s]:first_route[s + 1]``; an event
                    of the segment is received over each of them.
    ``target``      (R,) core that receives the message, ascending, those of a chip together;
                    :data:`HOST` last.
    ``synapses``    (R,) synapses that it meets there.
    ``begins``      (R,) whether the message begins at the sender; else it is a copy of the last one
                    that does, made where that enters the target's chip.
    """

    sources: tuple[str, ...]
    first: Indices
    population: Indices
    start: Indices
    stop: Indices
    first_route: Indices
    target: NDArray[np.int32]
    synapses: NDArray[np.int32]
    begins: NDArray[np.bool_]

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

    @cached_property
    def messages(self) -> Indices:
        """(S,) messages that one event of each segment makes at its core."""
        running = np.concatenate([[0], np.cumsum(self.begins, dtype=np.int64)])
        return np.diff(running[self.first_route])

    def departures(self, mesh: Mesh) -> Indices:
        """(R,) router where the way of each route on the mesh begins; 0 for those of the host.

        Its sender's, or for a copy the one where the message enters the chip.
        """
        source, found = self.core[self.segment], np.zeros(len(self.target), np.int64)
        on_mesh = (source < self.cores) & (self.target != HOST)
        found[on_mesh] = mesh.router[source[on_mesh]]
        copies = np.flatnonzero(~self.begins)
        if len(copies):
            original = np.maximum.accumulate(np.where(self.begins, np.arange(len(source)), 0))
            found[copies] = mesh.gates(source[copies], self.target[original[copies]])
        return found

    def events_of(self, events: Mapping[str, NDArray[np.integer]]) -> Indices:
        """(S,) events of each segment, from those of every neuron of each source (n,)."""
        return self._sums(events.__getitem__, np.int64)

    def rates_of(self, rate: Callable[[str], NDArray[np.float64]]) -> NDArray[np.float64]:
        """(S,) events per token of each segment, from those of every neuron of a source (n,)."""
        return self._sums(rate, np.float64)

    def _sums(self, of: Callable[[str], NDArray[Any]], kind: type[np.generic]) -> NDArray[Any]:
        found = np.zeros(len(self.start), kind)
        for index, name in enumerate(self.sources):
            mine = np.flatnonzero(self.population == index)
            if len(mine):
                running = np.concatenate([[0], np.cumsum(of(name), dtype=kind)])
                found[mine] = running[self.stop[mine]] - running[self.start[mine]]
        return found


def by_population(pieces: Sequence[Piece]) -> dict[str, list[Piece]]:
    """Population -> its pieces in order of neurons."""
    table: dict[str, list[Piece]] = {}
    for piece in pieces:
        table.setdefault(piece.population, []).append(piece)
    return {name: sorted(found, key=lambda p: p.start) for name, found in table.items()}


def with_one_token_id(load: Workload) -> Workload:
    """The token ids of an embedding on the chip as one neuron, with an event for every token.

    On a core each id is an axon of its own; what happens there is the same whichever id comes.
    """
    return replace(load, sizes={**load.sizes, TOKENS: 1})


def messages_per_event(
    load: Workload, source: str, placed: Mapping[str, Sequence[Piece]]
) -> Indices:
    """(n,) messages that an event of each neuron of ``source`` makes; see the module.

    ``placed``  pieces of every population that hears it.
    """
    reach = _Reach.of(load, source, placed)
    return np.repeat(reach.heard.sum(axis=1, dtype=np.int64), np.diff(reach.bounds))


def routes_of(
    load: Workload, pieces: Sequence[Piece], cores: int, chips: Indices | None = None
) -> Routes:
    """Routes of placed neurons, and of what is not placed and yet heard: the host sends it.

    ``chips``  (C,) chip of each core, where a message reaches all of a chip; None: one core.
    """
    placed = by_population(pieces)
    chips = np.arange(cores) if chips is None else chips
    order = {piece: k for k, piece in enumerate(pieces)}
    sources = (*(name for name in load.readers if name != TOKENS), TOKENS)
    found = [
        _segments(load, name, index, own, placed, order, chips)
        for index, name in enumerate(sources)
        if (own := placed.get(name) or _on_host(load, name, cores))
    ]
    joined = _Segments(*map(np.concatenate, zip(*found, strict=True))) if found else _NO_SEGMENTS
    sorting = np.lexsort((joined.start, joined.piece, joined.core))
    first_route = _running_sum(joined.targets)
    targets = joined.targets[sorting]
    # Routes of each segment lie together: take them along.
    within = np.arange(int(targets.sum())) - np.repeat(_running_sum(targets)[:-1], targets)
    routes = np.repeat(first_route[:-1][sorting], targets) + within
    return Routes(
        sources=sources,
        first=_running_sum(np.bincount(joined.core, minlength=cores + 1)),
        population=joined.population[sorting],
        start=joined.start[sorting],
        stop=joined.stop[sorting],
        first_route=_running_sum(targets),
        target=joined.target[routes].astype(np.int32),
        synapses=joined.synapses[routes].astype(np.int32),
        begins=joined.begins[routes].astype(bool),
    )


def _running_sum(counts: Indices) -> Indices:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def _on_host(load: Workload, source: str, host: int) -> list[Piece]:
    return [Piece(source, 0, load.sizes[source], host)] if load.readers.get(source) else []


class _Reach(NamedTuple):
    """Which cores hear the neurons of a source.

    ``bounds``    (K + 1,) neurons from ``bounds[k]`` to ``bounds[k + 1]`` are alike.
    ``cores``     (J,) places that hear any of them, ascending; :data:`HOST` last.
    ``synapses``  (K, J) synapses that an event of these neurons meets there.
    ``heard``     (K, J) whether it goes there.
    """

    bounds: Indices
    cores: Indices
    synapses: Indices
    heard: NDArray[np.bool_]

    @staticmethod
    def of(
        load: Workload,
        source: str,
        placed: Mapping[str, Sequence[Piece]],
        cuts: Sequence[int] = (),
    ) -> _Reach:
        """``cuts``  further bounds."""
        size, to_host = load.sizes[source], source in load.to_host
        readers = load.readers.get(source, ())
        lists = [
            (piece.core, reader.sparse.counts(piece.start, piece.stop))
            for reader in readers
            if reader.sparse is not None
            for piece in placed[reader.target]
        ]
        heard = [
            (0, size, piece.core, piece.size * (reader.sparse is None))
            if reader.dense
            else (piece.start, piece.stop, piece.core, 1)
            for reader in readers
            for piece in placed[reader.target]
        ]
        cuts = range(size) if lists else cuts  # each neuron is then heard in its own way
        bounds = sorted({0, size, *cuts, *(h[0] for h in heard), *(h[1] for h in heard)})
        cores = sorted({h[2] for h in heard})
        row = {bound: k for k, bound in enumerate(bounds)}
        column = {core: k for k, core in enumerate(cores)}
        change = np.zeros((len(bounds), len(cores) + to_host), np.int64)
        for start, stop, core, count in heard:  # few: faster than arrays of them
            change[row[start], column[core]] += count
            change[row[stop], column[core]] -= count
        synapses = np.cumsum(change[:-1], axis=0)
        for core, counts in lists:
            synapses[:, column[core]] += counts
        reaches = synapses > 0
        if to_host:
            reaches[:, -1] = True
            cores.append(HOST)
        return _Reach(np.array(bounds), np.array(cores, np.int64), synapses, reaches)


def _begins(
    heard: NDArray[np.bool_], chips: Indices, own: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """(K, J) whether a message to a place begins at the sender, that of chip ``own`` (K,).

    ``chips``  (J,) chip of each place, those of one chip side by side. An :data:`ABROAD` sender
    reaches one place at a time.
    """
    running = np.cumsum(heard, axis=1)
    group = np.cumsum(np.append(False, chips[1:] != chips[:-1]))[: len(chips)]
    first = np.searchsorted(group, group)
    before = np.where(first > 0, running[:, first - 1], 0)
    alone = (own == ABROAD)[:, None] | (own[:, None] == chips)
    begins: NDArray[np.bool_] = heard & (alone | (running - before == 1))
    return begins


class _Segments(NamedTuple):
    """Segments (S,) of some sources and their routes (R,), in order; see :class:`Routes`."""

    core: Indices
    piece: Indices
    population: Indices
    start: Indices
    stop: Indices
    targets: Indices
    target: Indices
    synapses: Indices
    begins: Indices


_NO_SEGMENTS = _Segments(*([np.zeros(0, np.int64)] * 9))


def _segments(
    load: Workload,
    source: str,
    index: int,
    pieces: Sequence[Piece],
    placed: Mapping[str, Sequence[Piece]],
    order: Mapping[Piece, int],
    chips: Indices,
) -> _Segments:
    """The segments of a source: its neurons cut where pieces end or the messages change."""
    starts = [piece.start for piece in pieces]
    reach = _Reach.of(load, source, placed, starts)
    begins = np.zeros(len(reach.synapses), bool)
    begins[np.searchsorted(reach.bounds, starts)] = True
    begins[1:] |= (reach.synapses[1:] != reach.synapses[:-1]).any(axis=1)
    first = np.flatnonzero(begins)
    start = reach.bounds[first]
    mine = np.searchsorted(starts, start, side="right") - 1
    core = np.array([piece.core for piece in pieces])[mine]
    with_host = np.append(chips, ABROAD)  # as the last: HOST is -1, and its core the one behind all
    chip = with_host[reach.cores]
    together = _side_by_side(chip)
    heard, cores, chip = reach.heard[first][:, together], reach.cores[together], chip[together]
    row, column = np.nonzero(heard)
    return _Segments(
        core=core,
        piece=np.array([order.get(piece, 0) for piece in pieces])[mine],
        population=np.full(len(first), index),
        start=start,
        stop=np.append(start[1:], reach.bounds[-1]),
        targets=heard.sum(axis=1, dtype=np.int64),
        target=cores[column],
        synapses=reach.synapses[first][:, together][row, column],
        begins=_begins(heard, chip, with_host[core])[row, column].astype(np.int64),
    )


def _side_by_side(chips: Indices) -> Indices:
    """An order of places in which those of a chip stand together, where its first one did."""
    _, first, of = np.unique(chips, return_index=True, return_inverse=True)
    return np.argsort(first[of.reshape(-1)], kind="stable")
