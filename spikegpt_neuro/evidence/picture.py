"""Measured against predicted, on log axes: one panel for time, one for energy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import ceil, floor, log10

from spikegpt_neuro.drawing import FAINT, GRID, PALETTE, framed, legend, line, text
from spikegpt_neuro.evidence.validation import WITHIN, Compared
from spikegpt_neuro.units import mark, scaled

SIZE = (920.0, 470.0)
SIDE, TOP, GAP = 360.0, 60.0, 90.0
LEFT = 70.0
RADIUS = 5.0
UNITS = {"seconds": "s", "joules": "J", "joules_dynamic": "J"}
PANELS = (("time", ("seconds",)), ("energy", ("joules", "joules_dynamic")))
COLOURS = {"seconds": PALETTE[0], "joules": PALETTE[1], "joules_dynamic": PALETTE[2]}
LABELS = {"seconds": "time", "joules": "energy", "joules_dynamic": "dynamic energy"}


def draw_comparison(found: Sequence[Compared], hardware: str) -> str:
    """The picture as SVG; the line is equality, the band a factor of two up and down."""
    title = f"Published runs, predicted with {hardware} against measured"
    parts = [text(LEFT, 26, title, size=15)]
    parts += legend(LEFT, 48, [LABELS[q] for q in COLOURS], [*COLOURS.values()])
    for index, (name, quantities) in enumerate(PANELS):
        rows = [row for row in found if row.quantity in quantities]
        if rows:
            parts += _panel(LEFT + index * (SIDE + GAP), name, rows)
    return framed(parts, SIZE, title)


def _panel(left: float, name: str, rows: Sequence[Compared]) -> Iterator[str]:
    values = [value for row in rows for value in (row.measured, row.predicted)]
    first, last = floor(log10(min(values))), ceil(log10(max(values)))
    last = max(last, first + 1)

    def at(value: float) -> float:
        """Pixels from the panel's left or bottom edge."""
        return SIDE * (log10(value) - first) / (last - first)

    unit, bottom = UNITS[rows[0].quantity], TOP + SIDE
    for power in range(first, last + 1):
        offset, shown = at(10.0**power), mark(10.0**power, unit)
        yield line(left + offset, TOP, left + offset, bottom)
        yield line(left, bottom - offset, left + SIDE, bottom - offset)
        yield text(left + offset, bottom + 16, shown, anchor="middle", size=10.5, colour=FAINT)
        yield text(left - 6, bottom - offset + 4, shown, anchor="end", size=10.5, colour=FAINT)
    yield from _diagonals(left, bottom, SIDE * log10(WITHIN) / (last - first))
    yield text(left + SIDE / 2, bottom + 36, f"measured {name}", anchor="middle")
    yield text(left, TOP - 4, f"predicted {name}", size=11, colour=FAINT)
    for row in rows:
        yield _dot(left + at(row.measured), bottom - at(row.predicted), row, unit)


def _diagonals(left: float, bottom: float, off: float) -> Iterator[str]:
    """Equality, and the same a factor of :data:`~.validation.WITHIN` off."""
    yield line(left, bottom, left + SIDE, TOP, colour=FAINT, width=1.5)
    yield line(left, bottom - off, left + SIDE - off, TOP, colour=GRID, width=2)
    yield line(left + off, bottom, left + SIDE, TOP + off, colour=GRID, width=2)


def _dot(x: float, y: float, row: Compared, unit: str) -> str:
    """A filled dot for what was in the fit, a ring for what was not."""
    colour = COLOURS[row.quantity]
    fill = colour if row.in_fit else "#ffffff"
    hint = (
        f"{row.name}, {LABELS[row.quantity]}: measured {scaled(row.measured, unit)}, predicted "
        f"{scaled(row.predicted, unit)}, ratio {row.ratio:.2f}, mark {row.mark}"
    )
    return (
        f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{RADIUS:g}' fill='{fill}' fill-opacity='0.75' "
        f"stroke='{colour}' stroke-width='1.5'><title>{escape(hint)}</title></circle>"
    )
