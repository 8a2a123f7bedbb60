"""What pictures show, as rows of values and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from urllib.parse import quote

from spikegpt_neuro.energy.record import Range
from spikegpt_neuro.reports.charts import Bar
from spikegpt_neuro.reports.content import Sheet


def bars_sheet(name: str, series: Sequence[str], bars: Sequence[Bar], unit: str = "") -> Sheet:
    """A row per bar, a column per series."""
    heads = tuple(f"{each}, {unit}" if unit else each for each in series)
    return Sheet((name, *heads), tuple((bar.name, *bar.values) for bar in bars))


def ranges_sheet(name: str, unit: str, rows: Sequence[tuple[str, Range]]) -> Sheet:
    """A row per figure: its value and the ends of its range."""
    head = (name, unit, f"low, {unit}", f"high, {unit}")
    return Sheet(head, tuple((words, r.value, r.low, r.high) for words, r in rows))


def csv_of(sheet: Sheet) -> str:
    """The sheet as CSV (RFC 4180)."""
    out = io.StringIO()
    csv.writer(out).writerows([sheet.head, *sheet.rows])
    return out.getvalue()


def link_of(sheet: Sheet) -> str:
    """An address that holds the CSV itself, so that a page needs no file beside it."""
    return "data:text/csv;charset=utf-8," + quote(csv_of(sheet), safe=" ,.:-+()/")
