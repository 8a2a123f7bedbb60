"""Execution of a graph, or of some of its populations, over any number of tokens.

Populations run in the order of the graph, each over all T tokens at once: T = 1 is the token
mode (generation), a larger T the sequence mode (evaluation). The programs guarantee that both
give the same integers, since each runs one kernel that carries its state from token to token.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, Protocol

from spikegpt_neuro.backends.reference.synapses import Synapses
from spikegpt_neuro.graph.graph import Population, SpikingGraph
from spikegpt_neuro.neurons.program import Counts, IntArray, State

TOKEN = "token"
"""Name under which the token ids (T, 1) arrive at the embedding."""

GraphState = Mapping[str, State]
Observer = Callable[[str, IntArray], None]


class StateSource(Protocol):
    """Where the state of a population is read from."""

    def __getitem__(self, name: str, /) -> State: ...


class StateSink(Protocol):
    """Where the state of a population is put."""

    def __setitem__(self, name: str, state: State, /) -> None: ...


class GraphAdvance(NamedTuple):
    """Result of :meth:`Executor.advance`."""

    state: GraphState
    events: Mapping[str, IntArray]
    counts: Mapping[str, Counts]


class Executor:
    """Runs ``populations`` (all where None) of ``graph``.

    ``arriving``  names of the populations outside whose events must be handed in;
                  ``"token"`` where the embedding is inside.
    """

    def __init__(self, graph: SpikingGraph, populations: Collection[str] | None = None) -> None:
        self.graph = graph
        self.populations: tuple[Population, ...] = tuple(
            p for p in graph.populations if populations is None or p.name in populations
        )
        inside = {p.name for p in self.populations}
        sources = {q.source for p in self.populations for q in graph.incoming[p.name]}
        self.arriving: tuple[str, ...] = tuple(
            p.name for p in graph.populations if p.name in sources - inside
        ) + ((TOKEN,) if graph.input.name in inside else ())
        self._synapses = {
            q.name: Synapses(q, graph.by_name[q.source].events)
            for p in self.populations
            for q in graph.incoming[p.name]
        }
        last_reader = {q.source: p.name for p in self.populations for q in graph.incoming[p.name]}
        self._last_read: dict[str, tuple[str, ...]] = {
            p.name: tuple(source for source, reader in last_reader.items() if reader == p.name)
            for p in self.populations
        }

    def initial_state(self) -> GraphState:
        """State before the first token."""
        return {p.name: p.program.initial_state(p.size) for p in self.populations}

    def advance(
        self,
        state: StateSource,
        arrivals: Mapping[str, IntArray],
        keep: Collection[str] | None = None,
        observe: Observer | None = None,
        following: StateSink | None = None,
    ) -> GraphAdvance:
        """Run T tokens; ``arrivals`` holds (T, n) events for each name in ``arriving``.

        ``observe`` sees the events of every population as they are sent. ``events`` of the
        result holds those named by ``keep`` (all where None); others are freed as soon as
        no population needs them. The state of each population is read when its turn comes, and
        put into ``following`` as soon as it has advanced.
        """
        events: dict[str, IntArray] = dict(arrivals)
        next_state: dict[str, State] = {}
        counts: dict[str, Counts] = {}
        for population in self.populations:
            inputs = self._inputs(population, events)
            advance = population.program.advance(state[population.name], *inputs)
            next_state[population.name] = advance.state
            if following is not None:
                following[population.name] = advance.state
            counts[population.name] = advance.counts
            events[population.name] = advance.events
            if observe is not None:
                observe(population.name, advance.events)
            if keep is not None:
                self._free(population, events, keep)
        produced = {p.name: events[p.name] for p in self.populations if p.name in events}
        return GraphAdvance(next_state, produced, counts)

    def _inputs(self, population: Population, events: Mapping[str, IntArray]) -> list[IntArray]:
        if population is self.graph.input:
            return [events[TOKEN]]
        incoming = self.graph.incoming[population.name]
        return [self._synapses[q.name].accumulate(events[q.source]) for q in incoming]

    def _free(
        self, population: Population, events: dict[str, IntArray], keep: Collection[str]
    ) -> None:
        for name in self._last_read[population.name]:
            if name not in keep:
                del events[name]
