"""Speed, memory and start-up, each beside another side measured here and now."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from spikegpt_neuro.api.choices import DEFAULT_SHAPE
from spikegpt_neuro.api.inputs import PathLike
from spikegpt_neuro.api.models import GraphLike, graph_of, path_within, read_model
from spikegpt_neuro.api.stages import Stages, stage
from spikegpt_neuro.benchmark.figures import table
from spikegpt_neuro.benchmark.speed import Plan
from spikegpt_neuro.benchmark.suite import Comparison, Subject, measure
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.converters.settings import GivenLIF
from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.evaluation.corpus import held_out, python_documentation
from spikegpt_neuro.files import scratch_directory
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.model.synthetic import random_model, random_tokens
from spikegpt_neuro.results import Result
from spikegpt_neuro.running import Progress

CALIBRATION_TOKENS = 2048
SHAPE = re.compile(r"([1-9]\d*)x([1-9]\d*)x([1-9]\d*)")


@dataclass(frozen=True, repr=False)
class Benchmark(Result):
    """``figures``: name -> both sides and their ratio; ``facts``: machine, model and plan."""

    figures: Mapping[str, Any]
    facts: Mapping[str, Any]
    remarks: tuple[str, ...]
    report: Comparison = field(repr=False)

    HEADLINE: ClassVar[tuple[str, ...]] = ("facts",)

    def to_dict(self) -> dict[str, Any]:
        """Facts, figures, remarks and the machine."""
        return dict(self.report.to_json())

    def rows(self) -> list[dict[str, Any]]:
        """A row per figure."""
        return [{"figure": name, **values} for name, values in self.figures.items()]

    def table(self) -> str:
        """The figures as a person reads them."""
        return table(self.report.figures)


def bench(
    artifact: GraphLike | None = None,
    *,
    shape: str | None = None,
    weight_bits: int | None = None,
    against: PathLike | None = None,
    threads: int = 1,
    tokens: int = 256,
    rounds: int = 8,
    seconds: float = 0.3,
    lif_tau: float | None = None,
    lif_threshold: float | None = None,
    lif_reset: float | None = None,
    progress: Progress | Stages | None = None,
) -> Benchmark:
    """Measure an artifact, or a random model, beside a float32 torch step of the same model.

    Both sides run in this process and take turns; the best of each side counts. For one thread on
    both sides the libraries must be told before they load, as the command line does.

    Parameters
    ----------
    artifact
        Its directory, or the graph; None: a random model of ``shape`` (layers x width x vocabulary,
        as in ``"12x512x256"``) and ``weight_bits``.
    against
        The artifact's checkpoint, for the torch side; else it has random weights.
    tokens
        Length of the text: sequence mode takes it whole, generation runs round in it.
    rounds, seconds
        Rounds in which the sides take turns, and each side's share of one.
    lif_tau, lif_threshold, lif_reset
        The LIF of a checkpoint ``against`` that does not state it, as in :func:`evaluate`.

    Raises
    ------
    UsageError
        Arguments of a random model beside an artifact, or a shape of another form.

    Examples
    --------
    >>> found = sgn.bench(shape="1x16x256", rounds=1, seconds=0.01, tokens=16)
    >>> len(found.figures) > 0
    True
    """
    if artifact is not None and (shape or weight_bits):
        raise UsageError(
            "shape=... and weight_bits=... make a random model; leave out the artifact"
        )
    if artifact is None and against is not None:
        raise UsageError("against=... needs the artifact of that checkpoint")
    with scratch_directory("spikegpt-neuro-bench") as folder:
        if artifact is None:
            path = folder / "model.sgn"
            subject = _random(shape or DEFAULT_SHAPE, weight_bits or 8, tokens, path)
        else:
            lif = GivenLIF(lif_tau, lif_threshold, lif_reset)
            graph = graph_of(artifact)
            subject = _converted(graph, path_within(folder, artifact), against, tokens, lif)

        def labelled(label: str) -> AbstractContextManager[Progress | None]:
            return stage(progress, label, "slices")

        found = measure(subject, Plan(threads, rounds, seconds), labelled)
    figures = {figure.name: figure.to_json() for figure in found.figures}
    return Benchmark(figures, found.facts, found.remarks, found)


def _random(shape: str, bits: int, count: int, path: Path) -> Subject:
    sizes = SHAPE.fullmatch(shape)
    if sizes is None:
        raise UsageError(f"shape='{shape}': expected layers x width x vocabulary, as in 12x512x256")
    model = random_model(*map(int, sizes.groups()))
    graph = lower(model, random_tokens(model, CALIBRATION_TOKENS), weight_bits=bits)
    graph.save(str(path))
    return Subject(graph, str(path), model, random_tokens(model, count, seed=2), ())


def _converted(
    graph: SpikingGraph, path: Path, against: PathLike | None, count: int, lif: GivenLIF
) -> Subject:
    remarks = []
    size = (graph.shape.layers, graph.shape.width, graph.shape.vocab_size)
    if against is None:
        model = random_model(*size, ffn_pre=graph.shape.ffn_pre)
        remarks.append("the torch side has random weights; against=... gives it the model's")
    else:
        model = read_model(against, lif=lif)
        if model.shape.tensor_shapes() != graph.shape.tensor_shapes():
            raise UsageError(f"{against}: its shape is not that of {path}")
    model = replace(model, shape=graph.shape)
    if graph.vocabulary is None:
        remarks.append("no vocabulary: the text is random tokens")
        tokens = random_tokens(model, count, seed=2)
    else:
        text = held_out(python_documentation())
        tokens = graph.vocabulary.encode(text, unknown="replace")[:count]
    return Subject(graph, str(path), model, tokens, tuple(remarks))
