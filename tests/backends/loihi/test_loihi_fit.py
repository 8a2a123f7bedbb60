"""A hardware profile from measured runs: least squares, its refusals, and the file."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loihi_records import NAMES, TRUE, measured, measured_records

from spikegpt_neuro import api
from spikegpt_neuro.backends.loihi.capacity import capacity
from spikegpt_neuro.backends.loihi.comparison import COUNTED, compare, events_on_chip
from spikegpt_neuro.backends.loihi.deployment import deploy
from spikegpt_neuro.backends.loihi.fitting import ABSORBED, fit, save_profile
from spikegpt_neuro.backends.reference import ReferenceBackend
from spikegpt_neuro.cli import run as run_cli
from spikegpt_neuro.energy.pricing import CATEGORY_OF
from spikegpt_neuro.energy.record import Range, to_json
from spikegpt_neuro.errors import CannotWrite, CheckFailed, UnsupportedInput, UsageError
from spikegpt_neuro.hardware.profile import load_profile

from dense_weights import weights_of
from toy_graph import VOCABULARY, toy_graph


def test_constants_are_found_again() -> None:
    found = fit(measured_records(6))
    np.testing.assert_allclose(list(found.joules.values()), TRUE, rtol=1e-9)
    assert list(found.joules) == NAMES
    assert found.relative < 1e-9
    assert found.static == pytest.approx((1.0, 1.05, 1.1))
    assert fit(measured_records(6), powered_chips=8).static[0] == pytest.approx(0.25)


def test_noise_is_seen_in_the_residuals() -> None:
    found = fit(measured_records(40, noise=0.02))
    assert 0.005 < found.relative < 0.04
    assert len(found.residuals) == 40
    np.testing.assert_allclose(list(found.joules.values()), TRUE, rtol=0.2)


def test_what_cannot_be_told_apart_is_refused() -> None:
    runs = measured_records(6)
    with pytest.raises(CheckFailed, match=r"3 measured runs cannot tell 4 constants .*1 more"):
        fit(runs[:3])
    alike = [measured(np.array([4, 3, 2, 1]) * 1000 * k, 1e-6 * k) for k in range(1, 7)]
    with pytest.raises(CheckFailed, match="too alike to tell synaptic_operation, axon_in"):
        fit(alike)
    silent = [measured(np.array([k, k * k, 0, 7]), 1e-6) for k in range(1, 7)]
    with pytest.raises(CheckFailed, match="no run counted any neuron_access"):
        fit(silent)
    upside_down = [replace(r, undivided=Range.exactly(1 / r.undivided.value)) for r in runs]
    with pytest.raises(CheckFailed, match="pJ, less than nothing"):
        fit(upside_down)


def test_only_measured_records_with_activity_are_fitted() -> None:
    runs = measured_records(5)
    with pytest.raises(UnsupportedInput, match="no measured activity"):
        fit([*runs, replace(runs[0], is_measured=False)])
    with pytest.raises(UnsupportedInput, match="no measured activity"):
        fit([*runs, replace(runs[0], raw={"counts": {}})])


def test_the_profile_can_be_loaded_and_says_how_it_was_made(tmp_path: Path) -> None:
    base, path = load_profile("loihi2"), tmp_path / "mine.toml"
    found = fit(measured_records(6))
    save_profile(path, found, base, ["a.json", 'b "quoted".json'])
    profile = load_profile(path)
    for name, joules in found.joules.items():
        constant = profile[f"energy.{name}"]
        assert constant.base == pytest.approx(joules)
        assert constant.kind == "fitted"
        assert "6 measured runs; residuals" in constant.source
    for name, whole in ABSORBED.items():
        if f"energy.{name}" in base:
            assert profile[f"energy.{name}"].base == 0
            assert f"part of {whole}" in profile[f"energy.{name}"].note
    static = profile["power.static_per_chip"]
    assert (static.kind, static.base, static.range) == ("measured", found.static[1], (1.0, 1.1))
    assert 'b "quoted".json' in static.source
    assert profile.limits == base.limits
    with pytest.raises(CannotWrite, match="exists"):
        save_profile(path, found, base, ["a.json"])
    again = tmp_path / "again.toml"
    save_profile(again, found, profile, ["a.json"])
    assert load_profile(again).constants.keys() == profile.constants.keys()
    with pytest.raises(UsageError, match=r"is a \.toml file"):
        save_profile(tmp_path / "mine.json", found, base, ["a.json"])


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = []
    for index, run in enumerate(measured_records(5)):
        file = tmp_path / f"run{index}.json"
        file.write_text(json.dumps(to_json(run)), "utf-8")
        names.append(str(file))
    output = tmp_path / "mine.toml"
    assert run_cli(["fit", *names, "-o", str(output), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["picojoules"]["synaptic_operation"] == pytest.approx(7.0)
    assert load_profile(output)["energy.axon_out"].base == pytest.approx(11e-12)
    assert run_cli(["fit", *names[:2], "-o", str(tmp_path / "few.toml")]) == 1
    assert not (tmp_path / "few.toml").exists()
    (tmp_path / "broken.json").write_text("[]", "utf-8")
    assert run_cli(["fit", str(tmp_path / "broken.json"), "-o", str(tmp_path / "x.toml")]) == 3


def test_the_comparison_prices_what_the_chip_part_did() -> None:
    graph, tokens = toy_graph(), np.random.default_rng(1).integers(0, VOCABULARY, 20)
    reference = ReferenceBackend().run(graph, tokens, record="events")
    plan = capacity(deploy(graph), load_profile("loihi2"))
    events = events_on_chip(plan, reference)
    by_projection = reference.activity
    assert events["value"].synaptic_operation == by_projection["value"].synaptic_operations
    assert events["head"].synaptic_operation == by_projection["head"].synaptic_operations
    assert events["head"].axon_out == np.count_nonzero(
        reference.events["payload"].astype(int) @ weights_of(graph.projections[-1]).T.astype(int)
    )
    spikes = np.count_nonzero(reference.events["blocks.0.lif"])
    assert events["blocks.0.lif"].spike_out == spikes
    steps = len(tokens) + plan.deployment.depth
    assert sum(e.neuron_access for e in events.values()) == (8 + 8 + VOCABULARY) * steps
    counts = np.array([sum(getattr(e, n) for e in events.values()) for n in NAMES])
    rows = compare(measured(counts, 1e-6, chips=1), plan, reference)
    by_name = {(r.category, r.quantity): r for r in rows}
    assert by_name["static", "energy"].ratio == pytest.approx(0.5 / (1.003 * 0.25))
    for name in COUNTED.values():
        category = CATEGORY_OF[name]
        assert by_name[category, name].ratio == 1.0
    total = by_name["total", "energy"].estimated.value
    assert total == pytest.approx(
        by_name["static", "energy"].estimated.value + by_name["dynamic", "energy"].estimated.value
    )


IMPOSSIBLE: dict[str, tuple[dict[str, Any], str]] = {
    "a count that is no number": ({"raw.counts.syn_ops": None}, "raw.counts.syn_ops is None"),
    "true": ({"raw.counts.spikes_in": True}, "raw.counts.spikes_in is True"),
    "a negative count": ({"raw.counts.syn_ops": -1}, "raw.counts.syn_ops is -1, expected 0 to"),
    "an endless count": ({"raw.counts.axon_out": 1e30}, "raw.counts.axon_out is 1e+30"),
    "a count beyond floats": ({"raw.counts.spikes_in": 10**400}, "raw.counts.spikes_in is 1000"),
    "counts of something else": ({"raw.counts": [1, 2]}, "has no measured activity"),
    "NaN joules": ({"undivided": dict.fromkeys(("value", "low", "high"), math.nan)}, "NaN"),
    "negative joules": (
        {"undivided": dict.fromkeys(("value", "low", "high"), -1.0)},
        "undivided is -1, expected 0 to",
    ),
    "joules without an end": ({"undivided": {"value": 1.0}}, "outside its range 0 to 0"),
    "no joules": (
        {"undivided": dict.fromkeys(("value", "low", "high"), 0)},
        "no energy beside the static one",
    ),
    "negative static": (
        {"joules.static": dict.fromkeys(("value", "low", "high"), -0.5)},
        "joules.static is -0.5, expected 0 to",
    ),
    "without static": ({"joules": {}}, "joules.static is missing"),
    "no time": (
        {"seconds": dict.fromkeys(("value", "low", "high"), 0.0)},
        "no run takes no time",
    ),
    "no tokens": ({"tokens": 0}, "tokens is 0, expected 1"),
    "no chips": ({"chips": 0}, "chips is 0, expected 1 or more"),
    "other hardware": ({"hardware": "loihi2-1"}, "measured on hardware loihi2-1"),
    "another board": (
        {"raw.deployment": {"connection": {"slurm": "a,ncl-og-06", "chip_generation": "N3B3"}}},
        "measured on slurm a,ncl-og-06",
    ),
    "another chip": (
        {"raw.deployment": {"connection": {"slurm": "a,ncl-og-05", "chip_generation": "N3C1"}}},
        "measured on chip_generation N3C1",
    ),
}
BOARD = {"connection": {"slurm": "a,ncl-og-05", "host": None, "chip_generation": "N3B3"}}


def _files(folder: Path, change: dict[str, Any]) -> list[Path]:
    """Six good records of one board, the third of them changed."""
    files = []
    for index, run in enumerate(measured_records(6)):
        content = to_json(run)
        content["raw"]["deployment"] = BOARD
        for place, value in change.items() if index == 2 else ():
            *parents, last = place.split(".")
            reduce(getitem, parents, content)[last] = value
        files.append(folder / f"run{index}.json")
        files[-1].write_text(json.dumps(content), "utf-8")
    return files


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_a_record_that_no_run_has_is_named_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    good = tmp_path / "mine.toml"
    assert run_cli(["fit", *map(str, _files(tmp_path, {})), "-o", str(good)]) == 0
    before = good.read_bytes()
    change, said = IMPOSSIBLE[case]
    files = _files(tmp_path, change)
    capsys.readouterr()
    assert run_cli(["fit", *map(str, files), "-o", str(good), "--force"]) == 3
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert said in line
    assert f"error: {files[2]}" in line
    assert good.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == sorted([good, *files])


def test_records_in_memory_are_checked_as_those_of_files_are(tmp_path: Path) -> None:
    """They have met no reader of JSON."""
    runs = measured_records(6)
    for bad, said in (
        (replace(runs[0], undivided=Range.exactly(math.nan)), "undivided is nan J"),
        (replace(runs[0], seconds=Range.exactly(0.0)), "seconds is 0, expected more than 0"),
        (replace(runs[0], joules={"static": Range.exactly(-1.0)}), "joules.static is -1 J"),
    ):
        with pytest.raises(UnsupportedInput, match=f"run 7: {said}"):
            fit([*runs, bad])
        with pytest.raises(UnsupportedInput, match=said):
            api.fit([*runs, bad], tmp_path / "mine.toml")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="powered_chips is 0"):
        fit(runs, powered_chips=0)


def test_a_profile_does_not_replace_what_it_builds_on(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    api.fit(measured_records(6), path)
    before = path.read_bytes()
    with pytest.raises(UnsupportedInput, match="builds on this file itself"):
        api.fit(measured_records(7), path, base=path, force=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    api.fit(measured_records(7), path, force=True)
    assert load_profile(path).constants.keys() == load_profile("loihi2").constants.keys()
