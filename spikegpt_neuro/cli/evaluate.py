"""``evaluate``: bits per token of an artifact, beside its float checkpoint if one is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from spikegpt_neuro.cli.common import (
    Output,
    corpus_option,
    exactly_one,
    lif_options,
    piece_option,
    place_of_work,
    source_of,
    unknown_option,
    upload_option,
    verb,
)

if TYPE_CHECKING:
    from spikegpt_neuro.vocabulary import Unknown


@click.command()
@click.argument("artifact", metavar="DIR")
@click.argument("text", required=False)
@corpus_option
@click.option("--against", metavar="CKPT", help="The float checkpoint to compare with.")
@click.option("--limit", type=click.IntRange(min=2), metavar="N", help="Use the first N tokens.")
@click.option(
    "--window",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    metavar="W",
    help="Tokens per window; the state is reset at each.",
)
@lif_options
@unknown_option
@place_of_work
@piece_option
@upload_option
@verb
def evaluate(
    out: Output,
    artifact: str,
    text: str | None,
    corpus: str | None,
    against: str | None,
    limit: int | None,
    window: int,
    unknown: Unknown,
    workers: int | None,
    scheduler: str | None,
    cluster: str | None,
    piece: int,
    upload: bool,
    **lif: float | None,
) -> None:
    """Score the artifact DIR on TEXT, a UTF-8 file (- for standard input)."""
    from spikegpt_neuro import api

    exactly_one(**{"TEXT": text, "--corpus": corpus})
    with out.progress("evaluating") as progress:
        found = api.evaluate(
            artifact,
            source_of(text),
            against=against,
            window=window,
            limit=limit,
            **lif,
            unknown=unknown,
            workers=workers,
            scheduler=scheduler,
            cluster=cluster,
            piece=piece,
            upload=upload,
            progress=progress,
        )
    out.result(found.to_dict())
