"""Constants from runs: found again where runs are invented, named where they do not tell."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loihi_records import NAMES, TRUE, measured_records

import spikegpt_neuro as sgn
from spikegpt_neuro.backends.loihi.fitting import without_absorbed
from spikegpt_neuro.cli import run as run_cli
from spikegpt_neuro.errors import CheckFailed, UsageError
from spikegpt_neuro.evidence.boards import CHIP, Boards, Free
from spikegpt_neuro.evidence.fitting import OF_THE_CHIP, entering, fit_runs, free_constants, rows_of
from spikegpt_neuro.evidence.least_squares import solve
from spikegpt_neuro.evidence.prediction import predict
from spikegpt_neuro.evidence.runs import (
    Activity,
    Busiest,
    Measurement,
    PublishedRun,
    Reading,
    Source,
    published_constants,
    published_runs,
)
from spikegpt_neuro.evidence.validation import Evidence, fitted_constants
from spikegpt_neuro.hardware.profile import Profile, load_profile

TRUTH: Mapping[Free, float] = {
    Free("energy.synaptic_operation"): 5.1e-12,
    Free("energy.neuron_access"): 61e-12,
    Free("energy.core_step"): 2.7e-9,
    Free("energy.chip_step"): 0.31e-6,
    Free("latency.synaptic_operation"): 0.83e-9,
}


def read(value: float, unit: str) -> Reading:
    return Reading(float(value), unit, "V")


def invented(
    chip: Profile,
    truth: Mapping[Free, float],
    count: int = 8,
    seed: int = 0,
    cores: int | None = None,
) -> list[PublishedRun]:
    """Runs whose measurements are exactly what ``truth`` predicts; ``cores`` of each chip."""
    rng = np.random.default_rng(seed)
    boards = Boards(chip, truth)
    found = []
    for number in range(count):
        chips, steps = int(rng.integers(1, 5)), int(rng.integers(1, 20))
        figures = rng.integers(10**3, 10**7, 3)
        counts = {
            "neuron_passes": read(figures[0], "passes"),
            "synaptic_operations": read(figures[1] * 30, "operations"),
            "messages": read(figures[2] // 100, "messages"),
        }
        busiest = {
            "neuron_passes": read(10, "passes"),
            "synaptic_operations": read(int(rng.integers(10**4, 10**6)), "operations"),
            "messages": read(100, "messages"),
        }
        run = PublishedRun(
            name=f"toy-{number}",
            title="invented",
            board=CHIP,
            network=f"toy-{number}",
            per="step",
            counts_embedded=True,
            source=Source("invented", "here"),
            measured=Measurement(read(1, "s")),
            activity=Activity(
                chips_on=read(chips, "chips"),
                cores=read((cores or int(rng.integers(1, 128))) * chips, "cores"),
                steps=read(steps, "steps"),
                **counts,
            ),
            busiest=Busiest(**busiest),
            unpredicted={},
        )
        exact = predict(run, boards[CHIP])
        measured = Measurement(
            seconds=read(exact.seconds, "s"),
            joules=read(exact.joules, "J"),
            joules_dynamic=read(exact.joules_dynamic, "J"),
        )
        found.append(replace(run, measured=measured))
    return found


def written(run: PublishedRun) -> str:
    """The run as a file."""

    def table(name: str, part: object) -> list[str]:
        readings = {k: v for k, v in vars(part).items() if isinstance(v, Reading)}
        return [
            f"[{name}]",
            *(
                f'{k} = {{ value = {r.value!r}, unit = "{r.unit}", mark = "{r.mark}" }}'
                for k, r in readings.items()
            ),
        ]

    head = [f'{k} = "{getattr(run, k)}"' for k in ("title", "board", "network", "per")]
    return "\n".join(
        [
            *("schema = 1", *head, "counts_embedded = true"),
            *("[source]", 'text = "invented"', 'where = "here"'),
            *table("activity", run.activity),
            *table("busiest", run.busiest),
            *table("measured", run.measured),
        ]
    )


def test_constants_of_invented_runs_are_found(tmp_path: Path) -> None:
    chip = load_profile(CHIP)
    runs = invented(chip, TRUTH)
    found = sgn.fit([], tmp_path / "toy.toml", runs=runs)
    assert found.undetermined == {}
    for free, value in TRUTH.items():
        section, key = free.key.split(".")
        given = found.picojoules if section == "energy" else found.nanoseconds
        size = 1e-12 if section == "energy" else 1e-9
        assert given[key] * size == pytest.approx(value, rel=1e-9)
    assert found.relative_residual < 1e-10
    written_profile = load_profile(tmp_path / "toy.toml")
    for free, value in TRUTH.items():
        constant = written_profile[free.key]
        assert constant.base == pytest.approx(value, rel=1e-9)
        assert constant.kind == "fitted"
        assert "least squares in logarithms over 24 measurements of 8 runs" in constant.source


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.floats(-1.2, 1.2), min_size=len(TRUTH), max_size=len(TRUTH)),
    st.integers(0, 1000),
)
def test_whatever_the_constants_are(exponents: Sequence[float], seed: int) -> None:
    chip = load_profile(CHIP)
    truth = {free: v * math.exp(x) for (free, v), x in zip(TRUTH.items(), exponents, strict=True)}
    runs = invented(chip, truth, count=12, seed=seed)
    solved = fit_runs(runs, chip, OF_THE_CHIP)
    for free, value in truth.items():
        if free not in solved.undetermined:
            assert solved.values[free] == pytest.approx(value, rel=1e-6)
    assert np.abs(solved.residuals).max() < 1e-6


def test_from_a_folder_by_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    for run in invented(load_profile(CHIP), TRUTH):
        (folder / f"{run.name}.toml").write_text(written(run), encoding="utf-8")
    output = tmp_path / "toy.toml"
    assert run_cli(["fit", "--runs", str(folder), "-o", str(output), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["picojoules"]["synaptic_operation"] == pytest.approx(5.1, rel=1e-9)
    assert said["uncertainty"]["energy.chip_step"] == pytest.approx(0, abs=1e-9)
    assert run_cli(["fit", "-o", str(output), "--force"]) == 2
    assert "give RECORDs, --runs, or both" in capsys.readouterr().err


def test_own_records_and_runs_together(tmp_path: Path) -> None:
    chip = load_profile(CHIP)
    own = {Free(f"energy.{name}"): float(v) for name, v in zip(NAMES, TRUE, strict=True)}
    truth = {**TRUTH, **own}
    runs = invented(without_absorbed(chip), truth)
    found = sgn.fit(measured_records(3), tmp_path / "both.toml", runs=runs, powered_chips=4)
    assert found.undetermined == {}
    assert found.runs == 8 + 3
    for free, value in truth.items():
        constant = load_profile(tmp_path / "both.toml")[free.key]
        assert constant.base == pytest.approx(value, rel=1e-9), free
    assert load_profile(tmp_path / "both.toml")["energy.hop_east_west"].base == 0
    assert found.static_watts_per_chip == pytest.approx(0.51 / 0.25 / 4)
    assert max(map(abs, found.residuals_joules)) < 1e-9


def test_what_the_runs_do_not_tell_is_named(tmp_path: Path) -> None:
    chip = load_profile(CHIP)
    runs = [
        replace(run, measured=replace(run.measured, joules_dynamic=None, joules=None))
        for run in invented(chip, TRUTH)
    ]
    found = sgn.fit([], tmp_path / "time.toml", runs=runs)
    assert found.picojoules == {}
    assert set(found.nanoseconds) == {"synaptic_operation"}
    assert found.undetermined["energy.chip_step"] == "no run depends on it"
    assert load_profile(tmp_path / "time.toml")["energy.chip_step"] == chip["energy.chip_step"]
    found = sgn.fit([], tmp_path / "alike.toml", runs=invented(chip, TRUTH, cores=10))
    ((key, why),) = found.undetermined.items()  # with ten cores on each chip, one of the two steps
    assert key in ("energy.core_step", "energy.chip_step")
    assert "too few, or too alike" in why or "nothing" in why
    few = invented(chip, TRUTH, count=2)
    assert sgn.fit([], tmp_path / "few.toml", runs=few).undetermined
    silent = [
        replace(r, unpredicted=dict.fromkeys(("seconds", "joules", "joules_dynamic"), "x"))
        for r in few
    ]
    with pytest.raises(CheckFailed, match=r"determine no constant of the chip: .*no run depends"):
        sgn.fit([], tmp_path / "none.toml", runs=silent)
    assert not (tmp_path / "none.toml").exists()
    with pytest.raises(UsageError, match="no records to fit"):
        sgn.fit([], tmp_path / "none.toml")


def test_what_was_derived_enters_no_fit() -> None:
    runs = {run.name: run for run in published_runs()}
    assert entering(runs["hala-point"]) == ()
    assert rows_of(runs["hala-point"]) == rows_of(runs["qp-solver"]) == ()
    assert entering(runs["pilotnet-lif-2023-01-10"]) == (
        *("seconds", "watts_static", "joules_dynamic"),
    )
    assert entering(runs["wta-lif-ns-200"]) == ("seconds", "joules")
    assert entering(runs["autoencoder-ethernet"]) == ("watts_static", "joules_dynamic")


def test_the_installed_profiles_are_what_the_fit_gives() -> None:
    """The constants that say fitted are found again, to the digits that the files have."""
    chip, evidence = load_profile(CHIP), Evidence.installed()
    free = free_constants(chip, {run.board for run in evidence.runs})
    solved = fit_runs(evidence.runs, chip, free, evidence.rows_of_constants)
    assert {f.key: why for f, why in solved.undetermined.items()} == {
        "energy.core_step": "the fit would make it nothing"
    }
    kept = set(solved.factors)
    assert kept == set(fitted_constants(chip, evidence.runs))
    boards = Boards(chip, {})
    for each in kept:
        constant = boards[each.board][each.key]
        assert constant.base == pytest.approx(solved.values[each], rel=1e-3), each
        factor, (low, high) = solved.factors[each], constant.range
        assert factor is not None
        if each.board == CHIP:
            assert low == pytest.approx(constant.base / factor, rel=2e-2)
            assert high == pytest.approx(constant.base * factor, rel=2e-2)


def test_the_maximum_of_a_cores_terms_fits_better_than_their_sum() -> None:
    chip, evidence = load_profile(CHIP), Evidence.installed()
    free = fitted_constants(chip, evidence.runs)
    errors = {}
    for terms in ("maximum", "sum"):
        rule = replace(chip["latency.core_terms"], value=terms)
        other = replace(chip, constants={**chip.constants, "latency.core_terms": rule})
        solved = fit_runs(evidence.runs, other, free, evidence.rows_of_constants)
        errors[terms] = float(np.sum(solved.residuals**2))
    assert chip["latency.core_terms"].value == min(errors, key=lambda terms: errors[terms])


def test_constants_read_directly_are_rows_of_their_own() -> None:
    (script,) = published_constants()
    assert script.constants["latency.synaptic_operation"].value == 0.66
    assert script.constants["latency.neuron_access"].mark == "V"


def test_least_squares_by_hand() -> None:
    """ln x = the mean of two logarithms, with the deviation of that mean."""

    def logarithms(values: Mapping[str, float]) -> np.ndarray:
        return np.log([values["x"] / 2.0, values["x"] / 8.0])

    found = solve({"x": 1.0}, np.ones(2), logarithms)
    assert found.values["x"] == pytest.approx(4.0)
    assert found.factors["x"] == pytest.approx(math.exp(math.log(2)))
    idle = solve({"x": 1.0, "y": 3.0}, np.ones(2), logarithms)
    assert idle.undetermined == {"y": "no run depends on it"}
    assert idle.values["y"] == 3.0
