"""The reference backend behind the common interface."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.arithmetic.threads import most_threads
from spikegpt_neuro.backends.reference import tiles
from spikegpt_neuro.backends.reference.executor import (
    TOKEN,
    Executor,
    GraphState,
    StateSink,
    StateSource,
)
from spikegpt_neuro.backends.reference.relay import in_turn
from spikegpt_neuro.backends.reference.stepper import Stepper, obstacle
from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.neurons.program import Counts, IntArray
from spikegpt_neuro.running import (
    Progress,
    ProjectionActivity,
    Record,
    Run,
    Session,
    check_tokens,
    recorded_populations,
)

CHUNK_TOKENS, CHUNK_TOKENS_BLAS = 128, 512
"""Tokens per pass: what a processor's second-level cache holds; BLAS would rather have more."""
LEAST_CHUNK = 32
"""Fewer tokens are not shared out to threads."""

LOG = logging.getLogger(__name__)


class ExecutorSession:
    """Token by token through the executor, for graphs that the stepper cannot take."""

    def __init__(self, graph: SpikingGraph) -> None:
        self._graph = graph
        self._executor = Executor(graph)
        self._keep = (graph.output.name,)
        self._state: GraphState = self._executor.initial_state()

    def step(self, token: int) -> IntArray:
        """Integer logits (V,) after ``token``."""
        tokens = check_tokens(self._graph, [token]).astype(np.int32)
        step = self._executor.advance(self._state, {TOKEN: tokens[:, None]}, self._keep)
        self._state = step.state
        logits: IntArray = step.events[self._graph.output.name][0]
        return logits


class StepperSession:
    """Token by token through the compiled stepper."""

    def __init__(self, graph: SpikingGraph, threads: int | None) -> None:
        self._graph = graph
        self._stepper = Stepper(graph, threads)

    def step(self, token: int) -> IntArray:
        """Integer logits (V,) after ``token``."""
        (checked,) = check_tokens(self._graph, [token])
        return self._stepper.step(int(checked)).copy()

    @property
    def by_source(self) -> frozenset[str]:
        """The projections whose weights are now read by source: only where an event arrives."""
        return self._stepper.by_source

    def close(self) -> None:
        """End its threads."""
        self._stepper.close()


class ReferenceBackend:
    """Runs every neuron program as it is written; see ``docs/architecture.md``.

    ``chunk``    tokens per pass in sequence mode (None: what suits the products). The integers do
                 not depend on it; memory does.
    ``threads``  threads that share the large products of a session (generation; None: as many as
                 turn out to be quickest) or the chunks of a text (None: as many as there are
                 cores), at most as many as there are cores.
    """

    name = "reference"

    def __init__(self, chunk: int | None = None, threads: int | None = None) -> None:
        for name, value in (("chunk", chunk), ("threads", threads)):
            if value is not None and value < 1:
                raise UsageError(f"{name} {value}: expected 1 or more")
        self._chunk = chunk
        self.threads = threads
        self._executor: Executor | None = None
        self._lock = Lock()

    @property
    def chunk(self) -> int:
        """Tokens per pass."""
        return self._chunk or (CHUNK_TOKENS if tiles.available() else CHUNK_TOKENS_BLAS)

    def run(
        self,
        graph: SpikingGraph,
        tokens: NDArray[np.int64],
        *,
        record: Record = "spikes",
        progress: Progress | None = None,
    ) -> Run:
        """Sequence mode: ``tokens`` from the initial state, in chunks, state carried."""
        begin = time.perf_counter()
        tokens = check_tokens(graph, tokens)
        executor = self._executor_of(graph)
        recording = Recording(graph, record, len(tokens))
        size, threads = self._division(len(tokens))
        starts = range(0, len(tokens), size)

        def advance(start: int, state: StateSource, following: StateSink) -> None:
            chunk = tokens[start : start + size].astype(np.int32)
            see = partial(recording.see, start=start)
            arrivals = {TOKEN: chunk[:, None]}
            step = executor.advance(state, arrivals, keep=(), observe=see, following=following)
            recording.count(step.counts)

        for start in in_turn(advance, starts, executor.initial_state(), threads):
            if progress is not None:
                progress(min(start + size, len(tokens)), len(tokens))
        return recording.finish(tokens, time.perf_counter() - begin)

    def _division(self, tokens: int) -> tuple[int, int]:
        """Tokens of a chunk, and threads; BLAS has threads of its own."""
        most = most_threads() if tiles.available() else 1
        threads = min(self.threads or most, most, max(1, tokens // LEAST_CHUNK))
        chunks = -(-tokens // self.chunk)
        if threads == 1 or self.chunk < LEAST_CHUNK:
            return self.chunk, 1
        return -(-tokens // (-(-chunks // threads) * threads)), threads

    def _executor_of(self, graph: SpikingGraph) -> Executor:
        """The executor of the last run if it was of the same graph: its weights are laid out."""
        with self._lock:
            if self._executor is None or self._executor.graph is not graph:
                self._executor = Executor(graph)
            return self._executor

    @contextmanager
    def session(self, graph: SpikingGraph) -> Iterator[Session]:
        """Token mode, for generation; logged where it has to take the slow way."""
        reason = obstacle(graph)
        if reason is None:
            with closing(StepperSession(graph, self.threads)) as session:
                yield session
        else:
            LOG.info("%s: the session runs through the executor, generation is slower", reason)
            yield ExecutorSession(graph)


class Recording:
    """Collects what a run of ``tokens`` tokens shows, chunk by chunk, from several threads."""

    def __init__(self, graph: SpikingGraph, record: Record, tokens: int) -> None:
        self.graph = graph
        self.events: dict[str, NDArray[np.integer]] = {}
        for name in recorded_populations(graph, record):
            population = graph.by_name[name]
            dtype = np.uint8 if population.events.is_binary else np.int32
            self.events[name] = np.empty((tokens, population.size), dtype)
        self.logits = np.empty((tokens, graph.output.size), np.int32)
        self.counts: dict[str, Counts] = {p.name: Counts() for p in graph.populations}
        self._sent = {
            q.source: np.zeros(graph.by_name[q.source].size, np.int64) for q in graph.projections
        }
        self._lock = Lock()

    def see(self, name: str, events: IntArray, start: int = 0) -> None:
        """Record the events of one population from token ``start`` on, and how many they are."""
        rows = slice(start, start + len(events))
        if name == self.graph.output.name:
            self.logits[rows] = events
        if name in self.events:
            self.events[name][rows] = events
        if name in self._sent:
            sent = events_sent(events)
            with self._lock:
                self._sent[name] += sent

    def count(self, counts: Mapping[str, Counts]) -> None:
        """Add what the programs lost."""
        with self._lock:
            for name, count in counts.items():
                self.counts[name] += count

    def finish(self, tokens: NDArray[np.int64], seconds: float) -> Run:
        return Run(
            tokens=tokens,
            logits_int=self.logits,
            logit_scale=self.graph.logit_scale,
            events=self.events,
            activity={
                q.name: ProjectionActivity.of(q, self._sent[q.source], len(tokens))
                for q in self.graph.projections
            },
            counts=self.counts,
            seconds=seconds,
        )


@kernel
def events_sent(events: IntArray) -> NDArray[np.int64]:
    """How many events (T, n) each neuron sent that are not 0: (n,)."""
    sent = np.zeros(events.shape[1], np.int64)
    for t in range(events.shape[0]):
        for i in range(events.shape[1]):
            sent[i] += events[t, i] != 0
    return sent
