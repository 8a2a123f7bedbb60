"""Pieces of SVG for all pictures. Texts are escaped; coordinates are pixels of the view box."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

FONT = "font-family='system-ui,-apple-system,Segoe UI,Helvetica,Arial,sans-serif'"
INK, FAINT, GRID = "#1f2933", "#52606d", "#dde3e8"
WIDTH = 920.0
SIZE = 12.5  # of text

LIGHT = "#dde3e8"  # what did not happen
PAPER = "#f4f6f8"  # behind marks
SHEET = "#ffffff"

THEMED = {INK: "ink", FAINT: "faint", GRID: "line", PAPER: "paper", SHEET: "sheet"}
"""Colours that a dark page replaces -> the name of the page's own."""

# Distinct for all common kinds of colour blindness (after Okabe and Ito), dark enough on white.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#7b8794", "#56b4e9")

Ramp = tuple[tuple[int, int, int], ...]
"""Stops of a scale of colours, red, green and blue, from its lowest level to its highest."""


def picture(height: float, title: str, parts: Iterable[str], width: float = WIDTH) -> str:
    """A whole picture that scales with the page; ``title`` is what a screen reader says."""
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width:.0f} {height:.0f}' "
        f"width='{width:.0f}' role='img' aria-label='{escape(title)}'>{''.join(parts)}</svg>"
    )


def framed(parts: Iterable[str], size: tuple[float, float], title: str) -> str:
    """A whole picture for a file of its own: on white, of a fixed size, with its font."""
    width, height = size
    frame = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width:.0f} {height:.0f}' "
        f"width='{width:.0f}' height='{height:.0f}' role='img' {FONT}>",
        f"<title>{escape(title)}</title>",
        f"<rect width='{width:.0f}' height='{height:.0f}' fill='{SHEET}'/>",
    ]
    return "\n".join([*frame, *parts, "</svg>"]) + "\n"


def text(
    x: float,
    y: float,
    words: str,
    *,
    anchor: str = "start",
    colour: str = INK,
    size: float = SIZE,
    style: str = "",
) -> str:
    """Words at a point of their base line; ``style``: further attributes."""
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size:g}' fill='{colour}' "
        f"text-anchor='{anchor}'{' ' * bool(style)}{style}>{escape(words)}</text>"
    )


def box(
    x: float, y: float, width: float, height: float, colour: str, hint: str = "", extra: str = ""
) -> str:
    """A filled rectangle; resting on it shows ``hint``."""
    inside = f"<title>{escape(hint)}</title>" if hint else ""
    return (
        f"<rect x='{x:.2f}' y='{y:.2f}' width='{max(width, 0):.2f}' height='{height:.2f}' "
        f"fill='{colour}' {extra}>{inside}</rect>"
    )


def line(x0: float, y0: float, x1: float, y1: float, colour: str = GRID, width: float = 1.0) -> str:
    """A straight stroke."""
    return (
        f"<line x1='{x0:.1f}' y1='{y0:.1f}' x2='{x1:.1f}' y2='{y1:.1f}' "
        f"stroke='{colour}' stroke-width='{width:g}'/>"
    )


def legend(
    x: float, y: float, names: Sequence[str], colours: Sequence[str], right: float = float("inf")
) -> list[str]:
    """Coloured squares with names, in rows that end before ``right``."""
    parts = []
    for (row, place), name, colour in zip(_entries(x, names, right), names, colours, strict=True):
        base = y + LEGEND_ROW * row
        parts += [box(place, base - 10, 11, 11, colour, extra="rx='2'")]
        parts.append(text(place + 17, base, name))
    return parts


def legend_rows(x: float, names: Sequence[str], right: float) -> int:
    """How many rows such a legend has."""
    return 1 + max((row for row, _ in _entries(x, names, right)), default=0)


LEGEND_ROW = 18.0


def _entries(x: float, names: Sequence[str], right: float) -> list[tuple[int, float]]:
    """Row and left end of each entry."""
    found, row, place = [], 0, x
    for name in names:
        across = 17 + 7.0 * len(name)
        if place > x and place + across > right:
            row, place = row + 1, x
        found.append((row, place))
        place += across + 22
    return found


def ramp_legend(
    left: float, top: float, ramp: Ramp, name: str, most: str, faint: str = FAINT
) -> list[str]:
    """What a ramp of colours means, from 0 to ``most``."""
    shades = [
        f"<rect x='{left + 5 * k:.1f}' y='{top + 15:.1f}' width='5.4' height='9' "
        f"fill='{colour_at(ramp, float(level))}'/>"
        for k, level in enumerate(np.linspace(0, 1, 41)[:-1])
    ]
    least = "0 %" if most.endswith("%") else "0"
    return [
        text(left, top + 8, name, size=11),
        *shades,
        text(left, top + 38, least, size=10.5, colour=faint),
        text(left + 200, top + 38, most, size=10.5, colour=faint, anchor="end"),
    ]


def colour_at(ramp: Ramp, level: float) -> str:
    """A colour of a ramp, level 0 to 1, linear between its stops."""
    stops = np.linspace(0, 1, len(ramp))
    red, green, blue = (np.interp(level, stops, [c[k] for c in ramp]) for k in range(3))
    return f"#{round(red):02x}{round(green):02x}{round(blue):02x}"


def shortened(words: str, characters: int) -> str:
    """At most so many characters, cut with an ellipsis."""
    return words if len(words) <= characters else words[: characters - 1] + "…"
