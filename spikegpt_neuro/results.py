"""What every result can do: show itself in a line or a notebook, and become a dict or a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from spikegpt_neuro.errors import MissingBackend

if TYPE_CHECKING:
    import pandas


class Result:
    """Base of the results, which are frozen dataclasses.

    ``UNITS``     figure -> its unit, where it has one.
    ``HEADLINE``  the figures that its line shows.
    """

    UNITS: ClassVar[Mapping[str, str]] = {}
    HEADLINE: ClassVar[tuple[str, ...]] = ()

    def to_dict(self) -> dict[str, Any]:
        """All figures as JSON values, under the names that ``--json`` prints."""
        shown = (f.name for f in fields(cast(Any, self)) if f.repr)
        return {name: jsonable(getattr(self, name)) for name in shown}

    def rows(self) -> list[dict[str, Any]]:
        """The rows of its table: one, unless it is a collection."""
        return [{k: v for k, v in self.to_dict().items() if not isinstance(v, (dict, list))}]

    def to_frame(self) -> pandas.DataFrame:
        """Its table as a pandas DataFrame; ``frame.attrs["units"]`` holds the units.

        Raises :class:`MissingBackend` where pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingBackend(
                "pandas is not installed; pip install 'spikegpt-neuro[frame]'"
            ) from error
        frame = pandas.DataFrame(self.rows())
        frame.attrs["units"] = {k: u for k, u in self.UNITS.items() if k in frame.columns}
        return frame

    def headline(self) -> Mapping[str, object]:
        """Name -> value of the figures that matter most."""
        found = self.to_dict()
        return {name: found[name] for name in self.HEADLINE}

    def __repr__(self) -> str:
        shown = ", ".join(f"{n}={_line(v, self.UNITS.get(n))}" for n, v in self.headline().items())
        return f"{type(self).__name__}({shown})"

    def _repr_html_(self) -> str:
        rows = self.rows()
        names = list(dict.fromkeys(name for row in rows for name in row))
        if len(rows) == 1:
            cells = "".join(
                f"<tr><th style='text-align:left'>{escape(self._named(n))}</th>"
                f"<td>{escape(_line(rows[0][n], None))}</td></tr>"
                for n in names
            )
        else:
            cells = "<tr>" + "".join(f"<th>{escape(self._named(n))}</th>" for n in names) + "</tr>"
            for row in rows:
                values = (escape(_line(row.get(n), None)) for n in names)
                cells += "<tr>" + "".join(f"<td>{value}</td>" for value in values) + "</tr>"
        return f"<table><caption>{escape(type(self).__name__)}</caption>{cells}</table>"

    def _named(self, figure: str) -> str:
        unit = self.UNITS.get(figure)
        return figure if unit is None else f"{figure} [{unit}]"


def _line(value: object, unit: str | None) -> str:
    """A figure within a line."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        text = repr(value)
        return text if len(text) <= 60 else f"{text[:57]}..."
    shown = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    return shown if unit is None else f"{shown} {unit}"


def jsonable(value: object) -> Any:
    """Paths as texts, tuples as lists, mappings as dicts, results as theirs."""
    if isinstance(value, Result):
        return value.to_dict()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: jsonable(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [jsonable(item) for item in value]
    return value
