"""``doctor``: what this environment has, and how to install what it lacks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from spikegpt_neuro.cli.common import Output, in_words, verb
from spikegpt_neuro.cli.session import as_typed
from spikegpt_neuro.cli.streams import say

if TYPE_CHECKING:
    from spikegpt_neuro.api.doctoring import Extra


@click.command()
@click.option(
    "--compile",
    "compiles",
    is_flag=True,
    help="Compile now what the first run of each verb would, instead of the report.",
)
@verb
def doctor(out: Output, compiles: bool) -> None:
    """Show versions, backends, hardware profiles, what is missing, and every extra."""
    from spikegpt_neuro import api

    if compiles:
        done = api.warm_up(lambda part: out.note(f"compiling: {part}"))
        out.result(
            done.to_dict()["seconds"] if out.as_json else {"seconds": sum(done.seconds.values())}
        )
        return
    here = api.doctor()
    if out.as_json:
        out.document(json.loads(as_typed(json.dumps(here.to_dict()))))
        return
    out.result({_as_installed(name): value for name, value in here.found.items()})
    for lines in (here.missing, *here.rarely_there.values()):
        for name, line in lines.items():
            say(f"{in_words(_as_installed(name))} is missing: {as_typed(line)}")
    _show_extras(here.extras)


def _as_installed(name: str) -> str:
    """A package's name as pip has it; other figures keep theirs."""
    return name.replace("_", "-") if name in ("spikegpt_neuro", "huggingface_hub") else name


def _show_extras(extras: Mapping[str, Extra]) -> None:
    """A line for each: whether it is there, what it is for, and how to install it."""
    from spikegpt_neuro.cli import tables

    heads = ("extra", "for", "there", "install")
    table = tables.table(*heads, left=heads, title="extras")
    for name, extra in extras.items():
        there = f"lacks {', '.join(extra.lacking)}" if extra.lacking else "yes"
        table.add_row(name, extra.purpose or "-", there, extra.install)
    if extras:
        tables.show(table, wrapped=("for", "there"))
