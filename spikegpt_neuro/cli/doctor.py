"""``doctor``: what this environment has, and how to install what it lacks."""

from __future__ import annotations

import click

from spikegpt_neuro.cli.common import Output, verb


@click.command(short_help="Show what is installed and what is missing.")
@verb
def doctor(out: Output) -> None:
    """Show versions, backends, hardware profiles, and what is missing."""
    from spikegpt_neuro import api

    here = api.doctor()
    if out.as_json:
        out.result(here.to_dict())
        return
    out.result(here.found)
    for lines in (here.missing, *here.rarely_there.values()):
        for name, line in lines.items():
            click.echo(f"{name} is missing: {line}")
