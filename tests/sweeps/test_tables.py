"""The table: read back as it was written, sorted, filtered, and the front of two figures."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikegpt_neuro.errors import UnsupportedInput, UsageError
from spikegpt_neuro.pareto import on_front
from spikegpt_neuro.sweeps.table import Table, flat, read_table, written

NUMBERS = st.floats(0, 9).map(lambda value: round(value))
PAIRS = st.lists(st.none() | st.tuples(NUMBERS, NUMBERS), max_size=12)


def _read(text: str, folder: Path) -> Table:
    (folder / "table.csv").write_text(text, encoding="utf-8")
    return read_table(folder / "table.csv")


def test_cells_come_back_as_they_were(tmp_path: Path) -> None:
    rows: list[dict[str, bool | int | float | str | None]] = [
        {"point": 1, "error": None, "a.b": 0.1 + 0.2, "a.c": 1e-300, "yes": True, "c": 'x,"y"\nz'},
        {"point": 2, "error": "map: cores", "a.b": 2.0, "late": -3, "yes": False, "c": "0x1"},
    ]
    table = _read(written(rows, last=("a.c",)), tmp_path)
    assert table.columns == ("point", "error", "a.b", "yes", "c", "late", "a.c")
    for row, found in zip(rows, table.rows, strict=True):
        assert {name: value for name, value in found.items() if value is not None} == {
            name: value for name, value in row.items() if value is not None
        }
        assert type(found["a.b"]) is float


def test_figures_within_figures_and_lists() -> None:
    figures = {"joules": {"static": 1.5, "host": {"in": 2}}, "by_layer": [1, {"a": 2}]}
    assert flat(figures, "profile") == {
        "profile.joules.static": 1.5,
        "profile.joules.host.in": 2,
        "profile.by_layer": '[1, {"a": 2}]',
    }


def test_rows_are_sorted_and_filtered(tmp_path: Path) -> None:
    text = "point,hw,evaluate.bits,map.cores,profile.cores\n1,a,2.5,9,8\n2,b,1.5,,7\n3,a,3,10,6\n"
    table = _read(text, tmp_path)

    def points(found: Table) -> list[object]:
        return [row["point"] for row in found.rows]

    assert points(table.sorted("bits")) == [2, 1, 3]
    assert points(table.sorted("map.cores", descending=True)) == [3, 1, 2]
    assert points(table.where("hw=a")) == points(table.where("hw != b")) == [1, 3]
    assert points(table.where("evaluate.bits<=2.5").where("map.cores>8")) == [1]
    for wrong, line in (("cores", "is one of map.cores, profile.cores"), ("none", "is not among")):
        with pytest.raises(UsageError, match=line):
            table.sorted(wrong)
    with pytest.raises(UsageError, match="condition 'cores'"):
        table.where("cores")
    with pytest.raises(UsageError, match="expected numbers"):
        table.numbers("hw")


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedInput, match="not a table"):
        _read("a,b\n1\n", tmp_path)


@given(PAIRS)
def test_the_front_is_what_no_other_point_beats(pairs: list[tuple[float, float] | None]) -> None:
    there = [pair for pair in pairs if pair is not None]
    for pair, mark in zip(pairs, on_front(pairs), strict=True):
        beaten = pair is None or any(
            q[0] <= pair[0] and q[1] <= pair[1] and q != pair for q in there
        )
        assert mark == (not beaten)
