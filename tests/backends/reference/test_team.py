"""Several threads give the integers of one, and none of them outlives its session."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from spikegpt_neuro.arithmetic.threads import most_threads
from spikegpt_neuro.backends.reference import ReferenceBackend, stepper
from spikegpt_neuro.backends.reference.stepper import LARGE_BYTES, Stepper
from spikegpt_neuro.backends.reference.team import call_helpers
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.graph.graph import SpikingGraph

from children import child
from places import SUPPORT
from random_models import random_model, random_tokens
from toy_graph import toy_graph

PATIENCE = 60.0


@pytest.fixture(scope="module")
def graph() -> SpikingGraph:
    """Odd sizes, both orders of weights, products large and small."""
    model = random_model(layers=2, width=263, vocab_size=301, hidden_density=0.2)
    return lower(model, random_tokens(model, 100))


@pytest.fixture(autouse=True)
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many threads as a test asks for, however many cores there are."""
    monkeypatch.setattr(stepper, "most_threads", lambda: 3)


def helpers() -> int:
    return threading.active_count() - 1


def assert_no_helpers() -> None:
    for _ in range(int(PATIENCE / 0.01)):
        if not helpers():
            break
        time.sleep(0.01)
    assert helpers() == 0


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_integer_is_that_of_one_thread(threads: int, bits: int, graph: SpikingGraph) -> None:
    if bits == 4:
        model = random_model(layers=1, width=387, vocab_size=301, hidden_density=0.2)
        graph = lower(model, random_tokens(model, 100), weight_bits=bits)
    dense = [q for q in graph.projections if q.is_dense]
    assert {q.by_source for q in dense if q.synapses * bits // 8 > LARGE_BYTES} == {True, False}
    tokens = np.random.default_rng(3).integers(0, graph.shape.vocab_size, 200)
    expected = ReferenceBackend().run(graph, tokens, record="logits").logits_int
    with ReferenceBackend(threads=threads).session(graph) as session:
        assert helpers() == threads - 1
        assert np.array_equal([session.step(int(token)) for token in tokens], expected)
    assert_no_helpers()


def test_a_graph_without_large_products_needs_no_helpers() -> None:
    assert Stepper(toy_graph(), threads=3).threads == 1


def test_threads_are_at_most_as_many_as_cores() -> None:
    assert 1 <= most_threads() <= max(1, os.cpu_count() or 1)


def test_a_closed_stepper_goes_on_alone(graph: SpikingGraph) -> None:
    team, alone = Stepper(graph, 3), Stepper(graph)
    assert np.array_equal(team.step(5), alone.step(5))
    team.close()
    assert_no_helpers()
    assert np.array_equal(team.step(7), alone.step(7))
    team.close()


def test_a_stepper_that_nobody_has_ends_its_helpers(graph: SpikingGraph) -> None:
    team = Stepper(graph, 2)
    team.step(5)
    assert helpers() == 1
    del team
    gc.collect()
    assert_no_helpers()


def test_an_error_of_the_leader_ends_its_helpers(
    graph: SpikingGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leader calls, and then fails before the first meeting."""

    def fail(board: np.ndarray, threads: int, *_: object) -> None:
        call_helpers(board, threads)
        time.sleep(0.05)  # they wait at the first meeting now
        raise ZeroDivisionError

    team = Stepper(graph, 3)
    team.step(5)
    monkeypatch.setattr(stepper, "_walk", fail)
    with pytest.raises(ZeroDivisionError):
        team.step(5)
    assert_no_helpers()


def test_an_error_in_a_session_ends_its_helpers(graph: SpikingGraph) -> None:
    with pytest.raises(KeyboardInterrupt), ReferenceBackend(threads=2).session(graph):
        raise KeyboardInterrupt
    assert_no_helpers()


STEP_FOR_EVER = """
import sys
from random_models import random_model, random_tokens
from spikegpt_neuro.backends.reference import stepper
from spikegpt_neuro.converters.lowering import lower
stepper.most_threads = lambda: 2
model = random_model(layers=1, width=300, vocab_size=300)
team = stepper.Stepper(lower(model, random_tokens(model, 20)), 2)
team.step(0)
print(team.threads, flush=True)
while sys.argv[1] == "for ever":
    team.step(1)
"""


@pytest.mark.parametrize("end", ["end", "interrupt"])
def test_the_interpreter_ends_with_a_team_at_work(end: str) -> None:
    path = os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", STEP_FOR_EVER, "for ever" if end == "interrupt" else "once"]
    environment = {**os.environ, "PYTHONPATH": path}
    with child(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"2\n"
        if end == "interrupt":
            time.sleep(0.1)
            process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == (-signal.SIGINT if end == "interrupt" else 0)
