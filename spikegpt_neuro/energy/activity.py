"""What a run of any backend says about activity, in one form: measured, never assumed.

An event is a payload that is not 0. :class:`Tally` counts as a run goes by, population by
population and chunk by chunk, so that the events need never all be in memory;
:func:`activity_of` counts a finished run that recorded every population. Both give the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.running import Run


@dataclass(frozen=True)
class Activity:
    """Non-zero events of every population: the statistic from which all else follows.

    ``per_token``   population -> (T,) events that it sent for each token.
    ``per_neuron``  population -> (n,) events of each neuron over the run.
    ``largest``     population -> largest absolute payload that it sent; 0: it stayed silent.
    """

    tokens: int
    per_token: Mapping[str, NDArray[np.int64]]
    per_neuron: Mapping[str, NDArray[np.int64]]
    largest: Mapping[str, int] = field(default_factory=dict)

    def events(self, population: str) -> int:
        """Events of a population over the run."""
        return int(self.per_token[population].sum())


class Tally:
    """Counts events while they are sent: ``see`` is an observer for any executor.

    The chunks of one population must come in the order of their tokens; those of different
    populations may come in any order.
    """

    def __init__(self, graph: SpikingGraph) -> None:
        self._per_token: dict[str, list[NDArray[np.int64]]] = {
            p.name: [] for p in graph.populations
        }
        self._per_neuron = {p.name: np.zeros(p.size, np.int64) for p in graph.populations}
        self._largest = {p.name: 0 for p in graph.populations}

    def see(self, population: str, events: NDArray[np.integer]) -> None:
        """Count ``events`` (T, n) of a population for the next T tokens."""
        sent = events != 0
        self._per_token[population].append(np.count_nonzero(sent, axis=1).astype(np.int64))
        self._per_neuron[population] += np.count_nonzero(sent, axis=0)
        if events.size:
            extremes = (abs(int(events.min())), abs(int(events.max())))
            self._largest[population] = max(self._largest[population], *extremes)

    def activity(self) -> Activity:
        """What was counted.

        Raises :class:`UsageError` if some population was seen for fewer tokens than others.
        """
        none = np.zeros(0, np.int64)
        per_token = {name: np.concatenate([none, *c]) for name, c in self._per_token.items()}
        lengths = {name: len(counts) for name, counts in per_token.items()}
        tokens = max(lengths.values())
        if missing := [name for name, length in lengths.items() if length != tokens]:
            raise UsageError(
                f"activity of population {missing[0]}: {lengths[missing[0]]} of {tokens} tokens "
                "were recorded; run with record='events'"
            )
        return Activity(tokens, per_token, self._per_neuron, self._largest)


def activity_of(graph: SpikingGraph, run: Run) -> Activity:
    """Activity of a run with ``record="events"``, whatever backend ran it."""
    tally = Tally(graph)
    for name, events in run.events.items():
        tally.see(name, events)
    tally.see(graph.output.name, run.logits_int)
    return tally.activity()
