"""A talk with a model: its state goes on, and a terminal's keys do what they say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import spikegpt_neuro as sgn

from random_models import random_model, save_upstream, write_vocabulary
from terminals import Terminal, opened
from verbs import verb

pytest.importorskip("torch", reason="torch writes the checkpoint")

ENDLESS = 10_000_000


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random 1-layer model."""
    folder = tmp_path_factory.mktemp("talk")
    save_upstream(folder / "model.pth", random_model(layers=1, width=16))
    write_vocabulary(folder / "vocab.json")
    sgn.save(sgn.convert(folder / "model.pth", vocab=folder / "vocab.json"), folder / "model.sgn")
    return folder / "model.sgn"


@pytest.fixture(scope="module")
def graph(artifact: Path) -> sgn.SpikingGraph:
    return sgn.load(artifact)


def ids(graph: sgn.SpikingGraph, text: str) -> list[int]:
    assert graph.vocabulary is not None
    return list(map(int, graph.vocabulary.encode(text)))


def likeliest(graph: sgn.SpikingGraph, before: list[int], count: int) -> list[int]:
    """What follows, each token from a run of its own over everything said."""
    said = list(before)
    for _ in range(count):
        said.append(int(np.argmax(sgn.run(graph, np.array(said)).logits_int[-1])))
    return said[len(before) :]


def test_the_state_goes_on_from_turn_to_turn(graph: sgn.SpikingGraph) -> None:
    said: list[int] = []
    with sgn.Chat(graph, temperature=0) as chat:
        for text in ("The", "quick", "fox"):
            answer = chat.say(text, 4).ids.tolist()
            said += ids(graph, f"\n{text}")
            assert answer == likeliest(graph, said, 4)
            said += answer
        chat.reset()
        assert chat.say("The", 4).ids.tolist() == said[4:8]


def test_the_first_answer_is_that_of_generate(graph: sgn.SpikingGraph) -> None:
    with sgn.Chat(graph, seed=3) as chat:
        assert chat.say("The", 20).text == sgn.generate(graph, "The", 20, seed=3).text


def test_a_stopped_answer_is_part_of_the_talk(graph: sgn.SpikingGraph) -> None:
    answers = iter([False, False, False, True])
    with sgn.Chat(graph, temperature=0) as chat:
        found = chat.say("The", 9, stop=lambda: next(answers))
        assert found.tokens == len(found.ids) == 3
        said = [*ids(graph, "\nThe"), *found.ids.tolist(), *ids(graph, "\nfox")]
        assert chat.say("fox", 3).ids.tolist() == likeliest(graph, said, 3)


def test_what_cannot_be_read_changes_nothing(graph: sgn.SpikingGraph) -> None:
    with sgn.Chat(graph, temperature=0) as chat, sgn.Chat(graph, temperature=0) as same:
        assert chat.say("The", 3).text == same.say("The", 3).text
        with pytest.raises(sgn.UnsupportedInput):
            chat.say("\u4e2d", 3)
        with pytest.raises(sgn.UnsupportedInput):
            chat.say("", 3)
        assert chat.say("fox", 5).text == same.say("fox", 5).text


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "PROMPT is missing"),
        (("-i", "-"), "leave out -"),
        (("-i", "--json"), "leave out --json"),
    ],
)
def test_what_does_not_go_together(given: tuple[str, ...], said: str, artifact: Path) -> None:
    found = verb("generate", artifact, *given)
    assert found.code == 2
    assert said in found.err


def command(artifact: Path, *options: object) -> list[str]:
    words = ["-m", "spikegpt_neuro", "generate", artifact, "-i", "--temperature", 0, *options]
    return [sys.executable, *map(str, words)]


def test_every_line_of_a_pipe_is_a_turn(artifact: Path, graph: sgn.SpikingGraph) -> None:
    lines = "The\n\nquick\n/reset\nThe\n"
    done = subprocess.run(
        command(artifact, "-n", 5, "fox"), input=lines, capture_output=True, text=True
    )
    with sgn.Chat(graph, temperature=0) as chat:
        expected = [chat.say(text, 5).text for text in ("fox", "The", "quick")]
        chat.reset()
        expected.append(chat.say("The", 5).text)
    assert done.stdout == "".join(f"{text}\n" for text in expected)
    assert (done.returncode, done.stderr) == (0, "")
    refused = subprocess.run(
        command(artifact, "-n", 5), input="\u4e2d\nThe\n", capture_output=True, text=True
    )
    assert (refused.returncode, refused.stdout) == (3, "")


@pytest.fixture
def terminal(artifact: Path) -> Iterator[Terminal]:
    with opened(command(artifact, "-n", ENDLESS)) as found:
        yield found


PROMPT = r"> $"


def interrupted(terminal: Terminal) -> str:
    """Ctrl-C until there is a new prompt: readline may hear one with the next key only."""
    for _ in range(30):
        terminal.type("\x03")
        with suppress(AssertionError):
            return terminal.until(r"\n[^\n]*> $", seconds=2)
    return terminal.until(r"\n[^\n]*> $")


def test_keys_at_a_terminal(terminal: Terminal) -> None:
    assert "Ctrl-C ends an answer, Ctrl-D the talk" in terminal.until(PROMPT)
    terminal.type("The\n")
    terminal.until(r"(?s)The\r\n.{200,}")  # it answers, and would not end
    interrupted(terminal)
    terminal.type("not this")
    terminal.until("not this")
    interrupted(terminal)
    terminal.type("\x1b[A")
    terminal.until("The")  # arrow up: the line that was sent, not the one dropped
    interrupted(terminal)
    terminal.type("\u4e2d\n")
    assert "error:" in terminal.until(r"error[^\n]*\n[^\n]*> $")
    terminal.type("\x04")
    assert terminal.program.wait(60) == 0
