"""The table of a sweep: a CSV file with a row per point, written and read.

A number is written as Python writes it, so that it is read back as it was; a list as JSON.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from spikegpt_neuro.documents import MEGABYTE, read_bytes
from spikegpt_neuro.errors import UnsupportedInput, UsageError

LIMIT = 1024 * MEGABYTE
Cell = bool | int | float | str | None
Row = Mapping[str, Cell]


def flat(figures: Mapping[str, Any], prefix: str = "") -> dict[str, Cell]:
    """Figures as cells: those of an object under ``prefix.name``, a list as JSON."""
    found: dict[str, Cell] = {}
    for name, value in figures.items():
        here = f"{prefix}.{name}" if prefix else name
        if isinstance(value, Mapping):
            found |= flat(value, here)
        elif isinstance(value, (list, tuple)):
            found[here] = json.dumps(value)
        else:
            found[here] = value
    return found


def written(rows: Sequence[Row], last: Sequence[str] = ()) -> str:
    """The rows as CSV: columns as they come first, ``last`` behind all others."""
    names = dict.fromkeys(name for row in rows for name in row)
    heads = [*(name for name in names if name not in last), *(n for n in last if n in names)]
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([_written(row.get(name)) for name in heads] for row in rows)
    return text.getvalue()


def _written(value: Cell) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, (bool, int, float)) else value


@dataclass(frozen=True)
class Table:
    """A table that was read: ``columns`` in order, and every row by them."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def column(self, name: str) -> str:
        """The column that ``name`` means: itself, or the only one that ends with it.

        Raises :class:`UsageError` where none or several do.
        """
        if name in self.columns:
            return name
        found = [column for column in self.columns if column.endswith(f".{name}")]
        if len(found) != 1:
            problem = f"is one of {', '.join(found)}" if found else f"is not among the {self._some}"
            raise UsageError(f"column {name!r} {problem}")
        return found[0]

    @property
    def _some(self) -> str:
        return f"{len(self.columns)} columns: {', '.join(self.columns)}"

    def sorted(self, name: str, descending: bool = False) -> Table:
        """By a column; rows without a value come last."""
        column = self.column(name)
        there = [row for row in self.rows if row[column] is not None]
        ranked = sorted(there, key=lambda row: _rank(row[column]), reverse=descending)
        missing = [row for row in self.rows if row[column] is None]
        return Table(self.columns, (*ranked, *missing))

    def where(self, condition: str) -> Table:
        """The rows of which a condition such as ``weight_bits=4`` or ``cores<100`` holds.

        Raises :class:`UsageError` for what is no condition.
        """
        name, sign, value = _condition(condition)
        column = self.column(name)
        kept = [row for row in self.rows if _holds(row[column], sign, value)]
        return Table(self.columns, tuple(kept))

    def numbers(self, name: str) -> list[float | None]:
        """The values of a column of figures.

        Raises :class:`UsageError` where it holds something else.
        """
        column = self.column(name)
        found: list[float | None] = []
        for row in self.rows:
            value = row[column]
            if isinstance(value, str):
                raise UsageError(f"column {column!r} holds {value!r}; expected numbers")
            found.append(None if value is None else float(value))
        return found


SIGNS = ("<=", ">=", "!=", "=", "<", ">")


def _condition(text: str) -> tuple[str, str, Cell]:
    at = {text.index(sign): sign for sign in reversed(SIGNS) if sign in text}
    if not at or min(at) == 0:
        raise UsageError(f"condition {text!r}: expected such as weight_bits=4 or cores<100")
    sign = at[min(at)]
    name, _, value = text.partition(sign)
    return name.strip(), sign, _read(value.strip().removeprefix("="))


def _holds(cell: Cell, sign: str, value: Cell) -> bool:
    if sign in ("=", "!="):
        return (cell == value) == (sign == "=")
    if cell is None or isinstance(cell, str) or isinstance(value, str) or value is None:
        return False
    return {"<": cell < value, ">": cell > value, "<=": cell <= value, ">=": cell >= value}[sign]


def _rank(value: Cell) -> tuple[bool, float, str]:
    """Numbers before texts."""
    if isinstance(value, str) or value is None:
        return True, 0.0, value or ""
    return False, float(value), ""


def read_table(path: Path) -> Table:
    """Read a table.

    Raises :class:`UnsupportedInput` where the file is none.
    """
    text = read_bytes(path, LIMIT).decode("utf-8", "replace")
    csv.field_size_limit(LIMIT)
    lines = list(csv.reader(StringIO(text)))
    if not lines or any(len(line) != len(lines[0]) for line in lines):
        raise UnsupportedInput(f"{path}: not a table; sweep writes it again")
    heads = lines[0]
    rows = [dict(zip(heads, map(_read, line), strict=True)) for line in lines[1:]]
    return Table(tuple(heads), tuple(rows))


NUMBER = re.compile(r"[-+]?(\d+|(\d+\.\d*|\.\d+|\d+(?=e))(e[-+]?\d+)?|inf|nan)")


def _read(text: str) -> Cell:
    if text in ("", "True", "False"):
        return {"": None, "True": True, "False": False}[text]
    if (found := NUMBER.fullmatch(text)) is None:
        return text
    return int(text) if found[1].isdecimal() else float(text)
