"""Everything that ``spikegpt-neuro bench`` measures of one model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from spikegpt_neuro.benchmark.figures import Figure
from spikegpt_neuro.benchmark.machine import description
from spikegpt_neuro.benchmark.memory import weight_bytes
from spikegpt_neuro.benchmark.speed import (
    Plan,
    Tokens,
    event_shares,
    generation,
    sequence,
    torch_side,
)
from spikegpt_neuro.benchmark.startup import start_figures
from spikegpt_neuro.descriptions import describe
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.running import Progress, get_backend

Stage = Callable[[str], AbstractContextManager["Progress | None"]]
"""Announces what is measured next, and gives its progress."""

SEQUENCE_ROUNDS = 3  # a slice is a whole text
STARTS = 3
TORCH_MISSING = "torch is not installed, its side is empty: pip install 'spikegpt-neuro[torch]'"


@dataclass(frozen=True)
class Subject:
    """What is measured: a graph, its artifact's directory, the float model beside it, a text."""

    graph: SpikingGraph
    artifact: str
    model: SpikeGPT
    tokens: Tokens
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """``figures`` with both sides, the ``facts`` they rest on, ``remarks`` for a reader."""

    figures: tuple[Figure, ...]
    facts: Mapping[str, object]
    remarks: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        return {
            **self.facts,
            "figures": {figure.name: figure.to_json() for figure in self.figures},
            "remarks": list(self.remarks),
            "machine": description(),
        }


def measure(subject: Subject, plan: Plan, stage: Stage) -> Comparison:
    """Generation, sequence mode, start-up and memory of ``subject``.

    Raises :class:`~spikegpt_neuro.errors.CheckFailed` if the torch side does not compute the
    model.
    """
    graph, tokens = subject.graph, subject.tokens
    with stage("generation") as progress:
        opponent = torch_side(subject.model, tokens, plan.threads)
        backend = get_backend("reference", threads=plan.threads)
        run = backend.run(graph, tokens, record="logits")
        speed = generation({"": graph}, {"": run}, opponent, tokens, plan, progress)[""]
        tokens_per_second, reading = speed
    with stage("sequence mode") as progress:
        rounds = replace(plan, rounds=min(plan.rounds, SEQUENCE_ROUNDS))
        whole = sequence(graph, opponent, tokens, rounds, progress)
    shape = f"{graph.shape.layers}x{graph.shape.width}x{graph.shape.vocab_size}"
    with stage("start-up and memory"):
        start = start_figures(
            subject.artifact,
            shape,
            threads=plan.threads,
            starts=min(plan.rounds, STARTS),
            torch=opponent is not None,
        )
    facts = {
        "shape": shape,
        "weight_bits": graph.weight_bits,
        "threads": plan.threads,
        "tokens": len(tokens),
        "weight_bytes": weight_bytes(graph),
        "weight_bytes_per_token": reading.ours / tokens_per_second.ours,
        "products": describe("reference").resolve("diagnose")().found["products"],
        **{f"share_{name}": share for name, share in event_shares(graph, run).items()},
    }
    missing = () if opponent is not None else (TORCH_MISSING,)
    return Comparison((*speed, whole, *start), facts, subject.remarks + missing)
