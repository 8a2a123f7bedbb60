"""Hardware profiles: every constant has an origin, and a wrong file gets one clear line."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spikegpt_neuro.cli import run as run_cli
from spikegpt_neuro.errors import SpikeGPTError, UnsupportedInput, UsageError
from spikegpt_neuro.hardware.profile import load_profile, profile_names
from spikegpt_neuro.hardware.schema import EVIDENCE, KINDS, REQUIRED, SPECS
from spikegpt_neuro.hardware.voltage import scales_of

from places import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = ROOT / "hw_profiles"
FILES = sorted(FOLDER.glob("*.toml"))
EXPECTED = {
    "loihi1",
    "loihi1-sanafe",
    "loihi2",
    "loihi2-1",
    "loihi2-8",
    "loihi2-32",
    "loihi2-alia-point",
    "loihi2-oheo-gulch",
    "loihi2-vpx",
    "hala-point",
    "spinnaker2",
}


def test_the_profiles_are_there() -> None:
    assert set(profile_names()) >= EXPECTED


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_constant_says_where_it_comes_from(file: Path) -> None:
    content = tomllib.loads(file.read_text(encoding="utf-8"))
    sources = content["sources"]
    used = set()
    for section, table in content.items():
        if section in ("schema", "title", "base", "sources"):
            continue
        for key, constant in table.items():
            spec = SPECS[f"{section}.{key}"]
            assert constant["kind"] in KINDS
            assert constant["unit"] in spec.dimension.units
            assert len(sources[constant["source"]]) > 10
            used.add(constant["source"])
            if constant["kind"] == "assumed":
                assert {"low", "high"} <= set(constant), key
    assert used == set(sources), "a source that nothing cites"


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_every_profile_loads_and_is_in_bounds(name: str) -> None:
    profile = load_profile(name)
    assert all(key in profile for key in REQUIRED)
    for key, constant in profile.constants.items():
        if isinstance(constant.value, (int, float)):
            low, high = constant.range
            assert low <= constant.base <= high, key
    limits = profile.limits
    assert limits.neurons > 0
    assert limits.synaptic_memory >= 96 * 1024


def test_published_figures_arrive_in_base_units() -> None:
    loihi1, loihi2 = load_profile("loihi1"), load_profile("loihi2")
    assert loihi1["energy.synaptic_operation"].base == 23.6e-12
    assert loihi1["core.synaptic_memory"].base == 131072
    assert loihi1["power.static_per_chip"].base == 0.104
    assert loihi1["latency.barrier_chips"].table == ((256, 14.3e-6), (768, 16.2e-6))
    active = loihi1["energy.neuron_access"].base + loihi1["energy.neuron_update"].base
    assert active == pytest.approx(81e-12)
    assert loihi2["latency.neuron_access"].base == pytest.approx(4e-9)
    assert loihi2["latency.step_minimum"].base == pytest.approx(1.78e-6)
    assert loihi2["energy.synaptic_operation"].kind == "fitted"
    assert load_profile("hala-point").count("chip.usable_cores") * 1152 == 140_544


def test_the_fitted_profile_has_every_constant_of_the_simulator() -> None:
    profile = load_profile("loihi1-sanafe")
    energy = {"synaptic_operation": 35.5, "axon_out": 111, "neuron_access": 51.2, "axon_in": 0}
    energy |= {"neuron_update": 21.6, "spike_out": 69.3, "hop_north_south": 4.2}
    for key, value in energy.items():
        constant = profile[f"energy.{key}"]
        assert (constant.value, constant.unit, constant.kind) == (value, "pJ", "fitted")
    assert profile["latency.barrier"].table[-1] == (29, 1.8e-6)
    assert profile["power.static_per_chip"].base == 0


def test_no_energy_of_loihi_2_claims_to_be_measured() -> None:
    profile = load_profile("loihi2")
    kinds = {c.kind for key, c in profile.constants.items() if key.startswith("energy.")}
    assert kinds == {"fitted", "scaled", "assumed"}


def test_systems_are_chip_counts_on_one_chip() -> None:
    chip = load_profile("loihi2")
    systems = {"loihi2-1": 1, "loihi2-8": 8, "loihi2-32": 32, "hala-point": 1152}
    systems |= {"loihi2-oheo-gulch": 1, "loihi2-alia-point": 32, "loihi2-vpx": 16}
    for name, chips in systems.items():
        system = load_profile(name)
        assert system.count("system.chips") == chips
        assert system.limits == chip.limits
        assert system["energy.synaptic_operation"] == chip["energy.synaptic_operation"]


def test_what_measurements_asked_for_is_optional_and_leaves_older_profiles_as_they_were() -> None:
    known = {"loihi1": "c60276ed", "loihi1-sanafe": "9c7411f0", "spinnaker2": "ac538824"}
    for name, fingerprint in known.items():
        profile = load_profile(name)
        assert not set(EVIDENCE) & set(profile.constants)
        assert profile.sha256.startswith(fingerprint)
    loihi2 = load_profile("loihi2")
    without = {k: c for k, c in loihi2.constants.items() if k not in EVIDENCE}
    assert replace(loihi2, constants=without).sha256 == loihi2.sha256


def test_a_supply_scales_time_and_dynamic_energy() -> None:
    loihi2 = load_profile("loihi2")
    assert scales_of(loihi2) == (1.0, 1.0)
    volts = replace(loihi2["voltage.nominal"], key="voltage.supply", value=0.8)
    low = replace(loihi2["voltage.nominal"], value=0.6)
    higher = {**loihi2.constants, "voltage.supply": volts, "voltage.nominal": low}
    time, energy = scales_of(replace(loihi2, constants=higher))
    assert 1 / time == pytest.approx(1.47, rel=1e-3)
    assert energy == pytest.approx(1.9, rel=1e-3)
    del higher["voltage.nominal"]
    with pytest.raises(UnsupportedInput, match=r"voltage.nominal is missing"):
        scales_of(replace(loihi2, constants=higher))


# A user's own file.


def own(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    return file


SMALL = """
schema = 1
title = "mine"
base = "loihi2"
[sources]
me = "my own measurement of 2026"
[core]
neurons = { value = 100, unit = "neurons", kind = "measured", source = "me" }
"""


def test_a_user_changes_one_constant(tmp_path: Path) -> None:
    profile = load_profile(own(tmp_path, SMALL))
    assert profile.name == "mine"
    assert profile.limits.neurons == 100
    assert profile.limits.input_axons == load_profile("loihi2").limits.input_axons
    assert profile["core.neurons"].source == "my own measurement of 2026"
    assert profile.sha256 != load_profile("loihi2").sha256


def test_a_base_may_lie_beside(tmp_path: Path) -> None:
    own(tmp_path, SMALL)
    other = tmp_path / "other.toml"
    other.write_text('schema = 1\ntitle = "other"\nbase = "mine.toml"\n')
    assert load_profile(str(other)).limits.neurons == 100


ENTRY = 'neurons = { value = 100, unit = "neurons", kind = "measured", source = "me" }'
PROGRAMS = '[support]\nprograms = { value = ["lif", "izhikevich"], unit = "programs", '
PROGRAMS += 'kind = "measured", source = "me" }\n'
BROKEN: dict[str, tuple[str, str, str]] = {
    "no value": (ENTRY, ENTRY.replace("value = 100, ", ""), "core.neurons.value: expected a whole"),
    "negative": (ENTRY, ENTRY.replace("100", "-1"), "core.neurons.value: expected a whole number"),
    "no number": (ENTRY, ENTRY.replace("100", "true"), "found True"),
    "fraction": (ENTRY, ENTRY.replace("100", "1.5"), "found 1.5"),
    "unknown unit": (ENTRY, ENTRY.replace('"neurons"', '"KiB"'), "unit: expected neurons, found"),
    "no unit": (ENTRY, ENTRY.replace('unit = "neurons", ', ""), "core.neurons.unit: expected"),
    "no kind": (ENTRY, ENTRY.replace('kind = "measured", ', ""), "core.neurons.kind: expected"),
    "other kind": (ENTRY, ENTRY.replace("measured", "believed"), "expected one of measured"),
    "no source": (ENTRY, ENTRY.replace(', source = "me"', ""), "core.neurons.source: expected"),
    "lost source": (ENTRY, ENTRY.replace('"me"', '"you"'), "sources.you: expected a text"),
    "assumed": (ENTRY, ENTRY.replace("measured", "assumed"), "core.neurons.low is missing"),
    "no bounds": (
        ENTRY,
        ENTRY.replace('"measured"', '"assumed", low = 200, high = 300'),
        "expected low <= value <= high, found 200 > 100",
    ),
    "other field": (ENTRY, ENTRY.replace("value", "valeu"), "core.neurons.valeu: unknown key"),
    "bare number": (ENTRY, "neurons = 100", "expected { value, unit, kind, source }, found 100"),
    "unknown key": ("neurons =", "nerons =", "core.nerons: unknown key; [core] has neurons"),
    "unknown section": ("[core]", "[cores]", "cores: unknown key; expected one of"),
    "unknown program": ("[core]", f"{PROGRAMS}[core]", "support.programs.value: expected a list"),
    "no title": ('title = "mine"', "", "title: expected a text, found nothing"),
    "other schema": ("schema = 1", "schema = 2", "schema: expected 1, found 2"),
    "no base": ('base = "loihi2"', "", "chip.tile_columns is missing; expected a whole number"),
    "itself": ('base = "loihi2"', 'base = "mine.toml"', "builds on this file itself"),
    "no TOML": ("[core]", "[core", "not a TOML file"),
    "section": ("[sources]", "core = 1\n[sources]", "core: expected a table, found 1"),
    "too many cores": (
        "[core]",
        '[chip]\nusable_cores = { value = 129, unit = "cores", kind = "measured", source = "me" }\n'
        "[core]",
        "chip.usable_cores: expected at most 128",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_malformed_profile_gets_one_line(tmp_path: Path, case: str) -> None:
    old, new, expected = BROKEN[case]
    assert old in SMALL
    text = SMALL.replace(old, new)
    if case == "section":
        text = text.split("[core]")[0]
    file = own(tmp_path, text)
    with pytest.raises(UnsupportedInput) as caught:
        load_profile(file)
    message = str(caught.value)
    assert "mine.toml" in message
    assert expected in message
    assert "\n" not in message


def test_a_key_that_this_profile_lacks_is_named() -> None:
    with pytest.raises(UnsupportedInput, match=r"spinnaker2.toml: energy.synaptic_operation"):
        load_profile("spinnaker2")["energy.synaptic_operation"]


def test_unknown_names_and_lost_files() -> None:
    with pytest.raises(UsageError, match="no hardware profile named 'loihi3'; installed: hala"):
        load_profile("loihi3")
    with pytest.raises(SpikeGPTError, match=r"lost.toml: cannot be read"):
        load_profile("lost.toml")


# The command line.


def output(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = run_cli([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_profiles_lists_and_shows(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = output(capsys, "profiles")
    assert code == 0
    assert {line.split()[0] for line in out.splitlines()} >= EXPECTED
    code, out, _ = output(capsys, "profiles", "loihi1")
    assert code == 0
    assert "energy.hop_east_west" in out
    assert "Davies et al." in out
    code, out, _ = output(capsys, "profiles", own(tmp_path, SMALL), "--json")
    shown: dict[str, Any] = json.loads(out)
    assert shown["constants"]["core.neurons"] == {
        "value": 100,
        "unit": "neurons",
        "kind": "measured",
        "source": "my own measurement of 2026",
        "low": None,
        "high": None,
        "note": None,
    }


def test_profiles_refuses_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = output(capsys, "profiles", own(tmp_path, "schema = 1"))
    assert (code, out) == (3, "")
    assert err.count("\n") == 1
    code, _, err = output(capsys, "profiles", "loihi3")
    assert code == 2
    assert "installed:" in err


def test_the_example_of_the_manual_loads(tmp_path: Path) -> None:
    manual = (FOLDER.parent / "docs" / "chip.md").read_text(encoding="utf-8")
    example = re.split(r"^```toml.*\n", manual, flags=re.MULTILINE)[1].split("```")[0]
    assert load_profile(own(tmp_path, example)).limits.input_axons == 8192
