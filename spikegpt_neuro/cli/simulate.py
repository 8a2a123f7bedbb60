"""``simulate``: run tokens on a backend, and compare every integer with the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from spikegpt_neuro.cli.common import (
    Output,
    backend_option,
    corpus_option,
    exactly_one,
    lava_python_option,
    open_backend,
    prompt_tokens,
    text_tokens,
    time_limit_option,
    unknown_option,
    verb,
)
from spikegpt_neuro.errors import CheckFailed

if TYPE_CHECKING:
    from spikegpt_neuro.running import Record
    from spikegpt_neuro.vocabulary import Unknown


@click.command(short_help="Run tokens on a backend, and verify every integer.")
@click.argument("artifact", metavar="DIR")
@backend_option
@click.option("--text", metavar="FILE", help="A UTF-8 text (- for standard input).")
@click.option("--prompt", metavar="TEXT", help="The text itself.")
@corpus_option
@click.option(
    "--tokens",
    "count",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    metavar="N",
    help="Run at most the first N tokens.",
)
@click.option("--verify", is_flag=True, help="Compare every event and logit with the reference.")
@click.option(
    "--granularity",
    type=click.Choice(["population", "block"]),
    help="Lava: stock processes by population, or one process per block [default: population].",
)
@time_limit_option
@lava_python_option
@unknown_option
@verb
def simulate(
    out: Output,
    artifact: str,
    backend: str,
    text: str | None,
    prompt: str | None,
    corpus: str | None,
    count: int,
    verify: bool,
    granularity: str | None,
    time_limit: float | None,
    lava_python: str | None,
    unknown: Unknown,
) -> None:
    """Run the artifact DIR on a backend; with --verify, exit code 1 if any integer differs."""
    from spikegpt_neuro import api
    from spikegpt_neuro.running import first_mismatch, get_backend

    exactly_one(**{"--text": text, "--prompt": prompt, "--corpus": corpus})
    graph = api.load(artifact)
    if prompt is not None:
        tokens = prompt_tokens(graph, artifact, unknown, prompt)
    else:
        tokens = text_tokens(graph, artifact, unknown, text)
    tokens = tokens[:count]
    runner = open_backend(
        backend, granularity=granularity, time_limit=time_limit, lava_python=lava_python
    )
    record: Record = "events" if verify else "logits"
    with out.progress(f"simulating on {backend}") as progress:
        run = runner.run(graph, tokens, record=record, progress=progress)
    mismatch: str | None = None
    if verify:
        # The reference itself is compared with its other mode, token by token.
        options = {"chunk": 1} if backend == "reference" else {}
        reference = get_backend("reference", **options)
        mismatch = first_mismatch(graph, run, reference.run(graph, tokens, record="events"))
    out.result(
        {
            "backend": backend,
            "granularity": getattr(runner, "granularity", None),
            "tokens": len(tokens),
            "seconds": run.seconds,
            "startup_seconds": run.startup_seconds,
            "matches_reference": mismatch is None if verify else None,
            "first_mismatch": mismatch,
        }
    )
    if mismatch is not None:
        raise CheckFailed(f"backend {backend} differs from the reference at {mismatch}")
