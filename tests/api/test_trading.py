"""``tradeoff``: points that are measured, kept, found again, and marked."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spikegpt_neuro as sgn
from spikegpt_neuro.api import trading
from spikegpt_neuro.cli import run as cli
from spikegpt_neuro.evaluation.trade import load_tradeoff

from random_models import random_model, save_upstream, write_vocabulary

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch writes the checkpoint"
)
TEXT = "The return value is a new object. If the argument is None, the default is used. " * 60
SMALL: dict[str, Any] = {"sparsity": [0.0, 0.6], "prune": [0.0], "weight_bits": [8], "limit": 300}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model of 96 characters."""
    folder = tmp_path_factory.mktemp("checkpoint")
    write_vocabulary(folder / "vocab.json")
    return save_upstream(folder / "model.pth", random_model(1, 32, 96))


@pytest.fixture(scope="module")
def curve(
    checkpoint: Path, text: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, sgn.Tradeoff]:
    output = tmp_path_factory.mktemp("curve") / "curve"
    return output, sgn.tradeoff(checkpoint, text, output, hw="loihi2", **SMALL)


def test_points_say_what_their_artifacts_say(
    checkpoint: Path, curve: tuple[Path, sgn.Tradeoff], text: Path
) -> None:
    output, found = curve
    assert found.points[0].synops_over_dense > found.points[1].synops_over_dense
    for point in found.front:
        assert point.artifact is not None
        graph = sgn.load(output / point.artifact)
        assert graph.vocabulary is not None
        ids = graph.vocabulary.encode(TEXT)
        score = sgn.evaluate(graph, ids[len(ids) * 9 // 10 :][:300], against=checkpoint)
        assert score.bits_per_token == point.bits_per_token
        assert score.delta_bits_per_token == pytest.approx(point.delta_bits_per_token, abs=1e-12)
        assert score.synops_over_dense == point.synops_over_dense
        assert score.float_bits_per_token == found.float_bits_per_token


def test_what_is_written_is_what_is_returned(curve: tuple[Path, sgn.Tradeoff]) -> None:
    output, found = curve
    assert load_tradeoff(output) == found
    page = (output / "tradeoff.md").read_text(encoding="utf-8")
    assert page.count("\n| 0") == len(found.points)
    picture = (output / "tradeoff.svg").read_text(encoding="utf-8")
    assert picture.count("<circle") == len(found.points)
    kept = {path.name for path in (output / "artifacts").iterdir()}
    assert kept == {f"{point.setting.name}.sgn" for point in found.front}


def test_the_same_call_computes_nothing_again(
    checkpoint: Path, curve: tuple[Path, sgn.Tradeoff], text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, found = curve
    monkeypatch.setattr(trading, "convert", None)
    again = sgn.tradeoff(checkpoint, text, output, hw="loihi2", **SMALL)
    assert again == found


def test_it_goes_on_after_an_interruption(
    checkpoint: Path,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    keep, stopped = trading._Folder.keep, []

    def stop_after_one(self: Any, graph: Any, point: Any) -> None:
        keep(self, graph, point)
        stopped.append(point)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(trading._Folder, "keep", stop_after_one)
        with pytest.raises(KeyboardInterrupt):
            sgn.tradeoff(checkpoint, text, tmp_path / "curve", **SMALL)
    assert "1 of 2 points are left" in caplog.text
    found = sgn.tradeoff(checkpoint, text, tmp_path / "curve", **SMALL)
    assert len(found.points) == 2
    first = next(p for p in found.points if p.setting == stopped[0].setting)
    assert first.generation_tokens_per_second == stopped[0].generation_tokens_per_second


def test_another_curve_is_not_mixed_in(
    checkpoint: Path, curve: tuple[Path, sgn.Tradeoff], text: Path, tmp_path: Path
) -> None:
    output, _ = curve
    with pytest.raises(sgn.CannotWrite, match=r"curve of another limit; choose another output"):
        sgn.tradeoff(checkpoint, text, output, hw="loihi2", **(SMALL | {"limit": 200}))
    (tmp_path / "note.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(sgn.CannotWrite, match="holds something else than a curve"):
        sgn.tradeoff(checkpoint, text, tmp_path, **SMALL)
    assert (tmp_path / "note.txt").read_text(encoding="utf-8") == "mine"


def test_the_report_shows_it(curve: tuple[Path, sgn.Tradeoff], tmp_path: Path) -> None:
    output, found = curve
    assert found.front[0].artifact is not None
    graph = sgn.load(output / found.front[0].artifact)
    sgn.report(graph, tmp_path / "page.html", np.arange(64) % 96, tradeoff=output)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<h2>Bits lost against synaptic operations</h2>") == 1


def test_the_command_line(
    checkpoint: Path,
    curve: tuple[Path, sgn.Tradeoff],
    text: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output, found = curve
    command = ["tradeoff", str(checkpoint), "--text", str(text), "-o", str(output)]
    command += ["--sparsity", "0,0.6", "--prune", "0", "--weight-bits", "8", "--limit", "300"]
    assert cli([*command, "--hw", "loihi2", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["points"] == [point.to_dict() for point in found.points]
    keys = {"sparsity", "prune", "weight_bits", "synops_over_dense", "delta_bits_per_token"}
    assert keys | {"on_front"} <= answer["points"][0].keys()
    assert cli([*command, "--hw", "loihi2", "-q"]) == 0
    assert "yes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sparsity", "1"], "sparsity is 1, expected 0 <= sparsity < 1"),
        (["--prune", "x"], "'x' is no list of numbers"),
        (["--weight-bits", "5"], "weight bits 5 are not supported"),
    ],
)
def test_bad_input_is_one_line(
    checkpoint: Path, text: Path, tmp_path: Path, options: list[str], message: str, capsys: Any
) -> None:
    command = ["tradeoff", str(checkpoint), "--text", str(text), "-o", str(tmp_path / "c")]
    assert cli([*command, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
