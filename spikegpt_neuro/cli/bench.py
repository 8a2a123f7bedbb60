"""``bench``: speed, memory and start-up, each beside another side measured here and now."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spikegpt_neuro.cli.common import Output, verb
from spikegpt_neuro.errors import UsageError

if TYPE_CHECKING:
    from spikegpt_neuro.benchmark.suite import Subject
    from spikegpt_neuro.running import Progress

DEFAULT_SHAPE = "12x512x256"
CALIBRATION_TOKENS = 2048


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
) -> None:
    """Measure the artifact DIR, or a random model, beside a float32 torch step of the same model.

    Both sides run in this process, on as many threads, and take turns. The rate of reading
    weights stands beside the rate at which this machine reads memory; start-up and peak
    memory are measured in processes of their own. Without torch its side is left empty.
    """
    if artifact is not None and (shape or weight_bits):
        raise UsageError("--shape and --weight-bits make a random model; leave out DIR")
    if artifact is None and against is not None:
        raise UsageError("--against needs DIR, the artifact of that checkpoint")
    _keep_to(threads)
    from spikegpt_neuro.benchmark.figures import table
    from spikegpt_neuro.benchmark.speed import Plan
    from spikegpt_neuro.benchmark.suite import measure

    with tempfile.TemporaryDirectory() as folder:
        if artifact is not None:
            subject = _converted(artifact, against, tokens)
        else:
            out.note(f"converting a random model of shape {shape or DEFAULT_SHAPE}")
            bits = int(weight_bits or 8)
            subject = _random(shape or DEFAULT_SHAPE, bits, tokens, Path(folder) / "model.sgn")
        report = measure(subject, Plan(threads, rounds, seconds), partial(_stage, out))
    if out.as_json:
        out.result(report.to_json())
        return
    click.echo(table(report.figures) + "\n")
    out.result(report.facts)
    for remark in report.remarks:
        out.note(remark)


def _keep_to(threads: int) -> None:
    """Keep the libraries to ``threads`` threads, which they read when they are first loaded."""
    from spikegpt_neuro.benchmark.machine import thread_environment

    if "numpy" not in sys.modules:
        os.environ.update(thread_environment(threads))


def _random(shape: str, bits: int, count: int, path: Path) -> Subject:
    from spikegpt_neuro.benchmark.suite import Subject
    from spikegpt_neuro.converters.lowering import lower
    from spikegpt_neuro.model.synthetic import random_model, random_tokens

    sizes = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)x([1-9]\d*)", shape)
    if sizes is None:
        raise UsageError(f"--shape {shape}: expected layers x width x vocabulary, as in 12x512x256")
    model = random_model(*map(int, sizes.groups()))
    graph = lower(model, random_tokens(model, CALIBRATION_TOKENS), weight_bits=bits)
    graph.save(str(path))
    return Subject(graph, str(path), model, random_tokens(model, count, seed=2), ())


def _converted(artifact: str, against: str | None, count: int) -> Subject:
    from spikegpt_neuro import api
    from spikegpt_neuro.benchmark.suite import Subject
    from spikegpt_neuro.evaluation.corpus import held_out, python_documentation
    from spikegpt_neuro.model.synthetic import random_model, random_tokens

    graph, remarks = api.load(artifact), []
    size = (graph.shape.layers, graph.shape.width, graph.shape.vocab_size)
    if against is None:
        model = random_model(*size, ffn_pre=graph.shape.ffn_pre)
        remarks.append("the torch side has random weights; --against CKPT gives it the model's")
    else:
        model = api.read_model(against)
        if model.shape.tensor_shapes() != graph.shape.tensor_shapes():
            raise UsageError(f"--against {against}: its shape is not that of {artifact}")
    model = replace(model, shape=graph.shape)
    if graph.vocabulary is None:
        remarks.append("no vocabulary: the text is random tokens")
        tokens = random_tokens(model, count, seed=2)
    else:
        text = held_out(python_documentation())
        tokens = graph.vocabulary.encode(text, unknown="replace")[:count]
    return Subject(graph, artifact, model, tokens, tuple(remarks))


@contextmanager
def _stage(out: Output, label: str) -> Iterator[Progress | None]:
    out.note(f"measuring {label}")
    with out.progress(label, "slices") as progress:
        yield progress
