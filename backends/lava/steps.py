"""What the Lava processes compute in one time step; no Lava in here.

A step is called once per time step, counted from 1 as Lava does, and returns what its process
sends. It keeps the state of its neurons.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.backends.lava.job import CLIPPED, SATURATIONS, Memmap
from spikegpt_neuro.backends.lava.parts import Part
from spikegpt_neuro.backends.reference.executor import TOKEN, Executor
from spikegpt_neuro.graph.graph import Population, SpikingGraph
from spikegpt_neuro.neurons.program import Counts, IntArray


class Step(Protocol):
    """One Lava process's computation."""

    def __call__(self, time_step: int, inputs: Sequence[IntArray]) -> IntArray:
        """Events (n,) sent at ``time_step``, from what arrived on the ports (n,) each.

        In frames, both are (frame, n).
        """


@dataclass(frozen=True)
class Recorder:
    """Where the events of one population go: a row of ``events`` per token, and tallies.

    ``tally`` counts what was lost, ``sent`` (n,) the events of each neuron, where given.
    :meth:`write` takes the events (n,) of one token, or (T, n) of a slice of tokens.
    """

    tally: Memmap
    events: Sequence[Memmap] = ()
    sent: Memmap | None = None

    def write(self, token: int | slice, events: IntArray, counts: Counts | None = None) -> None:
        for array in self.events:
            array[token] = events
        if self.sent is not None:
            self.sent[:] += np.count_nonzero(np.atleast_2d(events), axis=0)
        if counts is not None:
            self.tally[SATURATIONS] += counts.saturations
            self.tally[CLIPPED] += counts.clipped


class Inlet:
    """One port: the FIFO that balances its delay, the projection's shift, a recorder.

    ``recorder`` is that of the population the port listens to, where it is a stock LIF,
    which cannot record itself, and no other port does.
    """

    def __init__(self, size: int, delay: int, shift: int, recorder: Recorder | None) -> None:
        self._waiting = deque([np.zeros(size, np.int32)] * delay)
        self._shift = shift
        self._recorder = recorder

    def pull(self, arrived: IntArray) -> IntArray:
        """Put in what arrived at this time step; take out what the population needs now."""
        self._waiting.append(np.asarray(arrived, np.int32))
        return self._waiting.popleft()

    def accept(self, token: int, events: IntArray) -> IntArray:
        """The program's input (1, n) for ``token``."""
        if self._recorder is not None:
            self._recorder.write(token, events)
        return (events << self._shift)[None]


@dataclass(frozen=True)
class Window:
    """The time steps at which a population at ``stage`` works on the tokens 0..tokens-1."""

    stage: int
    tokens: int

    def token(self, time_step: int) -> int | None:
        """The token of ``time_step``; None before the first and after the last."""
        token = time_step - 1 - self.stage
        return token if 0 <= token < self.tokens else None


class InputStep:
    """The embedding: it holds the tokens and has no ports."""

    def __init__(
        self, population: Population, tokens: NDArray[np.int64], recorder: Recorder
    ) -> None:
        self._population = population
        self._tokens = tokens.astype(np.int32)
        self._recorder = recorder
        self._window = Window(0, len(tokens))
        self._state = population.program.initial_state(population.size)

    def __call__(self, time_step: int, inputs: Sequence[IntArray]) -> IntArray:
        token = self._window.token(time_step)
        if token is None:
            return np.zeros(self._population.size, np.int32)
        ids = self._tokens[token : token + 1, None]
        self._state, events, counts = self._population.program.advance(self._state, ids)
        sent: IntArray = events[0]
        self._recorder.write(token, sent, counts)
        return sent


class PopulationStep:
    """Any population but the embedding and the LIFs: its program, one token per time step."""

    def __init__(
        self, population: Population, window: Window, inlets: Sequence[Inlet], recorder: Recorder
    ) -> None:
        self._program = population.program
        self._window = window
        self._inlets = inlets
        self._recorder = recorder
        self._silence = np.zeros(population.size, np.int32)
        self._state = population.program.initial_state(population.size)

    def __call__(self, time_step: int, inputs: Sequence[IntArray]) -> IntArray:
        pulled = [inlet.pull(x) for inlet, x in zip(self._inlets, inputs, strict=True)]
        token = self._window.token(time_step)
        if token is None:
            return self._silence
        accepted = [
            inlet.accept(token, events) for inlet, events in zip(self._inlets, pulled, strict=True)
        ]
        self._state, events, counts = self._program.advance(self._state, *accepted)
        sent: IntArray = events[0]
        self._recorder.write(token, sent, counts)
        return sent


class ListenerStep:
    """Records a stock LIF that feeds stock processes only."""

    def __init__(self, size: int, window: Window, recorder: Recorder) -> None:
        self._window = window
        self._recorder = recorder
        self._silence = np.zeros(size, np.int32)

    def __call__(self, time_step: int, inputs: Sequence[IntArray]) -> IntArray:
        token = self._window.token(time_step)
        if token is not None:
            self._recorder.write(token, inputs[0])
        return self._silence


class PartStep:
    """All populations of a :class:`Part`, a frame of up to ``frame`` tokens per time step.

    The programs give the same integers for many tokens at once as one by one, and so do frames
    of any size. ``inputs`` and the result are the part's boundaries, (frame, n): the events of
    several populations side by side; rows after the last token are 0. The first part takes its
    tokens from ``tokens``, or where that is None (closed loop) from its input.
    """

    def __init__(
        self,
        graph: SpikingGraph,
        part: Part,
        tokens: NDArray[np.int64] | None,
        recorders: dict[str, Recorder],
        frame: int = 1,
    ) -> None:
        self._part = part
        self._tokens = tokens
        self._recorders = recorders
        self._frame = frame
        self._executor = Executor(graph, part.populations)
        self._state = self._executor.initial_state()
        sizes = [graph.by_name[name].size for name in part.receives]
        self._cuts = np.cumsum(sizes)[:-1]
        self._keep = {*part.sends, *recorders}

    def __call__(self, time_step: int, inputs: Sequence[IntArray]) -> IntArray:
        begin = (time_step - 1) * self._frame
        remaining = self._frame if self._tokens is None else len(self._tokens) - begin
        tokens = slice(begin, begin + min(self._frame, remaining))
        arrivals = self._arrivals(tokens, inputs)
        step = self._executor.advance(self._state, arrivals, self._keep)
        self._state = step.state
        for name, recorder in self._recorders.items():
            recorder.write(tokens, step.events[name], step.counts[name])
        known = {**arrivals, **step.events}
        sent = np.concatenate([known[name] for name in self._part.sends], axis=1)
        return np.pad(sent, ((0, self._frame - len(sent)), (0, 0)))

    def _arrivals(self, tokens: slice, inputs: Sequence[IntArray]) -> dict[str, IntArray]:
        if not self._part.receives:
            ids = inputs[0] if self._tokens is None else self._tokens[tokens, None]
            return {TOKEN: np.asarray(ids, np.int32)}
        arrived = np.asarray(inputs[0], np.int32)[: tokens.stop - tokens.start]
        pieces = np.split(arrived, self._cuts, axis=1)
        names = self._part.receives
        return {name: np.ascontiguousarray(p) for name, p in zip(names, pieces, strict=True)}
