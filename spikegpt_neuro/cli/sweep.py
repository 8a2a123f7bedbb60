"""``sweep``: a plan's every combination as one table; ``sweep show``: what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from spikegpt_neuro.cli.common import Output, place_of_work, verb
from spikegpt_neuro.cli.sweep_show import print_rows, show

if TYPE_CHECKING:
    from spikegpt_neuro.api import SweepPlan


class WithShow(click.Command):
    """``show`` as its first word makes another command of it."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """As click has it."""
        if args[:1] == ["show"]:
            return show.make_context(f"{info_name} show", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@click.command(cls=WithShow, epilog="See also: sweep show --help.")
@click.argument("plan", metavar="PLAN")
@click.option("-o", "--output", metavar="DIR", help="Where results are kept.")
@place_of_work
@click.option("--dry-run", is_flag=True, help="List the points, and compute nothing.")
@click.option("--force", is_flag=True, help="Take over a DIR with results of another plan.")
@verb
def sweep(
    out: Output,
    plan: str,
    output: str | None,
    workers: int | None,
    scheduler: str | None,
    cluster: str | None,
    dry_run: bool,
    force: bool,
) -> None:
    """Compute every combination that the TOML file PLAN names, into the table DIR/table.csv.

    PLAN names checkpoints, texts and options of convert, evaluate, map, profile and simulate; a
    table [grid] those to cross, each with a list of values. What points share is computed once.
    The same command goes on after an interruption. A point that fails is a row with its error.

    To see results: sweep show DIR.
    """
    from spikegpt_neuro import api

    if dry_run:
        _list(out, api.sweep_plan(plan))
        return
    if output is None:
        raise click.MissingParameter(param_hint="'-o'", param_type="option")
    found = api.sweep(
        plan,
        output,
        workers=workers,
        scheduler=scheduler,
        cluster=cluster,
        force=force,
        progress=out.stages,
    )
    out.result(found.to_dict())


def _list(out: Output, found: SweepPlan) -> None:
    if out.as_json:
        out.document(found.to_dict())
        return
    rows = found.rows()
    crossed = [name for name in rows[0] if len({str(row[name]) for row in rows}) > 1]
    print_rows(crossed or ["point"], rows)
    steps = ", ".join(f"{count} {kind}" for kind, count in found.steps.items())
    out.note(f"{len(rows)} points; steps: {steps}")
