"""``report``: everything about a model and its cost, as one HTML file."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from spikegpt_neuro.cli.common import (
    CORPORA,
    PROGRAM,
    TIMINGS,
    Output,
    backend_option,
    exactly_one,
    lava_python_option,
    open_backend,
    place_options,
    source_options,
    source_tokens,
    time_limit_option,
    unknown_option,
    verb,
)
from spikegpt_neuro.errors import UsageError

if TYPE_CHECKING:
    from spikegpt_neuro.backends.cycle.timing.names import Timing
    from spikegpt_neuro.mapping.requirements import Where
    from spikegpt_neuro.vocabulary import Unknown


@click.command(short_help="One HTML file: fidelity, spikes, operations, energy, comparisons.")
@click.argument("artifact", metavar="DIR")
@click.option("-o", "--output", required=True, metavar="FILE", help="The HTML file to write.")
@click.option("--hw", default="loihi2", show_default=True, metavar="PROFILE", help="As in profile.")
@backend_option
@source_options
@click.option(
    "--tokens",
    "count",
    type=click.IntRange(min=2),
    default=256,
    show_default=True,
    metavar="N",
    help="Run at most the first N tokens.",
)
@click.option("--against", metavar="CKPT", help="The float checkpoint to compare with.")
@click.option(
    "--timing",
    type=click.Choice(TIMINGS),
    default="bound",
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
@place_options
@click.option("--force", is_flag=True, help="Replace an existing file.")
@time_limit_option
@lava_python_option
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
    against: str | None,
    timing: Timing,
    context: int,
    embedding: Where,
    head: Where,
    seed: int,
    force: bool,
    time_limit: float | None,
    lava_python: str | None,
    unknown: Unknown,
) -> None:
    """Run the artifact DIR, price the run in both schedules, and write what there is to say.

    The page needs nothing beside it. Without --text and --prompt the built-in text runs. Exit
    code 1 if the model does not fit the hardware.
    """
    from spikegpt_neuro import api
    from spikegpt_neuro.cli.reporting import Hardware, Origin, gather
    from spikegpt_neuro.files import check_output_file, write_atomically
    from spikegpt_neuro.hardware.profile import load_profile
    from spikegpt_neuro.report.page import check_installed, render

    if text is None and prompt is None:
        corpus = corpus or CORPORA[0]
    exactly_one(**{"--text": text, "--prompt": prompt, "--corpus": corpus})
    if backend == "loihi":
        raise UsageError(
            "report prices a run that it times itself; profile --backend loihi measures"
        )
    check_installed()
    check_output_file(Path(output), force)
    profile, graph = load_profile(hw), api.load(artifact)
    tokens = source_tokens(graph, artifact, unknown, text, prompt)[:count]
    given = {"time_limit": time_limit, "lava_python": lava_python}
    # The reference's integers need no backend of their own, and the simulator runs them too.
    runner = None if backend in ("reference", "cycle") else open_backend(backend, **given)
    source = text or ("a prompt" if prompt is not None else f"built-in text {corpus}")
    material = gather(
        out,
        graph,
        tokens,
        (backend, runner),
        Hardware(profile, embedding, head, seed, timing),
        against,
        Origin(
            title=Path(artifact).resolve().name,
            text=f"{source}, {len(tokens):,} tokens",
            command=_command(),
            context=context,
        ),
    )
    write_atomically(Path(output), render(material))
    out.result({"path": output})


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
