"""``report``: everything about a model and its cost, as one HTML file."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from spikegpt_neuro.api.choices import DEFAULT_PROFILE, DEFAULT_TIMING
from spikegpt_neuro.cli.common import (
    CORPORA,
    Output,
    backend_options,
    exactly_one,
    lif_options,
    place_options,
    source_of,
    source_options,
    timing_choice,
    unknown_option,
    verb,
)
from spikegpt_neuro.cli.session import PROGRAM
from spikegpt_neuro.errors import CheckFailed

if TYPE_CHECKING:
    from spikegpt_neuro.api.choices import Timing
    from spikegpt_neuro.mapping.requirements import Where
    from spikegpt_neuro.vocabulary import Unknown


@click.command()
@click.argument("artifact", metavar="DIR")
@click.option("-o", "--output", required=True, metavar="FILE", help="The HTML file to write.")
@click.option(
    "--hw", default=DEFAULT_PROFILE, show_default=True, metavar="PROFILE", help="As in profile."
)
@backend_options("report")
@source_options
@click.option(
    "--tokens",
    "count",
    type=click.IntRange(min=2),
    default=256,
    show_default=True,
    metavar="N",
    help="Run and price at most the first N tokens.",
)
@click.option(
    "--positions",
    type=click.IntRange(min=1),
    default=8192,
    show_default=True,
    metavar="N",
    help="Score at most the first N positions, the float checkpoint's too (sequence mode).",
)
@click.option("--against", metavar="CKPT", help="The float checkpoint to compare with.")
@click.option(
    "--timing",
    type=timing_choice,
    default=DEFAULT_TIMING,
    show_default=True,
    help="As in profile.",
)
@click.option(
    "--context",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    metavar="T",
    help="Tokens that the transformer beside the model looks back on.",
)
@lif_options
@click.option(
    "--verify",
    metavar="BACKEND",
    help="Run the tokens on this backend, too, and compare every integer.",
)
@click.option("--tradeoff", metavar="DIR", help="Show the curve that tradeoff wrote to DIR.")
@click.option("--sweep", metavar="DIR", help="Show the table that sweep wrote to DIR.")
@place_options
@click.option("--force", is_flag=True, help="Replace an existing file.")
@unknown_option
@verb
def report(
    out: Output,
    artifact: str,
    output: str,
    hw: str,
    backend: str,
    text: str | None,
    prompt: str | None,
    corpus: str | None,
    count: int,
    positions: int,
    against: str | None,
    timing: Timing,
    context: int,
    verify: str | None,
    tradeoff: str | None,
    sweep: str | None,
    embedding: Where,
    head: Where,
    seed: int,
    force: bool,
    unknown: Unknown,
    options: dict[str, Any],
    **lif: float | None,
) -> None:
    """Run the artifact DIR, price the run in both schedules, and write what there is to say.

    The page needs nothing beside it. Without --text and --prompt the built-in text runs. Exit
    code 1 if the model does not fit the hardware, or if --verify found other integers.
    """
    from spikegpt_neuro import api

    if text is None and prompt is None:
        corpus = corpus or CORPORA[0]
    exactly_one(**{"--text": text, "--prompt": prompt, "--corpus": corpus})
    found = api.report(
        api.load(artifact),
        output,
        source_of(text, prompt),
        hw=hw,
        backend=backend,
        tokens=count,
        positions=positions,
        against=against,
        timing=timing,
        embedding=embedding,
        head=head,
        seed=seed,
        context=context,
        title=Path(artifact).resolve().name,
        command=_command(),
        tradeoff=tradeoff,
        sweep=sweep,
        verify=verify,
        unknown=unknown,
        force=force,
        **lif,
        progress=out.stages,
        **options,
    )
    out.result(found.to_dict())
    if found.first_mismatch is not None:
        raise CheckFailed(f"backend {verify} differs from the reference at {found.first_mismatch}")


def _command() -> str:
    """What was typed, as one can type it again."""
    context = click.get_current_context()
    words = [PROGRAM, "report"]
    for parameter in context.command.params:
        name = parameter.name or ""
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            value = context.params[name]
            if isinstance(parameter, click.Option):
                words.append(parameter.opts[-1])
            if value is not True:
                words.append(str(value))
    return shlex.join(words)
