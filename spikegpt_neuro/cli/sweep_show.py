"""``sweep show``: the table of a sweep, sorted and filtered, and the front of two figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from spikegpt_neuro.cli.common import Output, verb
from spikegpt_neuro.cli.streams import say
from spikegpt_neuro.errors import UsageError

WRAPPED = ("error", "text", "checkpoint")
"""Columns of words that give way on a narrow terminal."""


@click.command(name="show")
@click.argument("results", metavar="DIR")
@click.option("--columns", metavar="A,B...", help="Columns [default: what varies, main figures].")
@click.option("--sort", metavar="COLUMN", help="By a column; -COLUMN: the largest first.")
@click.option(
    "--where",
    multiple=True,
    metavar="CONDITION",
    help="Rows such as weight_bits=4, cores<100 or hw!=loihi1. Repeat it for more conditions.",
)
@click.option(
    "--front",
    metavar="X,Y",
    help="Mark the points that no other one beats in both figures; less is better, of -X more.",
)
@click.option("--picture", "svg", metavar="FILE", help="Save a picture of that front (SVG).")
@click.option("--force", is_flag=True, help="Replace an existing picture.")
@verb
def show(
    out: Output,
    results: str,
    columns: str | None,
    sort: str | None,
    where: Sequence[str],
    front: str | None,
    svg: str | None,
    force: bool,
) -> None:
    """Show the table that sweep wrote to DIR.

    A figure is named by its column (evaluate.bits_per_token), or by its own name where only one
    verb has it (delta_bits_per_token). The whole table is DIR/table.csv.
    """
    from spikegpt_neuro import api
    from spikegpt_neuro.files import check_output_file, write_atomically
    from spikegpt_neuro.reports.sweep import draw

    if svg is not None and front is None:
        raise UsageError("--picture is of a front; name its two figures with --front X,Y")
    if svg is not None:
        check_output_file(Path(svg), force)
    found = api.sweep_table(
        results,
        where=where,
        sort=sort,
        columns=columns.split(",") if columns else None,
        front=pair_of(front),
    )
    if svg is not None:
        if not found.pairs:
            raise UsageError("no point has both figures; name others")
        write_atomically(Path(svg), draw(found), force=force)
    if out.as_json:
        out.result(found.to_dict() | {"svg": svg})
        return
    print_rows(found.columns, found.rows())


def pair_of(front: str | None) -> tuple[str, str] | None:
    """The two figures of ``X,Y``."""
    if front is None:
        return None
    names = front.split(",")
    if len(names) != 2 or not all(names):
        raise UsageError(f"--front {front}: expected two figures, X,Y")
    return names[0], names[1]


def print_rows(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """A table of some columns, figures to the right."""
    from spikegpt_neuro.cli import tables

    if not rows:
        say("no points")
        return
    texts = {c for c in columns for row in rows if isinstance(row.get(c), str)}
    made = tables.table(*columns, left=texts)
    for row in rows:
        made.add_row(*(_cell(row.get(column)) for column in columns))
    tables.show(made, wrapped=[column for column in columns if column in WRAPPED])


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
