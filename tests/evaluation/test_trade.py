"""The front of a curve, its settings and its file."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikegpt_neuro.errors import UnsupportedInput, UsageError
from spikegpt_neuro.evaluation.trade import Setting, grid, load_tradeoff
from spikegpt_neuro.pareto import on_front

NUMBERS = st.integers(0, 6).map(lambda n: n / 4)


@given(pairs=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=12))
def test_the_front_is_what_nothing_dominates(pairs: list[tuple[float, float]]) -> None:
    marks = on_front(pairs)
    front = {pair for pair, mark in zip(pairs, marks, strict=True) if mark}
    assert front
    for (x, y), mark in zip(pairs, marks, strict=True):
        better = any((a < x and b <= y) or (a <= x and b < y) for a, b in pairs)
        assert mark is not better
    # Along the front, fewer operations always cost more bits.
    ordered = sorted(front)
    assert all(a[1] > b[1] for a, b in itertools.pairwise(ordered))


def test_the_grid_holds_every_combination_once() -> None:
    found = grid([0, 0.5, 0.5], [0.0], [8, 4])
    assert [s.name for s in found] == ["s0-p0-w8", "s0-p0-w4", "s0.5-p0-w8", "s0.5-p0-w4"]


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5, float("nan")])
@pytest.mark.parametrize("name", ["sparsity", "prune"])
def test_a_share_out_of_range_is_named(name: str, share: float) -> None:
    values = {"sparsity": 0.0, "prune": 0.0, name: share}
    with pytest.raises(UsageError, match=rf"^{name} is .*, expected 0 <= {name} < 1"):
        Setting(**values, weight_bits=8)


def test_no_value_is_no_grid() -> None:
    with pytest.raises(UsageError, match="prune is empty"):
        grid([0], [], [8])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"format": "other"}, "format 'other'"),
        ({"format": "spikegpt-neuro-tradeoff", "schema_version": 9}, "schema version 9"),
        ({"format": "spikegpt-neuro-tradeoff", "schema_version": 1, "points": 3}, "points"),
        (
            {
                "format": "spikegpt-neuro-tradeoff",
                "schema_version": 1,
                "points": [],
                "float_bits_per_token": 1.0,
                "tokens": 3,
            },
            "no point is on the front",
        ),
    ],
)
def test_a_strange_table_is_refused(tmp_path: Path, content: object, message: str) -> None:
    (tmp_path / "tradeoff.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UnsupportedInput, match=message):
        load_tradeoff(tmp_path)
