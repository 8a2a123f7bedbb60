"""Plans: what they may hold, the points they make, and what is said of those that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spikegpt_neuro.errors import SpikeGPTError, UnsupportedInput, UsageError
from spikegpt_neuro.sweeps.plan import read_plan

SMALLEST = """
checkpoint = ["model.pth"]
vocab = "vocab.json"
text = "held-out.txt"
tokens = 2048
[grid]
weight_bits = [8, 4]
sparsity = [0.0, 0.5]
hw = ["loihi2"]
schedule = ["pipelined", "fall-through"]
"""
GRID: dict[str, Any] = {"weight_bits": [8, 4]}


def test_the_smallest_plan(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(SMALLEST, encoding="utf-8")
    plan = read_plan(file)
    assert plan.verbs == ("evaluate", "map", "profile")
    assert plan.file("model.pth") == tmp_path / "model.pth"
    points = list(plan.points())
    assert len(points) == len(plan) == 8
    assert points[0].options == {
        "vocab": "vocab.json",
        "text": "held-out.txt",
        "tokens": 2048,
        "checkpoint": "model.pth",
        "weight_bits": 8,
        "sparsity": 0.0,
        "hw": "loihi2",
        "schedule": "pipelined",
    }
    assert [p.options["schedule"] for p in points[:2]] == ["pipelined", "fall-through"]
    assert points[-1].parameters("convert") == {
        "checkpoint": "model.pth",
        "vocab": "vocab.json",
        "weight_bits": 4,
        "sparsity": 0.5,
    }
    assert points[-1].parameters("evaluate") == {"text": "held-out.txt", "limit": 2048}


def test_values_that_stand_twice_are_one_point() -> None:
    plan = read_plan({"checkpoint": "a", "grid": {"weight_bits": [8, 4, 8]}})
    assert [point.options["weight_bits"] for point in plan.points()] == [8, 4]


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"grid": {"weigth_bits": [8]}}, "plan: grid.weigth_bits: unknown key; expected one of"),
        ({"texts": "a.txt"}, "plan: texts: unknown key; expected one of checkpoint, vocab"),
        ({"grid": {"weight_bits": "8"}}, "plan: grid.weight_bits: expected a list"),
        ({"grid": {"weight_bits": [8, "4"]}}, r"plan: grid.weight_bits\[1\]: expected a whole"),
        ({"verbs": ["train"]}, r"plan: verbs\[0\]: expected 'evaluate' or 'map'"),
    ],
)
def test_a_wrong_document_is_named_by_place(more: dict[str, Any], line: str) -> None:
    with pytest.raises(UnsupportedInput, match=line):
        read_plan({"checkpoint": "a", "grid": GRID} | more)


@pytest.mark.parametrize(
    ("plan", "line"),
    [
        ({"checkpoint": "a"}, "grid is empty"),
        ({"checkpoint": "a", "grid": {}}, "grid is empty"),
        ({"checkpoint": "a", "grid": {"weight_bits": []}}, "weight_bits is empty"),
        ({"checkpoint": [], "grid": GRID}, "checkpoint is empty"),
        ({"grid": GRID}, "checkpoint is missing"),
        ({"checkpoint": "a", "weight_bits": 8, "grid": GRID}, "in the grid and outside"),
        ({"checkpoint": "a", "grid": {"schedule": ["pipelined"]}}, "schedule is an option of"),
        ({"checkpoint": "a", "grid": GRID, "verbs": ["map"]}, "hw is missing; map needs"),
        ({"checkpoint": "a", "grid": GRID, "verbs": []}, "verbs is empty"),
        (
            {"checkpoint": "a", "grid": {"seed": list(range(400)), "chips": list(range(400))}}
            | {"hw": "loihi2"},
            "160,000 points",
        ),
    ],
)
def test_a_plan_that_asks_for_nothing_or_too_much(plan: dict[str, Any], line: str) -> None:
    with pytest.raises(UsageError, match=line) as caught:
        read_plan(plan)
    assert isinstance(caught.value, SpikeGPTError)
