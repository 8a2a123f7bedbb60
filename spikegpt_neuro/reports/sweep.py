"""The points of a sweep: two figures of each as a picture, and as a section of a report."""

from __future__ import annotations

from spikegpt_neuro.drawing import WIDTH, framed, picture
from spikegpt_neuro.reports.charts import Dot, cloud
from spikegpt_neuro.reports.content import Picture, Section, Sheet, Table
from spikegpt_neuro.sweeps.reading import SweepTable

TITLE = "Sweep"
SAID = (
    "Each dot is a point of the sweep. Filled dots are the front: no other one is better in both "
    "figures."
)
MOST_ROWS = 200


def draw(found: SweepTable) -> str:
    """The front as a file of its own (SVG)."""
    parts, height = _parts(found)
    return framed(parts, (WIDTH, height), _title(found))


def section(found: SweepTable) -> Section:
    """A sweep in a report: the front where there is one, and its table."""
    rows = found.rows()
    shown = tuple(tuple(map(_cell, row.values())) for row in rows[:MOST_ROWS])
    texts = {k for row in rows for k, v in row.items() if isinstance(v, str)}
    numbers = tuple(k for k, name in enumerate(found.columns) if name not in texts)
    left_out = f" The first {MOST_ROWS} of {len(rows):,} points." if len(rows) > MOST_ROWS else ""
    table = Table(found.columns, shown, f"{found.table}{left_out}", numbers)
    if not _has_dots(found):
        return Section("sweep", TITLE, (), (table,))
    sheet = Sheet(found.columns, tuple(tuple(row.values()) for row in rows))
    drawn = Picture.drawn("sweep", "", lambda width: _picture(found, width), sheet)
    return Section("sweep", TITLE, (SAID,), (drawn, table))


def _has_dots(found: SweepTable) -> bool:
    return found.front is not None and bool(found.pairs)


def _title(found: SweepTable) -> str:
    x, y = found.front or ("", "")
    return f"{TITLE}: {_words(y)} against {_words(x)}"


def _picture(found: SweepTable, width: float) -> str:
    parts, height = _parts(found, width)
    return picture(height, _title(found), parts, width)


def _parts(found: SweepTable, width: float = WIDTH) -> tuple[list[str], float]:
    assert found.front is not None
    x, y = found.front
    dots = [
        Dot(a, b, f"{named}: {x} {a:.6g}, {y} {b:.6g}", mark) for a, b, mark, named in found.pairs
    ]
    return cloud(dots, (_words(x), _words(y)), width=width)


def _words(column: str) -> str:
    return column.rpartition(".")[2].replace("_", " ")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
