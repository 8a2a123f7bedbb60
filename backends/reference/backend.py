"""The reference backend behind the common interface."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.backends.reference.executor import TOKEN, Executor, GraphState
from spikegpt_neuro.backends.reference.stepper import Stepper, obstacle
from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.graph.graph import Projection, SpikingGraph
from spikegpt_neuro.neurons.program import Counts, IntArray
from spikegpt_neuro.running import (
    Progress,
    ProjectionActivity,
    Record,
    Run,
    Session,
    activity_of,
    check_tokens,
    recorded_populations,
)

CHUNK_TOKENS = 512

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

    def __init__(self, graph: SpikingGraph, threads: int) -> None:
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

    ``chunk``    tokens per pass in sequence mode. The integers do not depend on it; memory does.
    ``threads``  threads that share the large products of a session (generation), at most as many
                 as there are cores.
    """

    name = "reference"

    def __init__(self, chunk: int = CHUNK_TOKENS, threads: int = 1) -> None:
        if chunk < 1 or threads < 1:
            raise UsageError(f"chunk {chunk} and threads {threads}: expected 1 or more")
        self.chunk = chunk
        self.threads = threads
        self._executor: Executor | None = None

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
        state = executor.initial_state()
        recording = Recording(graph, record)
        for start in range(0, len(tokens), self.chunk):
            chunk = tokens[start : start + self.chunk].astype(np.int32)
            arrivals = {TOKEN: chunk[:, None]}
            step = executor.advance(state, arrivals, keep=(), observe=recording.see)
            state = step.state
            recording.count(step.counts)
            if progress is not None:
                progress(start + len(chunk), len(tokens))
        return recording.finish(tokens, time.perf_counter() - begin)

    def _executor_of(self, graph: SpikingGraph) -> Executor:
        """The executor of the last run if it was of the same graph: its weights are laid out."""
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
    """Collects what a run shows, chunk by chunk."""

    def __init__(self, graph: SpikingGraph, record: Record) -> None:
        self.graph = graph
        self.events: dict[str, list[NDArray[np.integer]]] = {
            name: [] for name in recorded_populations(graph, record)
        }
        self.logits: list[IntArray] = []
        self.counts: dict[str, Counts] = {p.name: Counts() for p in graph.populations}
        self.activity = {q.name: ProjectionActivity() for q in graph.projections}
        self.readers: dict[str, list[Projection]] = {p.name: [] for p in graph.populations}
        for projection in graph.projections:
            self.readers[projection.source].append(projection)

    def see(self, name: str, events: IntArray) -> None:
        """Record the events of one population, and what they cost where they go."""
        for projection in self.readers[name]:
            self.activity[projection.name] += activity_of(projection, events)
        if name == self.graph.output.name:
            self.logits.append(events)
        if name in self.events:
            binary = self.graph.by_name[name].events.is_binary
            self.events[name].append(events.astype(np.uint8) if binary else events)

    def count(self, counts: Mapping[str, Counts]) -> None:
        """Add what the programs lost."""
        for name, count in counts.items():
            self.counts[name] += count

    def finish(self, tokens: NDArray[np.int64], seconds: float) -> Run:
        return Run(
            tokens=tokens,
            logits_int=np.concatenate(self.logits),
            logit_scale=self.graph.logit_scale,
            events={name: np.concatenate(chunks) for name, chunks in self.events.items()},
            activity=self.activity,
            counts=self.counts,
            seconds=seconds,
        )
