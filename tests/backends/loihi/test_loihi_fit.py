"""A hardware profile from measured runs: least squares, its refusals, and the file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from loihi_records import NAMES, TRUE, measured, measured_records

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
