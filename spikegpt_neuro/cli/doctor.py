"""``doctor``: what this environment has, and how to install what it lacks."""

from __future__ import annotations

import json

import click

from spikegpt_neuro.cli.common import Output, verb
from spikegpt_neuro.cli.session import as_typed
from spikegpt_neuro.cli.streams import say


@click.command()
@verb
def doctor(out: Output) -> None:
    """Show versions, backends, hardware profiles, and what is missing."""
    from spikegpt_neuro import api

    here = api.doctor()
    if out.as_json:
        out.document(json.loads(as_typed(json.dumps(here.to_dict()))))
        return
    out.result(here.found)
    for lines in (here.missing, *here.rarely_there.values()):
        for name, line in lines.items():
            say(f"{name} is missing: {as_typed(line)}")
