"""``generate``: text from an artifact, token by token; with -i a talk."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from spikegpt_neuro.cli.common import Output, backend_options, unknown_option, verb
from spikegpt_neuro.cli.streams import say
from spikegpt_neuro.errors import UsageError

if TYPE_CHECKING:
    from spikegpt_neuro.graph.graph import SpikingGraph
    from spikegpt_neuro.running import Progress
    from spikegpt_neuro.vocabulary import Unknown


@click.command()
@click.argument("artifact", metavar="DIR")
@click.argument("prompt", required=False)
@click.option(
    "-i",
    "--interactive",
    is_flag=True,
    help="Talk: answer PROMPT, if it is there, then every line of standard input.",
)
@click.option(
    "-n",
    "--tokens",
    "count",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    metavar="N",
    help="Tokens to generate.",
)
@click.option(
    "--temperature",
    type=float,
    default=1.0,
    show_default=True,
    help="0 always takes the likeliest token; upstream's script uses 1.5.",
)
@click.option("--top-p", type=float, default=0.7, show_default=True, help="Nucleus to draw from.")
@click.option(
    "--top-p-newline",
    type=float,
    default=0.9,
    show_default=True,
    help="The nucleus after a newline (character and byte models).",
)
@click.option("--seed", type=click.IntRange(min=0), help="Makes the text repeatable.")
@click.option(
    "--quick",
    is_flag=True,
    help="DIR is a checkpoint, converted into a cache of yours if it is not there yet.",
)
@click.option(
    "--vocab", metavar="FILE", help="With --quick: vocab.json or tokenizer.json of the model."
)
@backend_options("generate")
@unknown_option
@verb
def generate(
    out: Output,
    artifact: str,
    prompt: str | None,
    interactive: bool,
    count: int,
    temperature: float,
    top_p: float,
    top_p_newline: float,
    seed: int | None,
    quick: bool,
    vocab: str | None,
    backend: str,
    options: dict[str, Any],
    unknown: Unknown,
) -> None:
    """Continue PROMPT with the artifact DIR; the new text streams to standard output.

    With --quick DIR is a checkpoint as of convert; its artifact is kept in the folder
    spikegpt-neuro of XDG_CACHE_HOME, else of ~/.cache.

    PROMPT is the text itself, or - for standard input. A character model gets it as upstream's
    script gives it: a newline in front, no spaces around lines, no empty lines.

    With -i what was said stays in the model's state from turn to turn. At a terminal lines are
    edited and recalled with the arrow keys; Ctrl-C ends an answer, Ctrl-D the talk; /reset forgets
    what was said.
    """
    from pathlib import Path

    from spikegpt_neuro import api

    _check_talk(out, prompt, interactive)
    graph = _opened(out, artifact, quick, vocab)
    sampling = {"temperature": temperature, "top_p": top_p, "top_p_newline": top_p_newline}
    with api.Chat(graph, **sampling, seed=seed, backend=backend, **options) as chat:
        if interactive or prompt is None:
            from spikegpt_neuro.cli.talking import Talk

            Talk(out, chat, count, unknown).hold(prompt)
            return
        with _unseen(out) as progress:
            found = chat.say(
                Path(prompt) if prompt == "-" else prompt,
                count,
                unknown=unknown,
                on_text=None if out.as_json else lambda piece: say(piece, end=""),
                progress=progress,
            )
    if out.as_json:
        out.result(found.to_dict())
        return
    say()
    rate = f"{found.tokens_per_second:.0f} tokens/s"
    out.note(f"{count} tokens in {found.seconds:.2f} s, {rate}")


def _check_talk(out: Output, prompt: str | None, interactive: bool) -> None:
    """Raise if a prompt is missing, or given in a way that a talk cannot take."""
    if prompt is None and not interactive:
        raise UsageError("PROMPT is missing; give a text, - for standard input, or -i to talk")
    if interactive and prompt == "-":
        raise UsageError("with -i every line of standard input is a turn; leave out -")
    if interactive and out.as_json:
        raise UsageError("a talk is no single JSON object; leave out --json, or -i")


def _opened(out: Output, path: str, quick: bool, vocab: str | None) -> SpikingGraph:
    """The graph of an artifact, or with --quick of a checkpoint."""
    from spikegpt_neuro import api
    from spikegpt_neuro.api.models import check_converted

    if not quick:
        if vocab is not None:
            raise UsageError("--vocab is of a checkpoint; give --quick, too")
        check_converted(path, "--quick converts it into a cache, or ")
        return api.load(path)
    with out.progress("converting", unit="steps") as progress:
        return api.convert_cached(path, vocab=vocab, progress=progress)


def _unseen(out: Output) -> AbstractContextManager[Progress | None]:
    """Progress of a text that does not stream."""
    return out.progress("generating") if out.as_json else nullcontext()
