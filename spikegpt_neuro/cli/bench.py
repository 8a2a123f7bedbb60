"""``bench``: speed, memory and start-up, each beside another side measured here and now."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from spikegpt_neuro.api.choices import DEFAULT_SHAPE
from spikegpt_neuro.cli.common import Output, ShownStages, lif_options, verb
from spikegpt_neuro.cli.session import as_typed
from spikegpt_neuro.cli.streams import say

if TYPE_CHECKING:
    from spikegpt_neuro.running import Progress


@click.command()
@click.argument("artifact", metavar="[DIR]", required=False)
@click.option(
    "--shape",
    metavar="LxDxV",
    help=f"A random model of L layers, width D, V token ids, instead of DIR [{DEFAULT_SHAPE}].",
)
@click.option(
    "--weight-bits",
    type=click.Choice(["8", "6", "4"]),
    help="Of the random model (DIR has its own). [default: 8]",
)
@click.option(
    "--against",
    metavar="CKPT",
    help="The checkpoint of DIR, for the torch side; else it has random weights of that shape.",
)
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="On both sides."
)
@click.option(
    "--tokens",
    type=click.IntRange(min=2),
    default=256,
    show_default=True,
    metavar="N",
    help="Length of the text: sequence mode takes it whole, generation runs round in it.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Rounds in which the sides take turns; the best of each side counts.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=0.3,
    show_default=True,
    help="Each side's share of a round.",
)
@lif_options
@verb
def bench(
    out: Output,
    artifact: str | None,
    shape: str | None,
    weight_bits: str | None,
    against: str | None,
    threads: int,
    tokens: int,
    rounds: int,
    seconds: float,
    **lif: float | None,
) -> None:
    """Measure the artifact DIR, or a random model, beside a float32 torch step of the same model.

    Both sides run in this process, on as many threads, and take turns. The rate of reading
    weights stands beside the rate at which this machine reads memory; start-up and peak
    memory are measured in processes of their own. Without torch its side is left empty.
    """
    _keep_to(threads)
    from spikegpt_neuro import api

    if artifact is None:
        out.note(f"converting a random model of shape {shape or DEFAULT_SHAPE}")
    found = api.bench(
        artifact,
        shape=shape,
        weight_bits=None if weight_bits is None else int(weight_bits),
        against=against,
        threads=threads,
        tokens=tokens,
        rounds=rounds,
        seconds=seconds,
        **lif,
        progress=_Announced(out),
    )
    if out.as_json:
        out.result(found.to_dict())
        return
    say(found.table() + "\n")
    out.result(found.facts)
    for remark in found.remarks:
        out.note(as_typed(remark))


def _keep_to(threads: int) -> None:
    """Keep the libraries to ``threads`` threads, which they read when they are first loaded."""
    from spikegpt_neuro.benchmark.machine import thread_environment

    if "numpy" not in sys.modules:
        os.environ.update(thread_environment(threads))


class _Announced(ShownStages):
    """Says what is measured next, in a pipe too."""

    @contextmanager
    def stage(self, label: str, unit: str = "slices") -> Iterator[Progress | None]:
        self.out.note(f"measuring {label}")
        with self.out.progress(label, unit) as progress:
            yield progress
