"""``sweep``: the figures of the single verbs, shared steps once, and what is found again."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spikegpt_neuro as sgn
from spikegpt_neuro.sweeps.table import Row, flat, read_table

from random_models import random_model, save_upstream, write_vocabulary
from verbs import verb

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch writes the checkpoint"
)
TEXT = "The return value is a new object. If the argument is None, the default is used. " * 60
PLAN = """
checkpoint = ["model.pth"]
vocab = "vocab.json"
calibrate = "text.txt"
text = "text.txt"
tokens = 160
window = 50
against = true
[grid]
weight_bits = [8, 4]
hw = ["loihi2", "loihi1"]
schedule = ["pipelined", "fall-through"]
"""
SHARED = {"convert": 2, "evaluate": 2, "run": 4, "map": 8, "place": 4, "profile": 4}
"""Steps of PLAN: none fits loihi1, of which no profile is made."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model of 96 characters, a text, and a plan."""
    folder = tmp_path_factory.mktemp("sweep")
    write_vocabulary(folder / "vocab.json")
    save_upstream(folder / "model.pth", random_model(1, 32, 96))
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    (folder / "plan.toml").write_text(PLAN, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def swept(folder: Path) -> sgn.Swept:
    return sgn.sweep(folder / "plan.toml", folder / "results")


def _same(row: Row, figures: Mapping[str, Any], verb_: str, without: tuple[str, ...] = ()) -> None:
    """The row has all the figures that a verb printed."""
    expected = flat({k: v for k, v in figures.items() if k not in without}, verb_)
    found = {name: row[name] for name in expected}
    assert found == expected


OWN = ("artifact", "seconds", "peak_rss_bytes", "remarks", "placement", "svg", "startup_seconds")


def test_shared_steps_are_computed_once(swept: sgn.Swept) -> None:
    assert swept.computed == SHARED
    assert (swept.points, swept.done, swept.failed) == (8, 4, 4)
    rows = swept.rows()
    assert all(
        str(row["error"]).startswith("map: population") for row in rows if row["hw"] == "loihi1"
    )
    assert all((row["error"] is None) == (row["hw"] == "loihi2") for row in rows)
    assert len({row["sha256.artifact"] for row in rows}) == 2
    assert {row["version"] for row in rows} == {sgn.__version__}


def test_figures_are_those_of_the_single_verbs(
    swept: sgn.Swept, folder: Path, tmp_path: Path
) -> None:
    row = next(r for r in swept.rows() if r["weight_bits"] == 4 and r["schedule"] != "pipelined")
    text, artifact = folder / "text.txt", tmp_path / "m.sgn"
    model = (folder / "model.pth", "--vocab", folder / "vocab.json", "--calibrate", text)
    on = ("--hw", "loihi2", "--schedule", "fall-through", "--json")
    _same(
        row,
        verb("convert", *model, "--weight-bits", 4, "-o", artifact, "--json").figures,
        "convert",
        OWN,
    )
    options = ("--limit", 160, "--window", 50, "--against", folder / "model.pth", "--json")
    _same(row, verb("evaluate", artifact, text, *options).figures, "evaluate", OWN)
    _same(row, verb("map", artifact, *on).figures, "map", OWN)
    _same(
        row, verb("profile", artifact, "--text", text, "--tokens", 160, *on).figures, "profile", OWN
    )


def test_a_finished_sweep_is_found_again(swept: sgn.Swept, folder: Path) -> None:
    table = swept.table.read_bytes()
    again = sgn.sweep(folder / "plan.toml", folder / "results")
    assert (again.computed, again.done, again.failed) == ({}, 4, 4)
    assert swept.table.read_bytes() == table


def test_what_is_missing_is_computed_again(swept: sgn.Swept, folder: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(swept.table.parent, results)
    lost = sorted((results / "steps").iterdir())[::3]
    for file in lost:
        file.unlink()
    for file in (results / "artifacts").iterdir():
        shutil.rmtree(file)
    again = sgn.sweep(folder / "plan.toml", results)
    assert again.computed["convert"] == 2
    assert again.table.read_bytes() == swept.table.read_bytes()


def test_another_plan_is_refused_and_taken_over_by_force(
    swept: sgn.Swept, folder: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    shutil.copytree(swept.table.parent, results)
    other = folder / "other.toml"
    other.write_text(PLAN.replace("[8, 4]", "[8]"), encoding="utf-8")
    done = verb("sweep", other, "-o", results)
    assert done.code == 3
    assert "holds results of another plan (weight_bits: [8, 4], not [8])" in done.err
    assert "--force" in done.err
    assert verb("sweep", other, "-o", results, "--force", "--json").figures["computed"] == {}
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    done = verb("sweep", other, "-o", tmp_path / "full", "--force")
    assert (done.code, "something else than a sweep" in done.err) == (3, True)


def test_another_text_under_the_same_name_is_another_step(folder: Path, tmp_path: Path) -> None:
    for name in ("model.pth", "vocab.json", "text.txt"):
        shutil.copy(folder / name, tmp_path / name)
    plan = {
        "checkpoint": str(tmp_path / "model.pth"),
        "calibrate": str(folder / "text.txt"),
        "text": str(tmp_path / "text.txt"),
        "tokens": 60,
        "grid": {"weight_bits": [8], "verify": [True]},
    }
    first = sgn.sweep(plan, tmp_path / "results")
    assert first.computed == {"convert": 1, "evaluate": 1, "simulate": 1}
    assert first.rows()[0]["simulate.matches_reference"] is True
    (tmp_path / "text.txt").write_text(TEXT[3:], encoding="utf-8")
    second = sgn.sweep(plan, tmp_path / "results")
    assert second.computed == {"evaluate": 1, "simulate": 1}


def test_a_failing_point_does_not_end_the_others(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.pth").write_bytes(b"no checkpoint")
    plan = {
        "checkpoint": [str(tmp_path / "bad.pth"), str(folder / "model.pth")],
        "vocab": str(folder / "vocab.json"),
        "calibrate": str(folder / "text.txt"),
        "text": str(folder / "text.txt"),
        "grid": {"weight_bits": [8, 5], "tokens": [60]},
    }
    found = sgn.sweep(plan, tmp_path / "results")
    errors = [row["error"] for row in found.rows()]
    assert (found.done, found.failed) == (1, 3)
    assert errors[2] is None
    assert "weight bits 5 are not supported" in str(errors[3])
    assert all(str(error).startswith("convert: ") for error in (errors[0], errors[1], errors[3]))
    with pytest.raises(sgn.UnsupportedInput, match="no-file: cannot be read"):
        sgn.sweep(plan | {"text": "no-file"}, tmp_path / "results")
    with pytest.raises(sgn.UsageError, match="no hardware profile named 'none'"):
        sgn.sweep(plan | {"hw": "none"}, tmp_path / "results")


def test_a_run_of_the_integers_comes_back_from_its_file(folder: Path, tmp_path: Path) -> None:
    from spikegpt_neuro.api.measuring import measure
    from spikegpt_neuro.api.sweep_files import content_of, load_measured, save_measured

    graph = sgn.convert(folder / "model.pth", calibration=folder / "text.txt")
    assert graph.vocabulary is not None
    measured = measure(graph, graph.vocabulary.encode(TEXT)[:75])
    save_measured(measured, tmp_path / "run.npz")
    held = content_of("run", str(tmp_path / "run.npz"))
    found = load_measured(graph, tmp_path / "run.npz", held)
    assert found.activity.tokens == measured.activity.tokens
    assert found.activity.largest == measured.activity.largest
    for name, counts in measured.activity.per_neuron.items():
        assert np.array_equal(found.activity.per_neuron[name], counts)
        assert np.array_equal(found.activity.per_token[name], measured.activity.per_token[name])
    for chunk, other in zip(found.chunks, measured.chunks, strict=True):
        assert np.array_equal(chunk.rows, other.rows)
    with pytest.raises(sgn.UnsupportedInput, match="not the file"):
        load_measured(graph, tmp_path / "run.npz", "0" * 64)


def test_the_verb_lists_and_ends_with_counts(swept: sgn.Swept, folder: Path) -> None:
    plan, results = folder / "plan.toml", folder / "results"
    listed = verb("sweep", plan, "--dry-run", "--json").figures
    assert len(listed["points"]) == 8
    assert listed["steps"] == {**SHARED, "profile": 8}
    assert "loihi1" in verb("sweep", plan, "--dry-run").out
    assert verb("sweep", plan, "-o", results, "--json").figures == {
        "points": 8,
        "done": 4,
        "failed": 4,
        "computed": {},
        "table": str(swept.table),
    }
    assert verb("sweep", plan).code == 2


def test_results_are_shown(swept: sgn.Swept, folder: Path, tmp_path: Path) -> None:
    results, svg = folder / "results", tmp_path / "front.svg"
    front = ("--front", "profile.joules_per_token,bits_per_token", "--picture", svg)
    found = verb("sweep", "show", results, *front, "--sort", "-joules_per_token", "--json").figures
    joules = [row["profile.joules_per_token"] for row in found["points"]]
    assert joules[:4] == sorted(joules[:4], reverse=True)
    assert joules[4:] == [None] * 4
    assert 1 <= sum(row["on_front"] for row in found["points"]) <= 2
    drawn = svg.read_text(encoding="utf-8")
    assert drawn.count("<circle") == 4
    assert "joules per token" in drawn
    kept = verb("sweep", "show", results, "--where", "hw=loihi2", "--where", "weight_bits<8")
    assert "loihi1" not in kept.out
    assert "fall-through" in kept.out
    assert verb("sweep", "show", results, "--front", "a").code == 2
    assert "no results of a sweep" in verb("sweep", "show", tmp_path).err


def test_pandas_opens_the_table(swept: sgn.Swept) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(swept.table)
    rows = read_table(swept.table).rows
    assert frame["evaluate.bits_per_token"].tolist() == [r["evaluate.bits_per_token"] for r in rows]
    assert frame["profile.joules_per_token"].count() == 4
    assert swept.to_frame().shape == frame.shape
