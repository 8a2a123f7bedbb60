"""What the host computes in one time step: every program that is not on the chip; no Lava in here.

All of them run in one process. A trip to the chip takes at least one time step, so no program
waits within a step for one after it, and each further process would cost about half a
millisecond per step on the way to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.backends.lava.steps import Recorder, Window
from spikegpt_neuro.backends.loihi.deployment import Deployment
from spikegpt_neuro.backends.reference.synapses import Synapses
from spikegpt_neuro.graph.graph import Population, Projection
from spikegpt_neuro.neurons.program import IntArray

Events = Mapping[str, "IntArray | None"]


class HostStep:
    """All populations on the host, each at its own stage of the pipeline.

    It is called once per time step, counted from 1 as Lava does.
    """

    def __init__(
        self, deployment: Deployment, tokens: NDArray[np.int64], recorders: Mapping[str, Recorder]
    ) -> None:
        graph = deployment.graph
        self._trips = deployment.trips
        self._populations = [
            _ChipLif(p, deployment, len(tokens), recorders[p.name])
            if p.name in deployment.lifs
            else _HostPopulation(p, deployment, tokens, recorders[p.name])
            for p in graph.populations
        ]
        sizes = {p.name: p.size for p in graph.populations}
        self._silence = {name: np.zeros(size, np.int32) for name, size in sizes.items()}

    def __call__(self, time_step: int, arrived: Sequence[IntArray]) -> list[IntArray]:
        """What leaves for each trip (n,), from what came back from each (n,)."""
        back: dict[str, IntArray] = {}
        for trip, values in zip(self._trips, arrived, strict=True):
            name, sums = trip.projection.name, np.asarray(values, np.int32)
            back[name] = back[name] + sums if name in back else sums
        events: dict[str, IntArray | None] = {}
        for population in self._populations:
            events[population.name] = population.advance(time_step, events, back)
        return [
            self._leaving(events[trip.source.name], trip.source.name)[trip.first : trip.last]
            for trip in self._trips
        ]

    def _leaving(self, events: IntArray | None, source: str) -> IntArray:
        return self._silence[source] if events is None else events


class _Inlet:
    """One port: its synapses, if they are on the host, and the FIFO that balances its delay."""

    def __init__(self, projection: Projection, deployment: Deployment) -> None:
        source = deployment.graph.by_name[projection.source]
        delay = deployment.stages[projection.target] - deployment.arrival(projection)
        self._waiting: deque[IntArray | None] = deque([None] * delay)
        self._from_chip = deployment.is_trip(projection)
        self._name, self._source = projection.name, projection.source
        self._synapses = None if self._from_chip else Synapses(projection, source.events)

    def pull(self, events: Events, back: Mapping[str, IntArray]) -> IntArray | None:
        """Put in what is new at this time step; take out what the population needs now."""
        self._waiting.append(back[self._name] if self._from_chip else events[self._source])
        return self._waiting.popleft()

    def accumulate(self, events: IntArray | None) -> IntArray:
        """The program's input (1, n)."""
        assert events is not None  # the stages say that it is there
        return events[None] if self._synapses is None else self._synapses.accumulate(events[None])


class _HostPopulation:
    """A program on the host: the embedding (which reads ``tokens``) or any other."""

    def __init__(
        self,
        population: Population,
        deployment: Deployment,
        tokens: NDArray[np.int64],
        recorder: Recorder,
    ) -> None:
        graph = deployment.graph
        self.name = population.name
        self._program = population.program
        self._tokens = tokens.astype(np.int32) if population is graph.input else None
        self._window = Window(deployment.stages[population.name], len(tokens))
        self._inlets = [_Inlet(q, deployment) for q in graph.incoming[population.name]]
        self._recorder = recorder
        self._state = population.program.initial_state(population.size)

    def advance(
        self, time_step: int, events: Events, back: Mapping[str, IntArray]
    ) -> IntArray | None:
        """Events (n,) of the token of this time step; None where there is none."""
        pulled = [inlet.pull(events, back) for inlet in self._inlets]
        token = self._window.token(time_step)
        if token is None:
            return None
        inputs = [i.accumulate(x) for i, x in zip(self._inlets, pulled, strict=True)]
        if self._tokens is not None:
            inputs = [self._tokens[token : token + 1, None]]
        try:
            self._state, sent, counts = self._program.advance(self._state, *inputs)
        except Exception as error:
            raise RuntimeError(f"population {self.name}: {error}") from error
        self._recorder.write(token, sent[0], counts)
        first: IntArray = sent[0]
        return first


class _ChipLif:
    """A LIF on the chip: its spikes are what came back."""

    def __init__(
        self, population: Population, deployment: Deployment, tokens: int, recorder: Recorder
    ) -> None:
        (self._projection,) = deployment.graph.incoming[population.name]
        self.name = population.name
        self._window = Window(deployment.stages[population.name], tokens)
        self._recorder = recorder

    def advance(
        self, time_step: int, events: Events, back: Mapping[str, IntArray]
    ) -> IntArray | None:
        """Spikes (n,) of the token of this time step; None where there is none."""
        token = self._window.token(time_step)
        if token is None:
            return None
        spikes = back[self._projection.name]
        self._recorder.write(token, spikes)
        return spikes
