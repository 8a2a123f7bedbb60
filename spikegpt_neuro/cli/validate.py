"""``validate``: every published run predicted, beside what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from spikegpt_neuro.api.choices import DEFAULT_PROFILE
from spikegpt_neuro.cli.common import Output, verb
from spikegpt_neuro.cli.streams import say

if TYPE_CHECKING:
    from spikegpt_neuro.api import Validation
    from spikegpt_neuro.evidence.validation import LeaveOut


@click.command()
@click.option("--hw", default=DEFAULT_PROFILE, show_default=True, metavar="PROFILE")
@click.option(
    "--leave-out",
    type=click.Choice(["run", "network"]),
    default="run",
    show_default=True,
    help="Predict each run once more without itself, or without all runs of its network.",
)
@click.option("--svg", metavar="FILE", help="Save a picture: measured against predicted.")
@verb
def validate(out: Output, hw: str, leave_out: LeaveOut, svg: str | None) -> None:
    """Predict every published Loihi 2 run from its activity, beside the measurement.

    Each is predicted once more by constants that were fitted without it. Leaving out a network is
    harder: four runs are the same PilotNet. A mark says who read the
    measurement: V in the source itself, S in a text that quotes it, D derived by us.
    """
    from spikegpt_neuro import api
    from spikegpt_neuro.files import check_output_file

    if svg is not None:
        check_output_file(Path(svg), force=True)
    found = api.validate(hw, leave_out=leave_out, progress=out.stages)
    if svg is not None:
        found.draw(svg)
    if out.as_json:
        out.result(found.to_dict())
    else:
        _show(found)


def _show(found: Validation) -> None:
    """A line per run and quantity, how far they are off together, and what is left out."""
    from spikegpt_neuro.cli import tables
    from spikegpt_neuro.units import scaled

    heads = ("run", "quantity", "measured", "predicted", "ratio", "left out", "in fit", "mark")
    table = tables.table(*heads, left=(*heads[:2], *heads[-2:]), title=f"on {found.hardware}")
    for row in found.compared:
        unit = "s" if row.quantity == "seconds" else "J"
        left_out = "-" if row.ratio_left_out is None else f"{row.ratio_left_out:.2f}"
        table.add_row(
            row.name,
            row.quantity.replace("_", " "),
            scaled(row.measured, unit),
            scaled(row.predicted, unit),
            f"{row.ratio:.2f}",
            left_out,
            "yes" if row.in_fit else "",
            row.mark,
        )
    tables.show(table)
    _show_static(found)
    _show_errors(found)
    for run in found.evidence:
        for quantity, reason in run.unpredicted.items():
            say(f"not predicted: {quantity} of {run.name}: {reason}")


def _show_static(found: Validation) -> None:
    from spikegpt_neuro.cli import tables
    from spikegpt_neuro.units import scaled

    heads = ("static power", "measured", "predicted", "ratio")
    table = tables.table(*heads, left=heads[:1])
    for name, (measured, predicted) in found.static.items():
        ratio = f"{predicted / measured:.2f}"
        table.add_row(name, scaled(measured, "W"), scaled(predicted, "W"), ratio)
    if found.static:
        tables.show(table)


def _show_errors(found: Validation) -> None:
    from spikegpt_neuro.cli import tables
    from spikegpt_neuro.evidence.runs import QUANTITIES
    from spikegpt_neuro.evidence.validation import summary

    heads = ("error as a factor", "of", "mean", "worst", "mean left out", "worst left out")
    table = tables.table(*heads, left=heads[:1])
    for marks, words in (("VS", "read"), ("VSD", "read or derived")):
        for quantity in QUANTITIES:
            rows = [r for r in found.compared if r.quantity == quantity and r.mark in marks]
            if rows:
                label = f"{quantity.replace('_', ' ')}, {words}"
                table.add_row(label, str(len(rows)), *(f"{x:.2f}" for x in summary(rows)))
    tables.show(table)
