"""``sweep``: the figures of the single verbs, shared steps once, and what is found again."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spikegpt_neuro as sgn
from spikegpt_neuro.sweeps.table import Row, flat, read_table

from children import child, workers_of
from places import CHECKPOINT
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


def test_a_report_shows_the_points(swept: sgn.Swept, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    artifact = next((swept.table.parent / "artifacts").iterdir())
    graph = sgn.load(artifact)
    sgn.report(graph, tmp_path / "page.html", TEXT[:80], sweep=swept.table.parent)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "evaluate.bits_per_token" in page
    assert page.count("<circle") >= 4
    with pytest.raises(sgn.UnsupportedInput, match="no results of a sweep"):
        sgn.report(graph, tmp_path / "other.html", TEXT[:80], sweep=folder)


def test_pandas_opens_the_table(swept: sgn.Swept) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(swept.table)
    rows = read_table(swept.table).rows
    assert frame["evaluate.bits_per_token"].tolist() == [r["evaluate.bits_per_token"] for r in rows]
    assert frame["profile.joules_per_token"].count() == 4
    assert swept.to_frame().shape == frame.shape


# What follows takes other processes.


def _command(*words: object) -> list[str]:
    return [sys.executable, "-m", "spikegpt_neuro", "sweep", *map(str, words), "--json"]


def _run_and_kill(command: list[str], seconds: float) -> bool:
    """Whether it still ran when it was killed."""
    with child(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return True
    return False


def _killed_until_it_ends(command: list[str], moments: list[float]) -> int:
    """Kill a run at each moment after its start; returns how many really were."""
    return sum(_run_and_kill(command, seconds) for seconds in moments)


def test_a_killed_sweep_goes_on_to_the_same_table(folder: Path, tmp_path: Path) -> None:
    plan = folder / "scores.toml"
    scores = PLAN.partition("[grid]")[0] + "[grid]\nweight_bits = [8, 6, 4]\n"
    plan.write_text(scores, encoding="utf-8")
    command = _command(plan, "-o", tmp_path / "results")
    with child(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while len(list((tmp_path / "results" / "steps").glob("*.json"))) < 2:
            time.sleep(0.02)
        process.kill()
        process.wait()
    done = verb("sweep", plan, "-o", tmp_path / "results", "--json").figures
    assert sum(done["computed"].values()) < 6
    whole = sgn.sweep(plan, tmp_path / "whole")
    assert sum(whole.computed.values()) == 6
    assert (tmp_path / "results" / "table.csv").read_bytes() == whole.table.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("--workers", "2")])
def test_a_sweep_killed_ten_times_at_random_has_the_same_table(
    swept: sgn.Swept, folder: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    pytest.importorskip("distributed")
    command = _command(folder / "plan.toml", "-o", tmp_path / "results", *more)
    seconds = np.random.default_rng(18).uniform(0.5, 6.0, 10).tolist()
    killed = _killed_until_it_ends(command, seconds)
    assert killed >= 3
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["done"] == 4
    assert (tmp_path / "results" / "table.csv").read_bytes() == swept.table.read_bytes()


@pytest.mark.slow
def test_workers_and_their_deaths_change_nothing(
    swept: sgn.Swept, folder: Path, tmp_path: Path
) -> None:
    """Workers are killed with SIGKILL at ten random moments of one sweep."""
    pytest.importorskip("distributed")
    random = np.random.default_rng(7)
    command = _command(folder / "plan.toml", "-o", tmp_path / "results", "--workers", 2)
    killed = 0
    with child(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            time.sleep(random.uniform(0.2, 1.5))
            workers = workers_of(process.pid)
            if killed < 10 and workers:
                os.kill(int(random.choice(workers)), signal.SIGKILL)
                killed += 1
        assert process.stdout is not None
        found = json.loads(process.stdout.read())
    assert killed >= 3
    assert (found["done"], found["failed"]) == (4, 4)
    assert (tmp_path / "results" / "table.csv").read_bytes() == swept.table.read_bytes()


@pytest.mark.slow
def test_48_points_on_the_example_are_those_of_the_single_verbs(tmp_path: Path) -> None:
    """Shared steps once, by count; every row equal to four commands."""
    from spikegpt_neuro.evaluation.corpus import held_out, python_documentation

    text = tmp_path / "text.txt"
    text.write_text(held_out(python_documentation())[:8_000], encoding="utf-8")
    grid = {
        "weight_bits": [8, 4],
        "sparsity": [0.0, 0.5, 0.7],
        "hw": ["loihi2", "loihi2-8", "loihi2-oheo-gulch", "loihi1"],
        "schedule": ["pipelined", "fall-through"],
    }
    model = {"checkpoint": CHECKPOINT, "vocab": CHECKPOINT.with_name("pydoc-vocab.json")}
    files = {name: str(path) for name, path in {**model, "calibrate": text, "text": text}.items()}
    plan = {**files, "tokens": 64, "optimize": "cores", "grid": grid}
    found = sgn.sweep(plan, tmp_path / "results")
    assert found.points == 48
    assert found.computed == {
        "convert": 6,
        "evaluate": 6,
        "run": 12,
        "map": 48,
        "place": 24,
        "profile": 36,
    }
    for row in found.rows():
        _is_what_the_verbs_say(row, model, text, tmp_path / "single")


def _is_what_the_verbs_say(row: Row, model: Mapping[str, Path], text: Path, folder: Path) -> None:
    artifact = folder / f"{row['weight_bits']}-{row['sparsity']}.sgn"
    if not artifact.exists():
        folder.mkdir(exist_ok=True)
        of = (model["checkpoint"], "--vocab", model["vocab"], "--calibrate", text)
        options = ("--weight-bits", row["weight_bits"], "--sparsity", row["sparsity"])
        made = verb("convert", *of, *options, "-o", artifact, "--json").figures
        _same(row, made, "convert", OWN)
        scored = verb("evaluate", artifact, text, "--limit", 64, "--json").figures
        _same(row, scored, "evaluate", OWN)
    on = ("--hw", row["hw"], "--schedule", row["schedule"], "--json")
    placed = verb("map", artifact, *on, "--optimize", "cores")
    priced = verb("profile", artifact, "--text", text, "--tokens", 64, *on)
    if row["error"] is not None:
        assert (placed.code, priced.code) == (1, 1)
        return
    _same(row, placed.figures, "map", OWN)
    _same(row, priced.figures, "profile", OWN)
