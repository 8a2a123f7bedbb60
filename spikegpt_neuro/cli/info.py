"""``info``: what an artifact or a checkpoint holds."""

from __future__ import annotations

import click

from spikegpt_neuro.cli.common import Output, verb


@click.command()
@click.argument("path", metavar="DIR_OR_CKPT")
@click.option("--vocab", metavar="FILE", help="vocab.json or tokenizer.json of a checkpoint.")
@verb
def info(out: Output, path: str, vocab: str | None) -> None:
    """Show what DIR_OR_CKPT is; an artifact's checksums are verified."""
    from spikegpt_neuro import api

    out.result(api.describe(path, vocab=vocab).to_dict())
