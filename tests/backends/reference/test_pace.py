"""How many threads take a token: a team where it is quicker, one thread where it is not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spikegpt_neuro.arithmetic import threads
from spikegpt_neuro.backends.reference import ReferenceBackend, pace, stepper
from spikegpt_neuro.backends.reference.pace import Pace, team_sizes
from spikegpt_neuro.converters.lowering import lower

from random_models import random_model, random_tokens

Machine = Callable[[int], float]
"""Seconds that a token takes with so many threads."""


@pytest.fixture(autouse=True)
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "free_cores", lambda: 64)


def run(session: Pace, machine: Machine, tokens: int) -> tuple[list[int], float]:
    """The threads of every token, and the seconds that all took."""
    taken, seconds = [], 0.0
    for _ in range(tokens):
        taken.append(session.threads)
        seconds += machine(session.threads)
        session.took(machine(session.threads))
    return taken, seconds


def idle_machine(size: int) -> float:
    return 0.2 + 1 / min(size, 4)  # memory is busy with four


def busy_machine(size: int) -> float:
    return 1.2 if size == 1 else 3.0 * size


def test_sizes_are_powers_of_two_and_all() -> None:
    assert [team_sizes(most) for most in (1, 2, 3, 8)] == [(1,), (1, 2), (1, 2, 3), (1, 2, 4, 8)]


def test_the_smallest_team_that_is_nearly_the_quickest_stays() -> None:
    taken, _ = run(Pace(16), idle_machine, 1000)
    assert set(taken[:40]) == {1, 2, 4, 8, 16}
    assert set(taken[40:]) == {4}


def test_one_thread_stays_where_a_team_is_hardly_quicker() -> None:
    taken, _ = run(Pace(2), lambda size: (1.0, 0.95)[size - 1], 300)
    assert taken.count(2) < 12


@pytest.mark.parametrize("tokens", [100, 1000, 10_000])
def test_a_busy_machine_costs_little(tokens: int) -> None:
    """Though the system does not say so; the first trial alone takes a team's token or two."""
    _, seconds = run(Pace(2), busy_machine, tokens)
    assert seconds < 1.1 * tokens * busy_machine(1)


def test_where_no_core_is_free_no_team_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "free_cores", lambda: 1)
    taken, _ = run(Pace(8), idle_machine, 3000)
    assert set(taken) == {1}


def test_a_team_gives_way_where_the_machine_gets_busy_and_comes_back() -> None:
    session = Pace(2)
    assert run(session, idle_machine, 200)[0][-1] == 2
    taken, _ = run(session, busy_machine, 200)
    assert taken[:1] == [2]
    assert set(taken[1:60]) == {1}
    assert run(session, idle_machine, 600)[0][-1] == 2


def test_a_team_gives_way_where_it_is_no_quicker_any_more() -> None:
    session = Pace(2)
    run(session, idle_machine, 200)
    taken, _ = run(session, lambda _: 1.25, 200)
    assert taken[2 * pace.WATCHED :].count(2) < 10


def test_no_integer_depends_on_how_many_work(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model(layers=2, width=263, vocab_size=301, hidden_density=0.2)
    graph = lower(model, random_tokens(model, 100))
    tokens = np.random.default_rng(3).integers(0, 301, 150)
    expected = ReferenceBackend().run(graph, tokens, record="logits").logits_int
    monkeypatch.setattr(stepper, "most_threads", lambda: 3)
    drawn = np.random.default_rng(4)
    monkeypatch.setattr(Pace, "took", lambda self, _: setattr(self, "threads", draw(drawn)))
    with ReferenceBackend().session(graph) as session:
        assert np.array_equal([session.step(int(token)) for token in tokens], expected)


def draw(rng: np.random.Generator) -> int:
    return int(rng.integers(1, 4))


def test_free_cores_are_those_that_nobody_else_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    for said, free in (("3/90", 6), ("1/90", 8), ("20/90", 1), ("many", 8)):
        text = f"0.1 0.2 0.3 {said} 77\n"
        monkeypatch.setattr(Path, "read_text", lambda _, text=text: text)
        assert threads.free_cores() == free
