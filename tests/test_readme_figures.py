"""README, demo and report show one model's cost alike: one run, one timing model, one rounding."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import spikegpt_neuro as sgn
from spikegpt_neuro.api.choices import DEFAULT_TIMING
from spikegpt_neuro.energy.record import Range
from spikegpt_neuro.reports.numbers import NO_BREAK, between
from spikegpt_neuro.units import digits, scaled

from places import EXAMPLES, ROOT

pytest.importorskip("torch")
pytest.importorskip("jinja2")

LIKE = 0.015  # of another processor's float32 calibration, and of another Python's documentation
SCHEDULES = ("pipelined", "fall-through")

Costs = Mapping[str, Mapping[str, Any]]


@pytest.fixture(scope="module")
def graph() -> sgn.SpikingGraph:
    return sgn.convert(EXAMPLES / "pydoc-4x128.pth", vocab=EXAMPLES / "pydoc-vocab.json")


@pytest.fixture(scope="module")
def costs(graph: sgn.SpikingGraph) -> Costs:
    """What ``profile`` says without being told more than the hardware."""
    compared = sgn.compare(graph, {"schedule": list(SCHEDULES)}, hw="loihi2")
    return {figures["schedule"]: figures for figures in compared.to_dict()["profiles"]}


@pytest.fixture(scope="module")
def page(graph: sgn.SpikingGraph, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("readme") / "page.html"
    sgn.report(graph, file)
    return file.read_text(encoding="utf-8").replace(NO_BREAK, " ")


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo", EXAMPLES / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(heading: str) -> list[list[str]]:
    """The cells of README's table whose first head is ``heading``."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    (start,) = (n for n, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def joules(cell: str) -> float:
    """``1.01 mJ (...)`` in joules."""
    match = re.match(r"([\d.]+) ([mµ])J", cell)
    assert match is not None, cell
    return float(match[1]) * {"m": 1e-3, "µ": 1e-6}[match[2]]


def test_the_readme_shows_what_profile_says(costs: Costs) -> None:
    read = rows(f"`loihi2`, timing `{DEFAULT_TIMING}`")[: len(SCHEDULES)]
    assert [row[1] for row in read] == list(SCHEDULES)
    for row in read:
        found = costs[row[1]]
        assert found["timing"] == DEFAULT_TIMING
        assert joules(row[2]) == pytest.approx(found["joules_per_token"], rel=LIKE)
        assert float(row[3].replace(",", "")) == pytest.approx(found["tokens_per_second"], rel=LIKE)


def test_both_tables_of_the_readme_agree() -> None:
    read = rows(f"`loihi2`, timing `{DEFAULT_TIMING}`")
    beside = {row[0]: row[1] for row in rows(f"on `loihi2`, timing `{DEFAULT_TIMING}`")}
    for row, verb in zip(read, ("reading (pipelined)", "writing (fall-through)"), strict=False):
        assert beside[f"{verb}: J/token (range)"] == row[2]
        assert beside[f"{verb}: tokens/s"] == row[3]


def test_the_report_shows_what_profile_says(costs: Costs, page: str) -> None:
    for found in costs.values():
        ends = (found[f"joules_per_token{end}"] for end in ("", "_low", "_high"))
        assert between(Range(*ends), "J").replace(NO_BREAK, " ") in page
        assert digits(found["tokens_per_second"]) in page
    assert f"pipelined, loihi2, timing model {DEFAULT_TIMING}</dd>" in page  # beside the tile


def test_the_demo_shows_what_profile_says(
    costs: Costs, demo: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    score = {"bits_per_token": 1.0, "synops_over_dense": 0.5}
    found = demo.figures(score, list(costs.values()))
    assert found["timing"] == DEFAULT_TIMING
    demo.side_by_side(found, found)
    shown = capsys.readouterr().out
    for cost in costs.values():
        assert scaled(cost["joules_per_token"], "J") in shown
        assert digits(cost["tokens_per_second"]) in shown
    assert f"--compare schedule={','.join(SCHEDULES)}" in demo.PROFILE
    assert "--timing" not in demo.PROFILE
    assert f"profile {demo.ARTIFACT} {demo.PROFILE}" == demo.PROFILED
    assert demo.EVALUATED.startswith(f"evaluate {demo.ARTIFACT} {demo.EVALUATE}")
    assert {demo.EVALUATED, demo.PROFILED, demo.MADE_SPARSE} <= {step[1] for step in demo.STEPS}


def test_the_demo_takes_what_a_verb_found_from_its_one_run(
    graph: sgn.SpikingGraph,
    demo: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = f"info {sgn.save(graph, tmp_path / 'model.sgn')}"
    code, found = demo.carried_out(command)
    assert "layers" in capsys.readouterr().out
    assert (code, found["layers"]) == (0, graph.shape.layers)
    assert demo.carried_out(f"{command} --nothing")[0] == 2
