"""``generate``: text from an artifact, token by token."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from spikegpt_neuro.cli.common import (
    Output,
    backend_option,
    lava_python_option,
    open_backend,
    prompt_tokens,
    time_limit_option,
    unknown_option,
    verb,
    vocabulary_of,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spikegpt_neuro.graph.graph import SpikingGraph
    from spikegpt_neuro.running import Session
    from spikegpt_neuro.sampling import Sampler
    from spikegpt_neuro.vocabulary import Unknown


@click.command(short_help="Continue a prompt.")
@click.argument("artifact", metavar="DIR")
@click.argument("prompt")
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
    help="The nucleus behind a newline (character and byte models).",
)
@click.option("--seed", type=click.IntRange(min=0), help="Makes the text repeatable.")
@backend_option
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="Reference: threads that share the larger products [default: 1].",
)
@lava_python_option
@time_limit_option
@unknown_option
@verb
def generate(
    out: Output,
    artifact: str,
    prompt: str,
    count: int,
    temperature: float,
    top_p: float,
    top_p_newline: float,
    seed: int | None,
    backend: str,
    threads: int | None,
    lava_python: str | None,
    time_limit: float | None,
    unknown: Unknown,
) -> None:
    """Continue PROMPT with the artifact DIR; the new text streams to standard output."""
    from spikegpt_neuro import api
    from spikegpt_neuro.sampling import Sampler, options_for
    from spikegpt_neuro.vocabulary import TextStream

    graph = api.load(artifact)
    vocabulary = vocabulary_of(graph, artifact)
    options = options_for(
        vocabulary, temperature=temperature, top_p=top_p, top_p_newline=top_p_newline
    )
    prompt_ids = prompt_tokens(graph, artifact, unknown, prompt)
    runner = open_backend(backend, threads=threads, lava_python=lava_python, time_limit=time_limit)
    stream, pieces = TextStream(vocabulary), []

    def emit(piece: str) -> None:
        pieces.append(piece)
        if not out.as_json:
            click.echo(piece, nl=False)

    with runner.session(graph) as session:
        logits = _read_prompt(session, prompt_ids)
        begin = time.perf_counter()
        sampler = Sampler(options, seed)
        for token in _tokens(graph, session, sampler, logits, int(prompt_ids[-1]), count):
            emit(stream.push(token))
        emit(stream.flush())
        seconds = time.perf_counter() - begin
    _report(out, "".join(pieces), count, seconds)


def _report(out: Output, text: str, count: int, seconds: float) -> None:
    if out.as_json:
        out.result({"text": text, "tokens": count, "tokens_per_second": count / seconds})
        return
    click.echo()
    out.note(f"{count} tokens in {seconds:.2f} s, {count / seconds:.0f} tokens/s")


def _read_prompt(session: Session, prompt: NDArray[np.int64]) -> NDArray[np.int32]:
    for token in prompt[:-1]:
        session.step(int(token))
    return session.step(int(prompt[-1]))


def _tokens(
    graph: SpikingGraph,
    session: Session,
    sampler: Sampler,
    logits: NDArray[np.int32],
    previous: int,
    count: int,
) -> Iterator[int]:
    """``count`` sampled tokens; the last one is not fed back."""
    for remaining in range(count, 0, -1):
        previous = sampler.draw(logits * graph.logit_scale, previous)
        yield previous
        if remaining > 1:
            logits = session.step(previous)
