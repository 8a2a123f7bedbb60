"""Pieces of SVG. Every text is escaped; coordinates are pixels of the view box."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

INK, FAINT, GRID = "#1f2933", "#52606d", "#dde3e8"
WIDTH = 920.0
SIZE = 12.5  # of text

LIGHT = "#dde3e8"  # what did not happen

# Distinct for all common kinds of colour blindness (after Okabe and Ito), dark enough on white.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#7b8794", "#56b4e9")


def picture(height: float, title: str, parts: Iterable[str], width: float = WIDTH) -> str:
    """A whole picture that scales with the page; ``title`` is what a screen reader says."""
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width:.0f} {height:.0f}' "
        f"width='{width:.0f}' role='img' aria-label='{escape(title)}'>{''.join(parts)}</svg>"
    )


def text(
    x: float, y: float, words: str, *, anchor: str = "start", colour: str = INK, size: float = SIZE
) -> str:
    """Words at a point of their base line."""
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size:g}' fill='{colour}' "
        f"text-anchor='{anchor}'>{escape(words)}</text>"
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


def legend(x: float, y: float, names: Sequence[str], colours: Sequence[str]) -> list[str]:
    """Coloured squares with names, in one row."""
    parts = []
    for name, colour in zip(names, colours, strict=True):
        parts += [box(x, y - 10, 11, 11, colour, extra="rx='2'"), text(x + 17, y, name)]
        x += 17 + 7.0 * len(name) + 22
    return parts


def shortened(words: str, characters: int) -> str:
    """At most so many characters, cut with an ellipsis."""
    return words if len(words) <= characters else words[: characters - 1] + "…"
