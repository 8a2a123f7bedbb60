"""Tables on a terminal, in a pipe or a file: words wrap, a figure and its unit never do."""

from __future__ import annotations

from collections.abc import Collection

from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table

PADDING, RULE = 2, 1
LEAST = 32  # cells of a column whose words wrap, if it has so many


def table(*heads: str, left: Collection[str] = (), title: str | None = None) -> Table:
    """A table of figures, to the right; the columns ``left`` hold names and words."""
    columns = [
        Column(head, justify="left" if head in left else "right", no_wrap=True) for head in heads
    ]
    return Table(*columns, title=title, title_justify="left")


def show(made: Table, wrapped: str | None = None) -> None:
    """Print a table as wide as the terminal; the column headed ``wrapped`` gives way.

    Where the others need more, the lines are longer than the terminal: nothing is cut.
    """
    console = Console(markup=False, emoji=False)
    widths = [_longest(column, whole=True) for column in made.columns]
    frame = RULE + len(widths) * (PADDING + RULE)
    for index, column in enumerate(made.columns):
        if column.header == wrapped:
            spare = console.width - frame - sum(widths) + widths[index]
            column.no_wrap = False
            least = max(LEAST, _longest(column, whole=False))
            widths[index] = min(widths[index], max(least, spare))
        column.width = widths[index]
    console.width = max(console.width, frame + sum(widths))
    console.print(made)


def _longest(column: Column, whole: bool) -> int:
    """Cells of its longest line, or of its longest word."""
    texts = [str(column.header), *map(str, column.cells)]
    parts = (text.split("\n") if whole else text.split() for text in texts)
    return max((cell_len(part) for found in parts for part in found), default=0)
