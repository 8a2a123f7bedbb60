"""``info``: what an artifact or a checkpoint holds."""

from __future__ import annotations

from typing import Any

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

    found = api.describe(path, vocab=vocab, **lif).to_dict()
    out.result(found if out.as_json else _lines(found))


def _lines(found: dict[str, Any]) -> dict[str, Any]:
    """The figures with a line for the thresholds of each population, or of a checkpoint's."""
    thresholds = found.pop("thresholds", None) or {}
    if zones := found.get("dead_zones"):
        found["dead_zones"] = (
            f"{zones['neurons']:,} neurons of {zones['populations']} populations; thresholds "
            f"{zones['median']:.3g} (median), {zones['largest']:.3g} (largest)"
        )
    return found | {
        f"threshold of {name}": (
            f"{each['median']:g} of {each['payload']} (median), {each['largest']} (largest); "
            f"{each['silent']:.1%} of its neurons never send"
        )
        for name, each in thresholds.items()
    }
