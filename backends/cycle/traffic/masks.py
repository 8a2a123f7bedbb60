"""Who had an event: bit masks of the tokens in flight, and the integer run that they come from."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.backends.reference.backend import Recording
from spikegpt_neuro.backends.reference.executor import TOKEN, Executor
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.mapping.requirements import TOKENS
from spikegpt_neuro.neurons.program import Counts, IntArray
from spikegpt_neuro.running import ProjectionActivity, Record, Run

Indices = NDArray[np.int64]
Bits = NDArray[np.uint8]
Events = NDArray[np.integer] | NDArray[np.bool_]

CHUNK_TOKENS = 32


@dataclass(frozen=True)
class Layout:
    """Where a token's row of bits keeps each source: from byte ``offset[p]`` on, low bit first."""

    sources: tuple[str, ...]
    sizes: Indices

    @staticmethod
    def of(graph: SpikingGraph) -> Layout:
        """All populations, then one bit that stands for the token id itself."""
        names = [p.name for p in graph.populations]
        sizes = [p.size for p in graph.populations]
        return Layout((*names, TOKENS), np.array([*sizes, 1], np.int64))

    @property
    def ends(self) -> Indices:
        return np.cumsum(-(-self.sizes // 8))

    @property
    def offset(self) -> Indices:
        """(P,) first byte of each source."""
        return self.ends + -self.sizes // 8

    @property
    def bytes(self) -> int:
        """Bytes of one token."""
        return int(self.ends[-1])

    def empty(self, tokens: int) -> Bits:
        """Rows in which every token has arrived and no neuron has an event yet."""
        rows = np.zeros((tokens, self.bytes), np.uint8)
        rows[:, -1] = 1
        return rows

    def write(self, rows: Bits, name: str, events: Events) -> None:
        """Note which events (T, n) of population ``name`` are not 0."""
        packed = np.packbits(events != 0, axis=1, bitorder="little")
        begin = int(self.offset[self.sources.index(name)])
        rows[:, begin : begin + packed.shape[1]] = packed


class Masks:
    """The rows of the last ``capacity`` tokens."""

    def __init__(self, layout: Layout, capacity: int) -> None:
        self.bits = np.zeros((capacity, layout.bytes), np.uint8)
        self.offset = layout.offset
        self.tokens = 0

    def push(self, rows: Bits) -> None:
        """Add the rows of the next tokens; the oldest make room."""
        count = len(rows)
        self.bits[np.arange(self.tokens, self.tokens + count) % len(self.bits)] = rows
        self.tokens += count

    def rows_of(self, tokens: Indices) -> Indices:
        """Where the rows of ``tokens`` are; what is negative stays so."""
        return np.where(tokens < 0, tokens, tokens % len(self.bits))


class Chunk(NamedTuple):
    """Some tokens further: their rows of bits, and their integers where there are any."""

    rows: Bits
    run: Run | None


def integer_run(graph: SpikingGraph, tokens: Indices, record: Record) -> Iterator[Chunk]:
    """The reference's integers, chunk by chunk; every chunk is whole."""
    layout, executor = Layout.of(graph), Executor(graph)
    state = executor.initial_state()
    for start in range(0, len(tokens), CHUNK_TOKENS):
        begin = time.perf_counter()
        chunk = tokens[start : start + CHUNK_TOKENS]
        rows, recording = layout.empty(len(chunk)), Recording(graph, record, len(chunk))

        def see(
            name: str, events: IntArray, rows: Bits = rows, recording: Recording = recording
        ) -> None:
            layout.write(rows, name, events)
            recording.see(name, events)

        arrivals = {TOKEN: chunk.astype(np.int32)[:, None]}
        step = executor.advance(state, arrivals, keep=(), observe=see)
        state = step.state
        recording.count(step.counts)
        yield Chunk(rows, recording.finish(chunk, time.perf_counter() - begin))


def random_run(
    layout: Layout, rates: Mapping[str, float], tokens: int, seed: int = 0
) -> Iterator[Chunk]:
    """Events drawn at given rates, without integers: for shapes without trained weights."""
    rng = np.random.default_rng(seed)
    for start in range(0, tokens, CHUNK_TOKENS):
        rows = layout.empty(min(CHUNK_TOKENS, tokens - start))
        for name, size in zip(layout.sources[:-1], layout.sizes.tolist(), strict=False):
            layout.write(rows, name, rng.random((len(rows), size)) < rates[name])
        yield Chunk(rows, None)


def joined(runs: Sequence[Run], empty: Run) -> Run:
    """One run of consecutive ones; ``empty`` where there are none."""
    if not runs:
        return empty
    first = runs[0]
    return Run(
        tokens=np.concatenate([run.tokens for run in runs]),
        logits_int=np.concatenate([run.logits_int for run in runs]),
        logit_scale=first.logit_scale,
        events={name: np.concatenate([run.events[name] for run in runs]) for name in first.events},
        activity={
            name: sum((run.activity[name] for run in runs), ProjectionActivity())
            for name in first.activity
        },
        counts={name: _total(run.counts[name] for run in runs) for name in first.counts},
        seconds=sum(run.seconds for run in runs),
    )


def _total(counts: Iterable[Counts]) -> Counts:
    total = Counts()
    for count in counts:
        total = total + count
    return total
