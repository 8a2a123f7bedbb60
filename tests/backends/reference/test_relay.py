"""A text on several threads gives the integers of one, chunk after chunk."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from spikegpt_neuro.backends.reference import ReferenceBackend, backend, relay, synapses, tiles
from spikegpt_neuro.backends.reference.executor import Executor, StateSink, StateSource
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.graph.graph import SpikingGraph

from random_models import random_model, random_tokens


@pytest.fixture(scope="module")
def graph() -> SpikingGraph:
    model = random_model(layers=2, width=40, vocab_size=50)
    return lower(model, random_tokens(model, 60))


@pytest.fixture(autouse=True)
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many threads as a test asks for, whatever the processor."""
    monkeypatch.setattr(backend, "most_threads", lambda: 3)
    if not tiles.available():  # then BLAS is asked, by one thread
        monkeypatch.setattr(tiles, "available", lambda: True)
        monkeypatch.setattr(synapses, "EVENT_BITS", 0)


@pytest.mark.parametrize("chunk", [None, 33])
@pytest.mark.parametrize("threads", [2, 3])
def test_everything_is_that_of_one_thread(
    graph: SpikingGraph, threads: int, chunk: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = np.random.default_rng(5).integers(0, 50, 307)
    alone = ReferenceBackend(threads=1).run(graph, tokens, record="events")
    workers = set()
    advance = Executor.advance

    def seen(*arguments: object, **options: object) -> object:
        workers.add(threading.get_ident())
        return advance(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Executor, "advance", seen)
    done: list[int] = []
    run = ReferenceBackend(chunk=chunk, threads=threads).run(
        graph, tokens, record="events", progress=lambda now, _: done.append(now)
    )
    assert threading.get_ident() not in workers
    assert done == sorted(done)
    assert done[-1] == len(tokens)
    assert np.array_equal(run.logits_int, alone.logits_int)
    assert all(np.array_equal(run.events[name], alone.events[name]) for name in alone.events)
    assert (run.activity, run.counts) == (alone.activity, alone.counts)


def test_chunks_wait_for_each_other_and_the_error_of_one_is_shown() -> None:
    """The third of seven fails after its first population; those that follow it do not hang."""

    def advance(start: int, state: StateSource, following: StateSink) -> None:
        for name in ("first", "second"):
            (value,) = state[name]
            assert value == start
            if (start, name) == (2, "second"):
                raise ZeroDivisionError
            following[name] = (value + 1,)

    zero = np.zeros(1, np.int32)
    done = relay.in_turn(advance, range(7), {"first": (zero,), "second": (zero,)}, 3)
    assert [next(done), next(done)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(done)
    whole = relay.in_turn(_pass_on, range(50), {"only": (zero,)}, 3)
    assert list(whole) == list(range(50))


def _pass_on(start: int, state: StateSource, following: StateSink) -> None:
    (value,) = state["only"]
    assert value == start
    following["only"] = (value + 1,)


def test_few_tokens_and_single_ones_take_one_thread(graph: SpikingGraph) -> None:
    reference = ReferenceBackend(threads=3)
    assert reference._division(backend.LEAST_CHUNK) == (reference.chunk, 1)
    assert reference._division(300) == (100, 3)
    assert ReferenceBackend(chunk=1, threads=3)._division(300) == (1, 1)
