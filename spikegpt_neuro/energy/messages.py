"""Who sent how many messages to which core over a run, from event counts and a placement.

A neuron with an event sends one message to each core that holds at least one of its targets, the
core it stands on included. Neurons lie in contiguous pieces, so that the messages between two
cores are a difference of running sums: no event needs to be looked at twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.energy.activity import Activity
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.mapping.requirements import TOKENS, Workload
from spikegpt_neuro.mapping.traffic import Interval, Piece, by_population, reached

HOST = -1
"""Where a message comes from or goes to that is no core."""

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Messages:
    """``count[k]`` messages of ``sender[k]`` from core ``source[k]`` to core ``target[k]``.

    ``senders``  the populations in the graph's order, then :data:`TOKENS`: the token ids that an
                 embedding on the chip receives. ``sender`` counts in them.
    ``source``, ``target``  cores of the placement, or :data:`HOST`.
    """

    senders: tuple[str, ...]
    sender: Integers
    source: Integers
    target: Integers
    count: Integers


def messages_of(
    graph: SpikingGraph, activity: Activity, load: Workload, pieces: Sequence[Piece]
) -> Messages:
    """All messages of a run, those from and to the host included."""
    senders = (*(p.name for p in graph.populations), TOKENS)
    number = {name: index for index, name in enumerate(senders)}
    placed = by_population(pieces)
    rows = [
        (number[source], *route)
        for source in load.readers
        if source != TOKENS
        for route in _sent(load, source, placed, activity.per_neuron[source])
    ]
    # Each core that holds a part of the embedding hears every token id.
    listening = sorted({piece.core for piece in placed.get(graph.input.name, ())})
    rows += [(number[TOKENS], HOST, core, activity.tokens) for core in listening]
    return Messages(senders, *np.array(rows, np.int64).reshape(-1, 4).T)


def _sent(
    load: Workload, source: str, placed: Mapping[str, Sequence[Piece]], events: Integers
) -> Iterator[tuple[int, int, int]]:
    """(from, to, messages) of one population, whose neurons had ``events`` (n,)."""
    total = np.concatenate([[0], np.cumsum(events)])
    pieces = placed.get(source, [Piece(source, 0, len(events), HOST)])
    for core, intervals in reached(load, source, placed).items():
        for piece in pieces:
            yield piece.core, core, _within(total, intervals, piece)
    if source in load.to_host:
        for piece in pieces:
            yield piece.core, HOST, int(total[piece.stop] - total[piece.start])


def _within(total: Integers, intervals: Sequence[Interval], piece: Piece) -> int:
    """Events of the piece's neurons that lie in ``intervals``."""
    clipped = ((max(start, piece.start), min(stop, piece.stop)) for start, stop in intervals)
    return sum(int(total[stop] - total[start]) for start, stop in clipped if start < stop)
