"""Charts as SVG text: pure functions of numbers, with axes, units and legends.

Each is drawn for a ``width``: on a narrow one names stand above their bars, legends wrap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape
from math import log10

from spikegpt_neuro.drawing import (
    FAINT,
    LEGEND_ROW,
    PALETTE,
    WIDTH,
    box,
    legend,
    legend_rows,
    line,
    picture,
    shortened,
    text,
)
from spikegpt_neuro.energy.record import Range
from spikegpt_neuro.reports.numbers import between, decades, mark, scaled, ticks, ticks_between

NAMES, VALUES, RANGES = 190.0, 96.0, 250.0  # space for names on the left, values on the right
BAR, PITCH = 17.0, 27.0
LEGEND, AXIS = 34.0, 46.0
NARROW = 372.0
"""Width of a picture for a telephone: about its pixels, so that words keep their size."""
NARROW_BELOW = 600.0


@dataclass(frozen=True)
class Bar:
    """A bar, or a group of bars: its name, and one value per series."""

    name: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Rows:
    """Where rows of a chart stand: beside their names, or on a narrow one beneath them."""

    width: float
    after: float
    """Space for what stands after a bar."""
    top: float

    @property
    def is_narrow(self) -> bool:
        return self.width < NARROW_BELOW

    @property
    def left(self) -> float:
        return 14.0 if self.is_narrow else NAMES

    @property
    def words_left(self) -> float:
        return 0.0 if self.is_narrow else NAMES

    @property
    def right(self) -> float:
        return self.width - (24.0 if self.is_narrow else self.after)

    @property
    def pitch(self) -> float:
        return 46.0 if self.is_narrow else PITCH

    def bar(self, k: int) -> float:
        """Top of bar ``k``."""
        above = 22.0 if self.is_narrow else (PITCH - BAR) / 2
        return self.top + self.pitch * k + above

    def words(self, k: int, x: float, name: str, value: str) -> list[str]:
        """The name of row ``k`` and its value, which stands at ``x`` where there is room."""
        base = self.bar(k) + (-7 if self.is_narrow else BAR - 4)
        if self.is_narrow:
            room = int(self.width / 6.6) - len(value)
            return [
                text(0, base, shortened(name, max(room, 8))),
                text(self.width - 4, base, value, anchor="end", colour=FAINT),
            ]
        named = text(NAMES - 10, base, shortened(name, 26), anchor="end")
        return [named, text(x, base, value, colour=FAINT)]


def stacked(
    title: str,
    series: Sequence[str],
    bars: Sequence[Bar],
    axis: tuple[str, str],
    colours: Sequence[str] = PALETTE,
    *,
    width: float = WIDTH,
) -> str:
    """Horizontal bars of stacked values, the sum after each; ``axis``: (what, unit)."""
    most = max((sum(bar.values) for bar in bars), default=0.0)
    marks = ticks(most, 3 if width < NARROW_BELOW else 5)
    rows = Rows(width, VALUES, LEGEND)
    lines = legend_rows(rows.words_left, series, width)
    rows, left = replace(rows, top=LEGEND + LEGEND_ROW * (lines - 1)), rows.left
    scale = (rows.right - left) / marks[-1]
    bottom = rows.top + rows.pitch * len(bars)
    parts = [*legend(rows.words_left, 16, series, colours[: len(series)], width)]
    parts += _value_axis(marks, lambda v: left + v * scale, (rows.top - 6, bottom), axis)
    for k, bar in enumerate(bars):
        x, y = left, rows.bar(k)
        end = left + sum(bar.values) * scale
        parts += rows.words(k, end + 7, bar.name, scaled(sum(bar.values), axis[1]))
        for name, value, colour in zip(series, bar.values, colours, strict=False):
            hint = f"{bar.name}, {name}: {scaled(value, axis[1])}"
            parts.append(box(x, y, value * scale, BAR, colour, hint))
            x += value * scale
    return picture(bottom + AXIS, title, parts, width)


def intervals(
    title: str,
    rows: Sequence[tuple[str, Range]],
    axis: tuple[str, str],
    *,
    width: float = WIDTH,
) -> str:
    """Points with their ranges on a logarithmic axis; rows of 0 are named, without a point."""
    positive = [v for _, r in rows for v in (r.low, r.value, r.high) if v > 0] or [1.0]
    marks = decades(max(min(positive), 1e-6 * max(positive)), max(positive))
    span = log10(marks[-1] / marks[0])
    place = Rows(width, RANGES, 12.0)

    def at(value: float) -> float:
        share = log10(max(value, marks[0]) / marks[0]) / span
        return place.left + 8 + (place.right - place.left - 16) * share

    bottom = place.top + place.pitch * len(rows)
    shown = marks[:: 1 + len(marks) // 5] if place.is_narrow else marks
    parts = _value_axis(shown, at, (8.0, bottom), axis)
    for k, (name, value) in enumerate(rows):
        parts += place.words(k, place.right + 14, name, between(value, axis[1]))
        if value.value > 0:
            y = place.bar(k) + BAR / 2
            parts += _interval(at(value.low), at(value.value), at(value.high), y)
    return picture(bottom + AXIS, title, parts, width)


def _interval(low: float, value: float, high: float, y: float) -> list[str]:
    ends = (low, high) if high > low else ()
    return [
        line(low, y, high, y, PALETTE[0], 3),
        *(line(x, y - 5, x, y + 5, PALETTE[0], 1.5) for x in ends),
        f"<circle cx='{value:.1f}' cy='{y:.1f}' r='5.5' fill='{PALETTE[0]}'/>",
    ]


def columns(
    title: str,
    series: Sequence[str],
    groups: Sequence[Bar],
    axes: tuple[str, str],
    *,
    width: float = WIDTH,
) -> str:
    """Groups of upright bars side by side, one per series; ``axes``: (what, unit of height)."""
    left, height = 64.0, 190.0
    top = LEGEND + LEGEND_ROW * (legend_rows(left, series, width) - 1)
    marks = ticks(max((v for group in groups for v in group.values), default=0.0))
    pitch = (width - left - 12) / max(len(groups), 1)
    across = min(34.0, 0.8 * pitch / max(len(series), 1))
    bottom, scale = top + height, height / marks[-1]
    parts = [*legend(left, 16, series, PALETTE[: len(series)], width)]
    parts += _height_axis(marks, lambda v: bottom - v * scale, (left, width - 12), axes[1])
    for k, group in enumerate(groups):
        middle = left + pitch * (k + 0.5)
        for s, value in enumerate(group.values):
            x = middle + (s - len(group.values) / 2) * across
            hint = f"{group.name}, {series[s]}: {value:.1f} {axes[1]}"
            parts.append(
                box(x + 1, bottom - value * scale, across - 2, value * scale, PALETTE[s], hint)
            )
        parts.append(text(middle, bottom + 17, group.name, anchor="middle"))
    parts.append(text((left + width) / 2, bottom + 37, axes[0], anchor="middle", colour=FAINT))
    return picture(bottom + AXIS, title, parts, width)


def curves(
    title: str,
    xs: Sequence[float],
    lines: Sequence[tuple[str, Sequence[float]]],
    axes: tuple[str, str],
    *,
    width: float = WIDTH,
) -> str:
    """Lines over a common axis from 0 to the last of ``xs``, each named at its right end.

    On a narrow one a legend above names them.
    """
    narrow, names = width < NARROW_BELOW, [name for name, _ in lines]
    left, height = (56.0 if narrow else 70.0), 210.0
    right = width - (16.0 if narrow else 170.0)
    top = 26.0 + (6 + LEGEND_ROW * legend_rows(4, names, width) if narrow else 0)
    marks = ticks(max(y for _, ys in lines for y in ys))
    bottom, scale = top + height, height / marks[-1]

    def at(x: float, y: float) -> tuple[float, float]:
        return left + (right - left) * x / xs[-1], bottom - y * scale

    parts = [text(4 if narrow else left, top - 13, axes[1], colour=FAINT)]
    if narrow:
        parts += legend(4, 16, names, PALETTE[: len(names)], width)
    parts += _height_axis(marks, lambda y: at(0, y)[1], (left, right), "")
    for x in ticks(xs[-1], 3 if narrow else 5):
        if x <= xs[-1]:
            parts.append(text(at(x, 0)[0], bottom + 17, f"{x:,.0f}", anchor="middle", colour=FAINT))
    parts.append(text((left + right) / 2, bottom + 37, axes[0], anchor="middle", colour=FAINT))
    heights = _apart([at(0, ys[-1])[1] for _, ys in lines])
    for (name, ys), colour, y in zip(lines, PALETTE, heights, strict=False):
        points = " ".join("{:.1f},{:.1f}".format(*at(*p)) for p in zip(xs, ys, strict=True))
        parts.append(
            f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='2.5'/>"
        )
        if not narrow:
            mark_of = box(right + 9, y - 5, 10, 10, colour, extra="rx='2'")
            parts += [mark_of, text(right + 25, y + 4, name)]
    return picture(bottom + AXIS, title, parts, width)


@dataclass(frozen=True)
class Dot:
    """A point of a :func:`scatter`: where, what resting on it says, and whether it stands out."""

    x: float
    y: float
    hint: str
    filled: bool


def scatter(
    series: Sequence[tuple[str, Sequence[Dot]]], axes: tuple[str, str], *, width: float = WIDTH
) -> tuple[list[str], float]:
    """Dots on axes from 0, those of a series joined; returns the parts and their height.

    Filled dots stand out, the others are hollow. What lies below 0 is drawn at 0.
    """
    names = [name for name, _ in series]
    left, right, height = 74.0, width - 24, 260.0
    top = LEGEND + 22 + LEGEND_ROW * (legend_rows(left, names, width) - 1)
    dots = [dot for _, found in series for dot in found]
    across = ticks(max(dot.x for dot in dots), 3 if width < NARROW_BELOW else 5)
    up = ticks(max(0.01, *(dot.y for dot in dots)))
    bottom = top + height

    def at(dot: Dot) -> tuple[float, float]:
        x = left + (right - left) * dot.x / across[-1]
        return x, bottom - height * max(0.0, dot.y) / up[-1]

    parts = [*legend(left, 16, names, PALETTE[: len(series)], width)]
    parts.append(text(4 if width < NARROW_BELOW else left, top - 10, axes[1], colour=FAINT))
    parts += _height_axis(up, lambda y: bottom - height * y / up[-1], (left, right), "")
    for x in across:
        place = left + (right - left) * x / across[-1]
        parts.append(text(place, bottom + 17, f"{x:g}", anchor="middle", colour=FAINT))
    parts.append(text((left + right) / 2, bottom + 37, axes[0], anchor="middle", colour=FAINT))
    for (_, found), colour in zip(series, PALETTE, strict=False):
        ordered = sorted(found, key=lambda dot: dot.x)
        way = " ".join("{:.1f},{:.1f}".format(*at(dot)) for dot in ordered)
        parts.append(
            f"<polyline points='{way}' fill='none' stroke='{colour}' stroke-opacity='0.45'/>"
        )
        parts += [_dot(*at(dot), dot, colour) for dot in ordered]
    return parts, bottom + AXIS


def cloud(
    dots: Sequence[Dot], axes: tuple[str, str], *, width: float = WIDTH
) -> tuple[list[str], float]:
    """Dots on axes that hold them all; the filled ones are joined. Returns parts and height."""
    left, right, top, height = 84.0, width - 24, 34.0, 300.0
    across = ticks_between(min(dot.x for dot in dots), max(dot.x for dot in dots))
    up = ticks_between(min(dot.y for dot in dots), max(dot.y for dot in dots))
    bottom, colour = top + height, PALETTE[0]

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            left + (right - left) * (x - across[0]) / (across[-1] - across[0]),
            bottom - height * (y - up[0]) / (up[-1] - up[0]),
        )

    parts = [text(left, top - 14, axes[1], colour=FAINT)]
    parts += _height_axis(up, lambda y: at(across[0], y)[1], (left, right), "")
    for x in across:
        place = at(x, up[0])[0]
        parts.append(text(place, bottom + 17, mark(x), anchor="middle", colour=FAINT, size=11.5))
    parts.append(text((left + right) / 2, bottom + 37, axes[0], anchor="middle", colour=FAINT))
    joined = sorted({at(dot.x, dot.y) for dot in dots if dot.filled})
    way = " ".join(f"{x:.1f},{y:.1f}" for x, y in joined)
    parts.append(f"<polyline points='{way}' fill='none' stroke='{colour}' stroke-opacity='0.45'/>")
    parts += [_dot(*at(dot.x, dot.y), dot, colour) for dot in dots]
    return parts, bottom + AXIS


def _dot(x: float, y: float, dot: Dot, colour: str) -> str:
    fill = colour if dot.filled else "#ffffff"
    return (
        f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{6 if dot.filled else 4}' fill='{fill}' "
        f"stroke='{colour}' stroke-width='1.5'><title>{escape(dot.hint)}</title></circle>"
    )


def _apart(heights: Sequence[float], least: float = 17.0) -> list[float]:
    """The same heights, moved down where words beside them would overlap."""
    order = sorted(range(len(heights)), key=heights.__getitem__)
    moved, previous = list(heights), -least
    for k in order:
        moved[k] = previous = max(heights[k], previous + least)
    return moved


def _value_axis(
    marks: Sequence[float],
    at: Callable[[float], float],
    ends: tuple[float, float],
    axis: tuple[str, str],
) -> list[str]:
    """Upright grid lines between the heights ``ends``, their values, and what they are."""
    top, bottom = ends
    parts = []
    for value in marks:
        parts.append(line(at(value), top, at(value), bottom + 2))
        words = mark(value, axis[1])
        parts.append(text(at(value), bottom + 17, words, anchor="middle", colour=FAINT, size=11.5))
    middle = (at(marks[0]) + at(marks[-1])) / 2
    return [*parts, text(middle, bottom + 37, axis[0], anchor="middle", colour=FAINT)]


def _height_axis(
    marks: Sequence[float], at: Callable[[float], float], ends: tuple[float, float], unit: str
) -> list[str]:
    """Level grid lines from ``ends[0]`` to ``ends[1]`` and their values on the left."""
    left, right = ends
    parts = []
    for value in marks:
        words = mark(value, unit)
        parts.append(line(left, at(value), right, at(value)))
        parts.append(text(left - 8, at(value) + 4, words, anchor="end", colour=FAINT, size=11.5))
    return parts
