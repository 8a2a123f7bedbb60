"""``tradeoff``: the curve of bits lost against synaptic operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from spikegpt_neuro.cli.common import (
    CORPORA,
    Output,
    exactly_one,
    lif_options,
    unknown_option,
    verb,
)
from spikegpt_neuro.cli.streams import say

if TYPE_CHECKING:
    from spikegpt_neuro.api import Tradeoff
    from spikegpt_neuro.vocabulary import Unknown


class Several(click.ParamType):  # type: ignore[type-arg]
    """Numbers separated by commas."""

    name = "list"

    def __init__(self, number: type[int] | type[float]) -> None:
        self.number = number

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """``"0,0.5"`` becomes ``(0.0, 0.5)``."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self.number(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of numbers; write them as in 0,0.5", param, ctx)


@click.command()
@click.argument("checkpoint", metavar="CKPT")
@click.option("--text", metavar="FILE", help="UTF-8 text like the model's training.")
@click.option(
    "--corpus",
    type=click.Choice(CORPORA),
    help="A built-in text: the running Python's own documentation.",
)
@click.option("-o", "--output", required=True, metavar="DIR", help="Where points are kept.")
@click.option("--vocab", metavar="FILE", help="vocab.json or tokenizer.json of the model.")
@click.option(
    "--sparsity",
    type=Several(float),
    default="0,0.4,0.5,0.6,0.7,0.8",
    show_default=True,
    metavar="S,S...",
    help="Shares of the dense synaptic operations that shall not happen.",
)
@click.option(
    "--prune",
    type=Several(float),
    default="0,0.5",
    show_default=True,
    metavar="P,P...",
    help="Shares of the weights that go.",
)
@click.option(
    "--weight-bits", type=Several(int), default="8,4", show_default=True, metavar="B,B..."
)
@click.option("--activation-bits", type=click.Choice(["4", "6", "8"]), default="8")
@click.option("--hw", metavar="PROFILE", help="Joules and tokens/s on this hardware, too.")
@click.option(
    "--limit",
    type=click.IntRange(min=2),
    default=8192,
    show_default=True,
    metavar="N",
    help="Score at most N tokens of the last tenth of the text.",
)
@lif_options
@unknown_option
@click.option("--force", is_flag=True, help="Begin anew where DIR holds another curve.")
@verb
def tradeoff(
    out: Output,
    checkpoint: str,
    text: str | None,
    corpus: str | None,
    output: str,
    vocab: str | None,
    sparsity: tuple[float, ...],
    prune: tuple[float, ...],
    weight_bits: tuple[int, ...],
    activation_bits: str,
    hw: str | None,
    limit: int,
    unknown: Unknown,
    force: bool,
    **lif: float | None,
) -> None:
    """Convert CKPT at every combination of settings, and measure what each one loses.

    Nine tenths of the text calibrate, the last tenth is scored. DIR keeps every point when it is
    done: the same command goes on after an interruption. In the end it holds the table, the
    picture and the artifacts on the front.
    """
    from spikegpt_neuro import api

    exactly_one(**{"--text": text, "--corpus": corpus})
    found = api.tradeoff(
        checkpoint,
        text,
        output,
        vocab=vocab,
        sparsity=sparsity,
        prune=prune,
        weight_bits=weight_bits,
        activation_bits=int(activation_bits),
        hw=hw,
        limit=limit,
        **lif,
        unknown=unknown,
        force=force,
        progress=out.stages,
    )
    if out.as_json:
        out.result({"path": output, **found.to_dict()})
    else:
        _show(found, output)


def _show(found: Tradeoff, output: str) -> None:
    """A line per point, then where everything lies."""
    from spikegpt_neuro.cli import tables

    priced = found.hardware is not None
    heads = ["sparsity", "prune", "bits", "over dense", "weights", "bits lost", "tokens/s", "x"]
    table = tables.table(*heads, *(["J/token", "hw tokens/s"] if priced else []), "front")
    for p in found.points:
        cells = [
            f"{p.sparsity:g}",
            f"{p.prune:g}",
            str(p.weight_bits),
            f"{p.synops_over_dense:.4f}",
            f"{p.weight_density:.3f}",
            f"{p.delta_bits_per_token:+.4f}",
            f"{p.generation_tokens_per_second:,.0f}",
            f"{p.generation_speedup:.2f}",
        ]
        if priced:
            cells += [f"{p.joules_per_token:.3g}", f"{p.hardware_tokens_per_second:,.0f}"]
        table.add_row(*cells, "yes" if p.on_front else "")
    tables.show(table)
    say(f"{output}: tradeoff.json, tradeoff.md, tradeoff.svg; artifacts of the front")
