"""A figure of a benchmark: ours, the other side's, and their quotient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figure:
    """One quantity measured on both sides, in the same ``unit``.

    ``against``  what the other side is; ``theirs`` is None where it could not be measured.
    ``rounds``   side -> every value that was measured, where there were several.
    """

    name: str
    unit: str
    ours: float
    theirs: float | None
    against: str
    higher_is_better: bool = True
    rounds: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """Ours / theirs."""
        return self.ours / self.theirs if self.theirs else None

    def to_json(self) -> dict[str, object]:
        return {
            "unit": self.unit,
            "ours": self.ours,
            "theirs": self.theirs,
            "against": self.against,
            "ratio": self.ratio,
            "higher_is_better": self.higher_is_better,
            "rounds": {side: list(values) for side, values in self.rounds.items()},
        }


def table(figures: Sequence[Figure]) -> str:
    """The figures as aligned text, a line each."""
    rows: list[Sequence[str]] = [("", "ours", "theirs", "", "ratio", "against")]
    rows += [_row(figure) for figure in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(_line(row, widths) for row in rows)


def _row(figure: Figure) -> tuple[str, ...]:
    unit, scale = _readable(figure.unit)
    theirs = "-" if figure.theirs is None else _number(figure.theirs * scale)
    ratio = "-" if figure.ratio is None else f"{figure.ratio:.2f}"
    return (
        figure.name.replace("_", " "),
        _number(figure.ours * scale),
        theirs,
        unit,
        ratio,
        figure.against,
    )


def _readable(unit: str) -> tuple[str, float]:
    """Bytes are shown as MB, bytes/s as GB/s."""
    return {"bytes": ("MB", 1e-6), "bytes/s": ("GB/s", 1e-9)}.get(unit, (unit, 1.0))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.rjust(width) if column in (1, 2, 4) else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()
