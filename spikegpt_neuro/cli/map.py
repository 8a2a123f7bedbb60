"""``map``: how many cores and chips a model fills, and where each neuron stands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from spikegpt_neuro.cli.common import (
    Output,
    place_options,
    schedule_choice,
    source_of,
    unknown_option,
    verb,
)
from spikegpt_neuro.cli.session import as_typed
from spikegpt_neuro.cli.streams import say
from spikegpt_neuro.errors import DoesNotFit
from spikegpt_neuro.mapping.objectives import OBJECTIVES, STEPS
from spikegpt_neuro.units import scaled

if TYPE_CHECKING:
    from spikegpt_neuro.api import Placed
    from spikegpt_neuro.mapping.objectives import Objective, Steps
    from spikegpt_neuro.mapping.requirements import Where
    from spikegpt_neuro.schedules import Schedule
    from spikegpt_neuro.vocabulary import Unknown


@click.command(name="map")
@click.argument("artifact", metavar="DIR")
@click.option("--hw", required=True, metavar="PROFILE", help="A profile's name or .toml file.")
@click.option("-o", "--output", metavar="FILE", help="Save the placement (JSON).")
@click.option("--svg", metavar="FILE", help="Save a picture of core fill and traffic.")
@click.option(
    "--optimize",
    type=click.Choice(OBJECTIVES),
    help="Fewest cores, energy of the schedule, time of a token that falls through, or tokens per "
    "second in the pipeline [default: energy, or cores where the profile cannot price a token].",
)
@click.option(
    "--schedule",
    type=schedule_choice,
    default="pipelined",
    show_default=True,
    help="Whose energy counts: of reading (pipelined) or of writing (fall-through).",
)
@click.option("--chips", type=click.IntRange(min=1), help="The most chips that may be used.")
@click.option(
    "--steps",
    type=click.Choice(STEPS),
    help="Whether populations that need no exchange answer in one time step [default: separate "
    "for cores, else shared].",
)
@click.option(
    "--confirm/--no-confirm",
    default=True,
    show_default=True,
    help="Simulate the schedule that counts beside the prediction.",
)
@place_options
@click.option(
    "--activity",
    metavar="TEXT",
    help="A UTF-8 text (- for standard input) whose activity weighs the traffic "
    "[default: the running Python's documentation].",
)
@unknown_option
@verb
def map(  # noqa: A001
    out: Output,
    artifact: str,
    hw: str,
    output: str | None,
    svg: str | None,
    optimize: Objective | None,
    schedule: Schedule,
    chips: int | None,
    steps: Steps | None,
    confirm: bool,
    embedding: Where,
    head: Where,
    seed: int,
    activity: str | None,
    unknown: Unknown,
) -> None:
    """Place the artifact DIR; exit code 1 if it does not fit or cannot run there."""
    from spikegpt_neuro import api
    from spikegpt_neuro.files import check_output_file

    for file in filter(None, (output, svg)):
        check_output_file(Path(file), force=True)
    graph = api.load(artifact)
    try:
        with out.progress("measuring activity") as progress:
            found = api.place(
                graph,
                hw,
                activity=source_of(activity),
                optimize=optimize,
                schedule=schedule,
                chips=chips,
                steps=steps,
                confirmed=confirm,
                embedding=embedding,
                head=head,
                seed=seed,
                artifact=artifact,
                unknown=unknown,
                progress=progress,
            )
    except DoesNotFit as error:
        _show_refused(out, error)
        raise
    if output is not None:
        found.save(output)
    if svg is not None:
        found.draw(svg, f"{Path(artifact).resolve().name} on {found.hardware}")
    out.result(found.to_dict() | {"placement": output, "svg": svg})
    if not out.as_json:
        _table(found)


def _show_refused(out: Output, error: DoesNotFit) -> None:
    violations = [as_typed(str(violation)) for violation in error.violations]
    if out.as_json:
        out.result(error.figures | {"violations": violations})
        return
    out.result(error.figures | {"violations": len(violations)})
    for violation in violations:
        say(f"  {violation}")


def _table(found: Placed) -> None:
    """One row per chip."""
    from spikegpt_neuro.cli import tables

    heads = ("chip", "cores", "neurons", "synaptic memory", "full", "holds")
    table = tables.table(*heads, left=("holds",))
    for row in found.by_chip():
        table.add_row(
            str(row["chip"]),
            f"{row['cores']} of {row['usable_cores']}",
            f"{row['neurons']:,}",
            scaled(row["synaptic_memory_used"], "B"),
            f"{row['utilization']:.1%}",
            row["holds"],
        )
    tables.show(table, wrapped=("holds",))
