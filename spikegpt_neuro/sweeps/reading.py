"""What is read from a table of results: some rows, some columns, and which points are worth it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.pareto import on_front
from spikegpt_neuro.results import Result
from spikegpt_neuro.sweeps.folder import folder_of
from spikegpt_neuro.sweeps.table import Cell, Row, Table, read_table

ON_FRONT = "on_front"
MAIN = (
    "error",
    "evaluate.bits_per_token",
    "evaluate.delta_bits_per_token",
    "evaluate.synops_over_dense",
    "map.chips",
    "map.cores",
    "profile.joules_per_token",
    "profile.tokens_per_second",
    "simulate.matches_reference",
    "simulate.simulation.seconds_per_token",
)
"""Figures that are shown where nobody chose; those that are there."""
FRONTS = (
    ("profile.joules_per_token", "evaluate.bits_per_token"),
    ("evaluate.synops_over_dense", "evaluate.bits_per_token"),
)
"""Of which a report shows the first that is there."""
ASIDE = ("version", "remarks", ON_FRONT)
"""Columns that are no options and no figures."""
AWAY = "-"
"""Before a figure of which more is better, or by which the last row comes first."""


@dataclass(frozen=True, repr=False)
class SweepTable(Result):
    """Rows of a sweep's table.

    ``table``    the CSV file.
    ``columns``  those that were chosen, or the options that vary and the main figures.
    ``front``    the two figures by which a front was asked for; then the column ``on_front`` tells
                 which points no other one beats in both.
    """

    table: Path
    columns: tuple[str, ...]
    front: tuple[str, str] | None
    points: tuple[Row, ...] = field(repr=False)

    HEADLINE: ClassVar[tuple[str, ...]] = ("table", "columns")

    def to_dict(self) -> dict[str, Any]:
        """The rows, of the chosen columns."""
        return {**super().to_dict(), "points": self.rows()}

    def rows(self) -> list[dict[str, Any]]:
        """A row per point."""
        return [{name: row[name] for name in self.columns} for row in self.points]

    @property
    def pairs(self) -> tuple[tuple[float, float, bool, str], ...]:
        """Of a front: both figures of each point, whether it is on it, and its options."""
        if self.front is None:
            raise UsageError("no front was asked for; name its two figures")
        x, y = self.front
        options = [c for c in self.columns if "." not in c and c not in (ON_FRONT, "error")]
        return tuple(
            (_number(row[x]), _number(row[y]), bool(row[ON_FRONT]), _named(row, options))
            for row in self.points
            if row[x] is not None and row[y] is not None
        )


def _number(cell: Cell) -> float:
    return float(cell or 0)


def _named(row: Row, options: Sequence[str]) -> str:
    return ", ".join(f"{name} {row[name]}" for name in options)


def sweep_table(
    results: str | Path,
    *,
    where: Sequence[str] = (),
    sort: str | None = None,
    columns: Sequence[str] | None = None,
    front: tuple[str, str] | None = None,
) -> SweepTable:
    """The table in a folder that a sweep wrote.

    Parameters
    ----------
    where
        Conditions that rows have to meet: ``weight_bits=4``, ``map.cores<100``, ``hw!=loihi1``.
    sort
        A column; ``-column``: the largest first.
    columns
        Those to show. Of a figure the name alone is enough where only one verb has it.
    front
        Two figures: which points no other one beats in both. Less is better; of ``-figure``, more.

    Raises
    ------
    UnsupportedInput
        No sweep wrote the folder, or its table is damaged.
    UsageError
        A column or condition that cannot be.

    Examples
    --------
    >>> plan = {"checkpoint": "model.pth", "vocab": "vocab.json", "calibrate": "text.txt",
    ...         "text": "text.txt", "tokens": 64, "grid": {"weight_bits": [4, 8]}}
    >>> swept = sgn.sweep(plan, "results")
    >>> sgn.sweep_table("results", sort="bits_per_token").rows()[0]["weight_bits"]
    8
    """
    path = folder_of(results).table
    table = read_table(path)
    for condition in where:
        table = table.where(condition)
    names = None if front is None else _front_names(table, front)
    if front is not None:
        table = _marked(table, front)
    if sort is not None:
        table = table.sorted(sort.removeprefix(AWAY), sort.startswith(AWAY))
    chosen = _main(table) if columns is None else [table.column(name) for name in columns]
    extra = [] if names is None else [*names, ON_FRONT]
    shown = tuple(dict.fromkeys([*chosen, *extra]))
    return SweepTable(path, shown, names, table.rows)


def overview(results: str | Path) -> SweepTable:
    """What a report shows of a sweep: its main columns, and a front where the figures are there."""
    there = read_table(folder_of(results).table)
    found = (pair for pair in FRONTS if all(_is_there(there, name) for name in pair))
    return sweep_table(results, front=next(found, None))


def _front_names(table: Table, figures: tuple[str, str]) -> tuple[str, str]:
    x, y = (table.column(name.removeprefix(AWAY)) for name in figures)
    return x, y


def _marked(table: Table, figures: tuple[str, str]) -> Table:
    """With a column that says which rows are on the front."""
    sides = []
    for name in figures:
        sign = -1.0 if name.startswith(AWAY) else 1.0
        values = table.numbers(name.removeprefix(AWAY))
        sides.append([None if value is None else sign * value for value in values])
    pairs = [None if x is None or y is None else (x, y) for x, y in zip(*sides, strict=True)]
    rows = [{**row, ON_FRONT: mark} for row, mark in zip(table.rows, on_front(pairs), strict=True)]
    return Table((*table.columns, ON_FRONT), tuple(rows))


def _main(table: Table) -> list[str]:
    """The point, its options that vary, and its main figures."""
    options = [c for c in table.columns if "." not in c and c not in ASIDE]
    crossed = [c for c in options if c in ("point",) or _varies(table, c)]
    return [*crossed, *(c for c in MAIN if c not in crossed and _is_there(table, c))]


def _varies(table: Table, column: str) -> bool:
    return len({row[column] for row in table.rows}) > 1


def _is_there(table: Table, column: str) -> bool:
    return column in table.columns and any(row[column] is not None for row in table.rows)
