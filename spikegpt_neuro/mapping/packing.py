"""Pieces of a chosen length onto the cores of one chip, so that its busiest cores are least busy.

Pieces come hardest first. A step is as long as its busiest core, with what arrives or with what it
makes. Where steps are many (a token falls through), a piece goes to the core, of those that have
room under every limit, where it lengthens them least, and of equal ones to the emptiest. Where all
stages share one (the pipeline), it goes to the emptiest, time being one of the limits. Where that
leaves one without room, each goes to the fullest that has some.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.hardware.profile import CoreLimits, Encoding
from spikegpt_neuro.mapping.requirements import Unit

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

LIMITS = ("neurons", "synaptic_memory", "neuron_memory", "input_axons", "output_axons")
NEURONS, SYNAPTIC_MEMORY, INPUT_AXONS = map(
    LIMITS.index, ("neurons", "synaptic_memory", "input_axons")
)
ROUNDING = 1e-12  # seconds: what is nearer is equal
NO_ROOM = -1


class Cut(NamedTuple):
    """Pieces (K,) of a unit: neurons ``start`` to ``stop``, and bytes of their ``synapses``."""

    start: Indices
    stop: Indices
    synapses: Floats

    @staticmethod
    def of(unit: Unit, start: int, stop: int, length: int, encoding: Encoding) -> Cut:
        """Of ``length`` neurons each but the last, which may have fewer; or in one, if whole."""
        begin = np.arange(start, stop, stop - start if unit.whole else length)
        end = np.append(begin[1:], stop)
        each = zip(begin.tolist(), (end - begin).tolist(), strict=True)
        synapses = [unit.synaptic_bytes(neurons, encoding, first) for first, neurons in each]
        return Cut(begin, end, np.array(synapses, float))


@dataclass(frozen=True)
class Slice:
    """Some neurons of a unit, on one chip in the pieces of ``cut``.

    ``outputs``     output axons of one neuron of all members.
    ``processing``  phase -> (a, b) seconds of a piece of n neurons, a + b n.
    ``generation``  seconds per neuron in ``phase``; ``visit``: in every phase.
    """

    unit: Unit
    cut: Cut
    outputs: int
    processing: Mapping[int, tuple[float, float]]
    generation: float
    visit: float
    phase: int

    def hardness(self, limits: CoreLimits, encoding: Encoding) -> float:
        """The largest share of a core that its first piece takes."""
        start, stop = int(self.cut.start[0]), int(self.cut.stop[0])
        return self.unit.share_of_core(stop - start, self.outputs, limits, encoding, start)


@dataclass(frozen=True, eq=False)
class Packed:
    """``table``: (4, N) slice, start, stop and core of each piece.

    ``seconds``  all steps, each of its busiest core.
    ``lost``     bytes of synaptic memory of pieces that found no room; they are not in the table.
    """

    table: Indices
    seconds: float
    lost: float = 0.0

    @property
    def pieces(self) -> Iterator[tuple[int, int, int, int]]:
        """Slice, start, stop and core, piece by piece."""
        return zip(*self.table.tolist(), strict=True)


def pack(
    slices: Sequence[Slice], cores: int, phases: int, limits: CoreLimits, encoding: Encoding
) -> Packed:
    """Place all pieces, evenly or, where that leaves one without room, tightly."""
    limit = np.array([getattr(limits, name) for name in LIMITS], float)
    pieces, times = _pieces(slices), _times(slices)
    hardness = np.array([own.hardness(limits, encoding) for own in slices])
    order = np.argsort(-hardness[pieces.slice], kind="stable")
    full = _full(pieces, times) / cores if phases == 1 else 0.0
    given = (order, *pieces, *_Sources.of(slices), *times, limit, full)
    fill: Callable[..., None] = _pack
    found = []
    for tight in (False, True):
        core = np.full(len(pieces.slice), NO_ROOM)
        busy, visits = np.zeros((2, cores, phases)), np.zeros(cores)
        fill(*given, tight, core, busy, visits)
        found.append(_packed(pieces, core, busy + visits[:, None] * [[[0]], [[1]]]))
        if not found[-1].lost:
            break
    return min(found, key=lambda packed: packed.lost)


def _packed(pieces: _Pieces, core: Indices, busy: Floats) -> Packed:
    placed = core != NO_ROOM
    table = np.stack([pieces.slice, pieces.start, pieces.stop, core])[:, placed]
    # One byte more for each: what has no synapse of its own is not lost in silence.
    lost = pieces.need[~placed, SYNAPTIC_MEMORY].sum() + (~placed).sum()
    return Packed(table, float(busy.max(axis=(0, 1)).sum()), float(lost))


def _full(pieces: _Pieces, times: _Times) -> float:
    """Seconds of all that arrives."""
    of = np.repeat(np.arange(len(times.phase)), np.diff(times.first))
    fixed, growing = (np.bincount(of, t, len(times.phase)) for t in (times.fixed, times.growing))
    neurons = pieces.stop - pieces.start
    return float((fixed[pieces.slice] + growing[pieces.slice] * neurons).sum())


class _Pieces(NamedTuple):
    """All pieces (N,), slice by slice; ``need``: (N, limits) without input axons."""

    slice: Indices
    start: Indices
    stop: Indices
    need: Floats


def _pieces(slices: Sequence[Slice]) -> _Pieces:
    start, stop, synaptic = map(np.concatenate, zip(*(own.cut for own in slices), strict=True))
    which = np.repeat(np.arange(len(slices)), [len(own.cut.start) for own in slices])
    neurons = (stop - start).astype(float)
    per = np.array(
        [
            (len(o.unit.members), o.unit.neuron_bytes, o.unit.shared_bytes, o.outputs)
            for o in slices
        ],
        float,
    )[which]
    need = np.stack(
        [
            neurons * per[:, 0],
            synaptic,
            neurons * per[:, 1] + per[:, 2],
            np.zeros(len(start)),
            neurons * per[:, 3],
        ],
        axis=1,
    )
    return _Pieces(which, start, stop, need)


class _Sources(NamedTuple):
    """Sources of each slice: slice k has ``source[first[k]:first[k + 1]]``.

    ``axons``  axons of a source that a core hears as a whole; 0: one per neuron on the core.
    """

    first: Indices
    source: Indices
    axons: Floats

    @staticmethod
    def of(slices: Sequence[Slice]) -> _Sources:
        heard = [own.unit.heard for own in slices]
        number = {name: k for k, name in enumerate(dict.fromkeys(n for n, _ in chain(*heard)))}
        return _Sources(
            np.cumsum([0, *map(len, heard)], dtype=np.int64),
            np.array([number[n] for n, _ in chain(*heard)], np.int64),
            np.array([size for _, size in chain(*heard)], float),
        )


class _Times(NamedTuple):
    """Phases of what arrives, as :class:`_Sources`; then generation and its phase by slice."""

    first: Indices
    at: Indices
    fixed: Floats
    growing: Floats
    generation: Floats
    visit: Floats
    phase: Indices


def _times(slices: Sequence[Slice]) -> _Times:
    rows = [[(k, *ab) for k, ab in own.processing.items()] for own in slices]
    at, fixed, growing = np.ascontiguousarray(np.array([*chain(*rows)], float).reshape(-1, 3).T)
    return _Times(
        np.cumsum([0, *map(len, rows)], dtype=np.int64),
        at.astype(np.int64),
        fixed,
        growing,
        np.array([own.generation for own in slices], float),
        np.array([own.visit for own in slices], float),
        np.array([own.phase for own in slices], np.int64),
    )


@kernel
def _pack(
    order: Indices,
    which: Indices,
    start: Indices,
    stop: Indices,
    need: Floats,
    first_source: Indices,
    source: Indices,
    axons: Floats,
    first_time: Indices,
    at: Indices,
    fixed: Floats,
    growing: Floats,
    generation: Floats,
    visit: Floats,
    phase: Indices,
    limit: Floats,
    full: float,
    tight: bool,
    chosen: Indices,
    busy: NDArray[np.float64],
    visits: Floats,
) -> None:
    """Write the core of each piece into ``chosen``, and what cores do into ``busy``.

    ``busy``    (2, cores, phases) processing and generation; ``visits``: (cores,).
    ``full``    seconds at which a core counts as full; 0 where it never does.
    ``tight``   a piece goes to the fullest core.
    """
    cores, phases = busy.shape[1:]
    most_visits, per = 0.0, (1.0 - ROUNDING) / limit
    busiest = np.zeros(phases)
    heard = np.zeros((cores, max(0, source.max()) + 1 if len(source) else 1), np.bool_)
    used = np.zeros((cores, len(limit)))
    for piece in order:
        k, n = which[piece], stop[piece] - start[piece]
        best, least, emptiest = NO_ROOM, np.inf, np.inf
        empty = False
        for core in range(cores):
            if used[core, NEURONS] == 0.0:
                if empty:  # as the one before
                    continue
                empty = True
            share = 0.0
            for j in range(len(limit)):
                share = max(share, (used[core, j] + need[piece, j]) * per[j])
                if share > 1.0:
                    break
            if share > 1.0:
                continue
            inputs = used[core, INPUT_AXONS]
            for s in range(first_source[k], first_source[k + 1]):
                if not heard[core, source[s]]:
                    inputs += axons[s] if axons[s] > 0 else n
            share = max(share, inputs * per[INPUT_AXONS])
            if share > 1.0:
                continue
            most = busy[1, core, phase[k]] + generation[k] * n
            longer = max(0.0, most - busiest[phase[k]])
            visited = visits[core] + visit[k] * n
            longer += phases * max(0.0, visited - most_visits)
            slowest = most + visited
            for t in range(first_time[k], first_time[k + 1]):
                most = busy[0, core, at[t]] + fixed[t] + growing[t] * n
                longer += max(0.0, most - busiest[at[t]])
                slowest = max(slowest, most)
            if full > 0.0:
                longer, share = 0.0, max(share, slowest / full)
            if tight:
                longer, share = 0.0, -share
            if longer < least - ROUNDING or (longer <= least + ROUNDING and share < emptiest):
                best, least, emptiest = core, min(least, longer), share
        chosen[piece] = best
        if best == NO_ROOM:
            continue
        used[best] += need[piece]
        for s in range(first_source[k], first_source[k + 1]):
            if not heard[best, source[s]]:
                used[best, INPUT_AXONS] += axons[s] if axons[s] > 0 else n
                heard[best, source[s]] = axons[s] > 0
        visits[best] += visit[k] * n
        most_visits = max(most_visits, visits[best])
        busy[1, best, phase[k]] += generation[k] * n
        busiest[phase[k]] = max(busiest[phase[k]], busy[1, best, phase[k]])
        for t in range(first_time[k], first_time[k + 1]):
            busy[0, best, at[t]] += fixed[t] + growing[t] * n
            busiest[at[t]] = max(busiest[at[t]], busy[0, best, at[t]])
