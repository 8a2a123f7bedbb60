"""Published runs: every figure says who read it where, and a wrong file gets one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest

from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.evidence.runs import QUANTITIES, in_base_units, load_run, published_runs
from spikegpt_neuro.hardware.profile import profile_names

from places import ROOT

FOLDER = ROOT / "hw_profiles" / "published"
RUNS = published_runs()


def test_every_file_is_a_run() -> None:
    assert [run.name for run in RUNS] == sorted(file.stem for file in FOLDER.glob("*.toml"))
    assert len(RUNS) >= 20
    for run in RUNS:
        assert run.board in profile_names(), run.name
        assert run.source.text
        assert run.source.where
        assert run.value("seconds") > 0
        assert set(run.unpredicted) <= set(QUANTITIES)


def test_figures_arrive_in_base_units() -> None:
    run = {run.name: run for run in RUNS}["pilotnet-lif-2023-01-10"]
    assert run.value("joules") == 1.661103e-3
    assert run.value("seconds") / run.value("steps") == pytest.approx(152.8e-6, rel=1e-3)
    assert run.value("joules_dynamic") + run.value("watts_static") * run.value(
        "seconds"
    ) == pytest.approx(run.value("joules"), rel=1e-3)
    assert run.on_busiest("synaptic_operations") == 150_700
    assert run.value("busy_steps") == 0
    assert run.predictable == ("seconds", "joules", "joules_dynamic")
    reading = run.reading("joules")
    assert reading is not None
    assert (in_base_units("joules", reading), reading.mark) == (run.value("joules"), "V")


def test_what_cannot_be_predicted_says_why() -> None:
    runs = {run.name: run for run in RUNS}
    assert runs["qp-solver"].predictable == ()
    assert runs["autoencoder-ethernet"].predictable == ("joules", "joules_dynamic")
    assert "Ethernet" in runs["autoencoder-ethernet"].unpredicted["seconds"]
    assert runs["hala-point"].predictable == ("seconds", "joules")


GOOD = (FOLDER / "autoencoder-preloaded.toml").read_text(encoding="utf-8")
SECONDS = 'seconds = { value = 48.3, unit = "us", mark = "S" }'
BROKEN: dict[str, tuple[str, str, str]] = {
    "no mark": (SECONDS, SECONDS.replace(', mark = "S"', ""), "measured.seconds.mark: is missing"),
    "other mark": (
        SECONDS,
        SECONDS.replace('"S"', '"M"'),
        "measured.seconds.mark: expected 'V' or",
    ),
    "derived": (SECONDS, SECONDS.replace('"S"', '"D"'), "measured.seconds.note: is missing; say"),
    "unit": (SECONDS, SECONDS.replace('"us"', '"min"'), "measured.seconds.unit: expected ns or us"),
    "text": (
        SECONDS,
        SECONDS.replace("48.3", '"48.3"'),
        "measured.seconds.value: expected a number",
    ),
    "negative": (
        SECONDS,
        SECONDS.replace("48.3", "-48.3"),
        "measured.seconds.value: expected 0 to",
    ),
    "no number": (SECONDS, SECONDS.replace("48.3", "nan"), "measured.seconds.value: expected 0 to"),
    "too large": (
        SECONDS,
        SECONDS.replace("48.3", "1e300"),
        "measured.seconds.value: expected 0 to",
    ),
    "zero": (SECONDS, SECONDS.replace("48.3", "0"), "measured.seconds.value: expected more than 0"),
    "bare": (SECONDS, "seconds = 48.3", "measured.seconds: expected an object, found 48.3"),
    "lost": (SECONDS, "", "measured.seconds: is missing"),
    "unknown": (SECONDS, f"{SECONDS}\nhours = 3", "measured.hours: unknown key; expected one of"),
    "schema": ("schema = 1", "schema = 2", "schema: expected 1, found 2"),
    "no title": ('title = "Auto', 'title = " "\n# "Auto', "title: expected a text of one line"),
    "network": ('network = "autoencoder"', "", "network: is missing"),
    "board": ('board = "loihi2-vpx"', 'board = "./x.toml"', "board: expected an installed profile"),
    "parts": ("value = 40.6", "value = 40.6e6", "joules_dynamic: is more than joules"),
    "busy": (
        "[busiest]",
        'busy_steps = { value = 16, unit = "steps", mark = "S" }\n[busiest]',
        "activity.busy_steps: is more than steps",
    ),
    "reason": (
        "[source]",
        '[unpredicted]\nwarmth = "not published"\n[source]',
        "unpredicted.warmth: expected one of seconds, joules, joules_dynamic",
    ),
    "no busiest": ("[busiest]", "[busiests]", "busiests: unknown key"),
    "no TOML": ("[source]", "[source", "not a TOML file"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_malformed_run_gets_one_line(tmp_path: Path, case: str) -> None:
    old, new, expected = BROKEN[case]
    assert old in GOOD
    file = tmp_path / "mine.toml"
    file.write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UnsupportedInput) as caught:
        load_run(file)
    message = str(caught.value)
    assert "mine.toml" in message
    assert expected in message
    assert "\n" not in message


def test_without_its_busiest_core_a_run_must_say_why_it_has_no_time(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    before, _, after = GOOD.partition("[busiest]")
    file.write_text(f"{before}[measured]{after.partition('[measured]')[2]}", encoding="utf-8")
    with pytest.raises(UnsupportedInput, match=r"busiest: is missing; give it, or say under"):
        load_run(file)


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedInput, match="holds no published run"):
        published_runs(tmp_path)
    with pytest.raises(UnsupportedInput, match="holds no published run"):
        published_runs(tmp_path / "nowhere")
