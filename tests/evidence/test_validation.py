"""Predictions beside measurements: by hand, as properties, and what validate prints."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from xml.etree import ElementTree

import pytest

import spikegpt_neuro as sgn
from spikegpt_neuro.cli import run as run_cli
from spikegpt_neuro.errors import UnsupportedInput, UsageError
from spikegpt_neuro.evidence.boards import CHIP, Boards, Free, differences
from spikegpt_neuro.evidence.prediction import predict, predicted_seconds, static_watts
from spikegpt_neuro.evidence.runs import PublishedRun, published_runs
from spikegpt_neuro.evidence.validation import (
    Accuracy,
    Compared,
    Evidence,
    accuracy_of,
    compare_all,
    off_by,
    summary,
)
from spikegpt_neuro.hardware.profile import Profile, load_profile

from places import ROOT

RUNS = {run.name: run for run in published_runs()}


@pytest.fixture(scope="module")
def chip() -> Profile:
    return load_profile(CHIP)


@pytest.fixture(scope="module")
def found() -> sgn.Validation:
    return sgn.validate()


# Predictions.


def test_a_run_by_hand(chip: Profile) -> None:
    run = RUNS["autoencoder-preloaded"]
    board = Boards(chip, {})[run.board]
    energy = {key: board[f"energy.{key}"].base for key in ("synaptic_operation", "neuron_access")}
    energy |= {key: board[f"energy.{key}"].base for key in ("axon_out", "axon_in")}
    steps = 15
    dynamic = 3e5 * energy["synaptic_operation"] + 1e4 * energy["neuron_access"]
    dynamic += 2e4 * (energy["axon_out"] + energy["axon_in"])
    dynamic += 74 * steps * board["energy.core_step"].base
    dynamic += 16 * steps * board["energy.chip_step"].base
    seconds = steps * board["latency.step_minimum"].base  # 800 operations take less
    predicted = predict(run, board)
    assert predicted.seconds == pytest.approx(seconds, rel=1e-12)
    assert predicted.joules_dynamic == pytest.approx(dynamic, rel=1e-12)
    assert predicted.joules_static == pytest.approx(16 * 1.003 * seconds, rel=1e-3)
    assert predicted.joules == predicted.joules_static + predicted.joules_dynamic


def test_busy_steps_take_longer_than_the_others(chip: Profile) -> None:
    run = RUNS["matmul-free-generation"]
    board = Boards(chip, {})[run.board]
    core = 107_000 * board["latency.synaptic_operation"].base
    core += 1024 * board["latency.axon_in"].base
    expected = 96 * core + (240 - 96) * board["latency.step_minimum"].base
    assert predicted_seconds(run, board) == pytest.approx(expected, rel=1e-12)


def test_power_is_drawn_for_the_measured_time_where_time_is_not_predicted(chip: Profile) -> None:
    run = RUNS["autoencoder-ethernet"]
    predicted = predict(run, Boards(chip, {})[run.board])
    assert predicted.seconds == run.value("seconds") == 281e-6


def test_embedded_processors_count_where_they_were_measured(chip: Profile) -> None:
    board = Boards(chip, {})["loihi2-oheo-gulch"]
    with_them = static_watts(board, RUNS["q-learning"])
    without = static_watts(board, RUNS["pilotnet-lif-2023-01-10"])
    assert with_them - without == pytest.approx(1.56)


def test_boards_lie_over_any_profile(chip: Profile) -> None:
    assert differences(CHIP) == {}
    assert set(differences("loihi2-oheo-gulch")) == {
        *("power.static_per_chip", "power.static_embedded_per_chip")
    }
    assert set(differences("hala-point")) == {"power.system_maximum"}
    key = "energy.synaptic_operation"
    values = {Free(key): 7e-12, Free("power.static_per_chip", "loihi2-vpx"): 2.0}
    boards = Boards(chip, values)
    assert boards["hala-point"][key].base == boards[CHIP][key].base == 7e-12
    assert boards["loihi2-vpx"]["power.static_per_chip"].base == 2.0
    assert boards[CHIP]["power.static_per_chip"] == chip["power.static_per_chip"]


def test_doubling_a_constant_moves_what_rests_on_it(chip: Profile) -> None:
    run = RUNS["pilotnet-lif-2023-01-10"]
    before = predict(run, Boards(chip, {})[run.board])
    static = Free("power.static_per_chip", run.board)
    watts = Boards(chip, {})[run.board][static.key].base
    after = predict(run, Boards(chip, {static: 2 * watts})[run.board])
    assert after.joules_static == pytest.approx(2 * before.joules_static, rel=1e-12)
    assert after.joules_dynamic == before.joules_dynamic
    assert after.seconds == before.seconds


# The comparison.


def test_published_runs_are_predicted_within_a_factor_of_two(found: sgn.Validation) -> None:
    """What was read; Hala Point's derived figures are off by more, and stay in the table."""
    for row in found.compared:
        if row.mark != "D":
            assert off_by(row.ratio) <= 2, row
            assert row.ratio_left_out is not None
            assert off_by(row.ratio_left_out) <= 2.5, row
    for quantity, mean in (("joules", 1.4), ("seconds", 1.3)):
        rows = [r for r in found.compared if r.quantity == quantity and r.mark != "D"]
        assert fmean(off_by(row.ratio) for row in rows) <= mean
    derived = [row for row in found.compared if row.mark == "D"]
    assert {row.name for row in derived} == {"hala-point"}
    assert not any(row.in_fit for row in derived)
    assert found.worst_ratio == max(off_by(row.ratio) for row in derived) > 3


def test_left_out_runs_are_predicted_by_the_others(found: sgn.Validation) -> None:
    by_name = {(row.name, row.quantity): row for row in found.compared}
    alone = by_name["autoencoder-preloaded", "seconds"]  # the only run with a time on its board
    assert alone.ratio == pytest.approx(1, rel=1e-2)
    assert alone.ratio_left_out == pytest.approx(0.553, rel=1e-2)
    for row in found.compared:
        assert row.ratio_left_out is not None
        assert row.in_fit or row.ratio_left_out == row.ratio
        assert 0.3 < row.ratio_left_out < 4


@pytest.fixture(scope="module")
def networks(chip: Profile) -> tuple[Compared, ...]:
    return compare_all(chip, Evidence.installed(), leave_out="network")


def test_leaving_out_a_network_is_harder_than_leaving_out_a_run(
    networks: tuple[Compared, ...], found: sgn.Validation
) -> None:
    factors = {}
    for name, rows in (("run", found.compared), ("network", networks)):
        pilot = [r for r in rows if r.name.startswith("pilotnet-lif") and r.quantity == "joules"]
        factors[name] = fmean(off_by(row.ratio_left_out or 0) for row in pilot)
    assert factors["network"] > 1.2 * factors["run"]


def test_the_document_has_these_figures(
    networks: tuple[Compared, ...], found: sgn.Validation
) -> None:
    text = (ROOT / "docs" / "validation.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| predicted over.*?\n\n", text, re.DOTALL | re.MULTILINE)
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in table.split("\n")[2:-2]]
    quantities = {"time": "seconds", "total energy": "joules", "dynamic energy": "joules_dynamic"}
    for name, *figures in rows:
        marks = "VSD" if "derived" in name else "VS"
        quantity = quantities[name.partition(",")[0]]
        pairs = zip(found.compared, networks, strict=True)
        chosen = [(r, n) for r, n in pairs if r.quantity == quantity and r.mark in marks]
        mean, worst, _, left_out = summary([row for row, _ in chosen])
        network_left_out = summary([row for _, row in chosen])[3]
        told = (str(len(chosen)), *(f"{x:.2f}" for x in (mean, worst, left_out, network_left_out)))
        assert tuple(figures) == told, name
    for row in found.compared:
        if row.name.startswith("matmul-free-"):
            what = {"seconds": "time", "joules": "energy"}[row.quantity]
            words = f"{row.name.removeprefix('matmul-free-')}: {what} per token"
            (line,) = re.findall(rf"^\| {words} .*$", text, re.MULTILINE)
            assert line.endswith(f"| {row.ratio:.2f} |")


def test_validate_says_what_it_promises(found: sgn.Validation) -> None:
    said = found.to_dict()
    assert list(said) == ["runs", "mean_ratio", "worst_ratio"]
    keys = ["name", "quantity", "measured", "predicted", "ratio", "in_fit", "ratio_left_out"]
    for run in said["runs"]:
        assert list(run) == [*keys, "mark"]
        assert run["ratio"] == run["predicted"] / run["measured"]
    assert said["mean_ratio"] == fmean(off_by(run["ratio"]) for run in said["runs"])
    assert "mean_ratio" in repr(found)


def test_the_picture_has_a_dot_for_each(found: sgn.Validation, tmp_path: Path) -> None:
    picture = found.draw(tmp_path / "errors.svg")
    root = ElementTree.fromstring(picture.read_text(encoding="utf-8"))
    circles = [element for element in root.iter() if element.tag.endswith("circle")]
    assert len(circles) == len(found.runs)
    hints = "".join(root.itertext())
    assert "hala-point, time: measured 1.63 µs" in hints


def test_another_profile_is_held_against_the_same_runs(chip: Profile) -> None:
    twice = {**chip.constants}
    latency = "latency.synaptic_operation"
    twice[latency] = replace(twice[latency], value=2 * twice[latency].base, unit="s", high=None)
    slow = compare_all(replace(chip, constants=twice), Evidence.installed(), leave_out=None)
    fast = compare_all(chip, Evidence.installed(), leave_out=None)
    for before, after in zip(fast, slow, strict=True):
        assert after.predicted >= before.predicted
        assert after.ratio_left_out is None


def test_what_cannot_be_compared_is_refused(chip: Profile) -> None:
    with pytest.raises(UnsupportedInput, match=r"loihi1.toml: latency.axon_in is missing"):
        sgn.validate("loihi1", leave_out=None)
    with pytest.raises(UnsupportedInput, match="none of the runs says enough"):
        sgn.validate(runs=[RUNS["qp-solver"]])
    with pytest.raises(UsageError, match="leave_out is 'all', expected one of run, network"):
        sgn.validate(leave_out="all")  # type: ignore[arg-type]


def test_accuracy_is_said_in_a_line(chip: Profile) -> None:
    said = accuracy_of(chip)
    assert str(said["joules"]) == "within x2.0 on 21 of 22 published runs"
    assert said["seconds"].near == 11
    assert str(Accuracy(1.234, 2, 3)) == "within x1.3 on 2 of 3 published runs"
    assert accuracy_of(load_profile("loihi1-sanafe")) == {}


def test_the_verb(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "errors.svg"
    assert run_cli(["validate", "--json", "--quiet", "--svg", str(picture)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert set(said) == {"runs", "mean_ratio", "worst_ratio"}
    assert picture.exists()
    assert run_cli(["validate", "--hw", "spinnaker2"]) == 3
    assert "latency" in capsys.readouterr().err


def test_the_verb_for_people(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from spikegpt_neuro.api import validating

    def quick(*given: object, leave_out: object, progress: object) -> object:
        return compare_all(*given, leave_out=None)  # type: ignore[arg-type]

    monkeypatch.setattr(validating, "compare_all", quick)
    assert run_cli(["validate"]) == 0
    printed = capsys.readouterr().out
    for words in ("hala-point", "static power", "error as a factor", "not predicted: seconds of"):
        assert words in printed


def test_runs_of_ones_own(tmp_path: Path, chip: Profile) -> None:
    run: PublishedRun = RUNS["wta-lif-ns-200"]
    alone = sgn.validate(runs=[run], leave_out=None)
    assert {row["name"] for row in alone.runs} == {"wta-lif-ns-200"}
