"""``info``: what an artifact or a checkpoint holds."""

from __future__ import annotations

import click

from spikegpt_neuro.cli.common import Output, lif_options, verb


@click.command()
@click.argument("path", metavar="DIR_OR_CKPT")
@click.option("--vocab", metavar="FILE", help="vocab.json or tokenizer.json of a checkpoint.")
@lif_options
@verb
def info(out: Output, path: str, vocab: str | None, **lif: float | None) -> None:
    """Show what DIR_OR_CKPT is; an artifact's checksums are verified."""
    from spikegpt_neuro import api

    out.result(api.describe(path, vocab=vocab, **lif).to_dict())
