"""``export``: an artifact or a checkpoint in another tool's format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from spikegpt_neuro.cli.common import Output, lif_options, verb
from spikegpt_neuro.converters.exporters.names import format_names

if TYPE_CHECKING:
    from spikegpt_neuro.model.spikegpt import Compat


@click.command()
@click.argument("path", metavar="DIR_OR_CKPT")
@click.option("--to", type=click.Choice(format_names()), required=True, help="Which format.")
@click.option("-o", "--output", required=True, metavar="FILE", help="Where to write it.")
@click.option("--vocab", metavar="FILE", help="vocab.json or tokenizer.json of a checkpoint.")
@click.option(
    "--compat",
    type=click.Choice(["training", "upstream-run"]),
    default="training",
    show_default=True,
    help="Whose semantics a checkpoint has.",
)
@lif_options
@click.option("--force", is_flag=True, help="Replace an output that exists.")
@verb
def export(
    out: Output,
    path: str,
    to: str,
    output: str,
    vocab: str | None,
    compat: Compat,
    force: bool,
    **lif: float | None,
) -> None:
    """Write DIR_OR_CKPT in another tool's format.

    \b
    onnx        the integer graph of an artifact, one token per run, same integers
    onnx-float  a checkpoint, one token per run; convert reads it again
    nir         projections and LIF populations of either
    netx        Linear -> LIF pairs of an artifact for Lava-DL (FILE is a directory)

    What the format cannot carry is listed by name as "unexported".
    """
    from spikegpt_neuro import api

    done = api.export(path, to, output, vocab=vocab, compat=compat, force=force, **lif)
    if done.unexported:
        out.note(f"{len(done.unexported)} parts are not in {output}; {to} has nothing for them")
    out.result(done.to_dict())
