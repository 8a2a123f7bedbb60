"""Tables on a terminal, in a pipe or a file: words wrap, a figure and its unit never do."""

from __future__ import annotations

from collections.abc import Collection

from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table

PADDING, RULE = 2, 1
LEAST = 20  # cells of a column whose words wrap, if it has so many


def table(*heads: str, left: Collection[str] = (), title: str | None = None) -> Table:
    """A table of figures, to the right; the columns ``left`` hold names and words."""
    columns = [
        Column(head, justify="left" if head in left else "right", no_wrap=True) for head in heads
    ]
    return Table(*columns, title=title, title_justify="left")


def show(made: Table, wrapped: Collection[str] = ()) -> None:
    """Print a table as wide as the terminal; the columns headed ``wrapped`` give way.

    Where the others need more, the lines are longer than the terminal: nothing is cut.
    """
    console = Console(markup=False, emoji=False)
    widths = [
        _narrowest(column) if column.header in wrapped else _longest(column, "\n")
        for column in made.columns
    ]
    frame = RULE + len(widths) * (PADDING + RULE)
    for index, column in enumerate(made.columns):
        spare = max(0, console.width - frame - sum(widths))
        widths[index] = min(_longest(column, "\n"), widths[index] + spare)
        column.width, column.no_wrap = widths[index], column.header not in wrapped
    console.width = max(console.width, frame + sum(widths))
    console.print(made)


def _narrowest(column: Column) -> int:
    """Cells of a column whose words wrap: none is cut, and it does not become a tower."""
    return min(_longest(column, "\n"), max(LEAST, _longest(column, None)))


def _longest(column: Column, parted_at: str | None) -> int:
    """Cells of its longest line, or of its longest word (None)."""
    texts = map(str, (column.header, *column.cells))
    return max((cell_len(part) for text in texts for part in text.split(parted_at)), default=0)
