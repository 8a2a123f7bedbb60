"""``finetune``: a checkpoint goes on learning, for the sparse graph that it is to become."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from spikegpt_neuro.cli.common import (
    CORPORA,
    Output,
    bits_options,
    exactly_one,
    lif_options,
    unknown_option,
    verb,
)
from spikegpt_neuro.cli.progress import EVERY_SECONDS, duration
from spikegpt_neuro.cli.streams import say
from spikegpt_neuro.training.recipe import Recipe

if TYPE_CHECKING:
    from spikegpt_neuro.api import Underway


def _number(flag: str, default: float, text: str | None = None) -> Callable[[Any], Any]:
    kind = type(default)
    return click.option(flag, type=kind, default=default, show_default=True, metavar="N", help=text)


@click.command()
@click.argument("checkpoint", metavar="CKPT")
@click.option("--text", metavar="FILE", help="UTF-8 text to learn from, like the model's training.")
@click.option(
    "--corpus",
    type=click.Choice(CORPORA),
    help="A built-in text: the running Python's own documentation.",
)
@click.option("-o", "--output", required=True, metavar="DIR", help="Checkpoint to write.")
@click.option(
    "--synops",
    type=float,
    metavar="S",
    help="Synaptic operations over dense to end with, above 0 and at most 1 [default: no "
    "thresholds are learned].",
)
@click.option(
    "--prune",
    type=float,
    default=Recipe.prune,
    metavar="P",
    help="Share of the weights that go [default: none].",
)
@bits_options
@click.option(
    "--distill",
    type=float,
    default=Recipe.distill,
    show_default=True,
    metavar="W",
    help="Weight of the divergence from the unchanged model in the loss, 0 to 1.",
)
@_number("--steps", Recipe.steps)
@_number("--batch", Recipe.batch, "Windows per step.")
@_number("--window", Recipe.window, "Tokens per window.")
@_number("--learning-rate", Recipe.learning_rate, "Of Adam, at its highest.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--threads", type=int, metavar="N", help="[default: the cores, at most the batch]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option(
    "--save-every", type=int, default=250, show_default=True, metavar="N", help="Steps between."
)
@click.option("--vocab", metavar="FILE", help="vocab.json or tokenizer.json of the model.")
@lif_options
@unknown_option
@click.option("--resume", is_flag=True, help="Go on where DIR ends.")
@click.option("--force", is_flag=True, help="Begin anew where DIR is a fine-tuning.")
@verb
def finetune(
    out: Output, checkpoint: str, text: str | None, corpus: str | None, output: str, **options: Any
) -> None:
    """Train CKPT on, for the sparse integer graph that it is to become (needs torch).

    Thresholds per neuron are learned with the weights, numbers are rounded as convert will
    round them, and a controller steers to --synops. The first nine tenths of the text teach,
    the last tenth is scored. DIR is a checkpoint that convert reads; it also keeps the log and
    what --resume needs.
    """
    from spikegpt_neuro import api

    exactly_one(**{"--text": text, "--corpus": corpus})
    with _shown(out) as progress:
        found = api.finetune(checkpoint, text, output, progress=progress, **options)
    out.result(found.to_dict())


@contextmanager
def _shown(out: Output) -> Iterator[Callable[[Underway], None] | None]:
    """Every step on a bar; off a terminal a line now and then."""
    if out.quiet:
        yield None
        return
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("steps", total=None)
        yield lambda now: bar.update(
            task, completed=now.step, total=now.steps, description=described(now)
        )


class Lines:
    """Called with every step; writes a line at most every :data:`EVERY_SECONDS`."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, now: Underway) -> None:
        moment = time.monotonic()
        if moment - self._last >= EVERY_SECONDS and now.step < now.steps:
            self._last = moment
            say(f"step {now.step:,} of {now.steps:,}: {described(now)}", err=True)


def described(now: Underway) -> str:
    """Loss, density, speed and time left."""
    weights = f" x {now.weight_density:.3f} weights" if now.weight_density < 1 else ""
    return (
        f"{now.bits_per_token:.3f} bits, {now.synops_over_dense:.3f} of dense{weights}, "
        f"{now.tokens_per_second:,.0f} tokens/s, about {duration(now.seconds_left)} left"
    )
