"""``info``: what an artifact or a checkpoint holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from spikegpt_neuro.cli.common import Output, verb

if TYPE_CHECKING:
    from spikegpt_neuro.graph.graph import SpikingGraph
    from spikegpt_neuro.model.spikegpt import ModelShape, SpikeGPT
    from spikegpt_neuro.vocabulary import Vocabulary


@click.command(short_help="Show what an artifact or a checkpoint holds.")
@click.argument("path", metavar="DIR_OR_CKPT")
@click.option("--vocab", metavar="FILE", help="vocab.json or tokenizer.json of a checkpoint.")
@verb
def info(out: Output, path: str, vocab: str | None) -> None:
    """Show what DIR_OR_CKPT is; an artifact's checksums are verified."""
    from spikegpt_neuro import api
    from spikegpt_neuro.graph.artifact import is_artifact

    if is_artifact(Path(path)):
        out.result(_of_graph(api.load(path)))
    else:
        out.result(_of_checkpoint(api.read_model(path, vocab=vocab)))


def _of_graph(graph: SpikingGraph) -> dict[str, object]:
    origin = graph.provenance
    return {
        "kind": "artifact",
        **_of_shape(graph.shape, graph.vocabulary),
        "source_sha256": origin.get("source_sha256"),
        "source_file": origin.get("source_file"),
        "source_format": origin.get("source_format"),
        "weight_bits": graph.weight_bits,
        "activation_bits": graph.activation_bits,
        "populations": len(graph.populations),
        "neurons": sum(population.size for population in graph.populations),
        "synapses": sum(projection.synapses for projection in graph.projections),
        "tool_version": origin.get("tool_version"),
    }


def _of_checkpoint(model: SpikeGPT) -> dict[str, object]:
    origin = model.provenance
    return {
        "kind": "checkpoint",
        **_of_shape(model.shape, model.vocabulary),
        "source_sha256": origin.sha256,
        "source_file": origin.file,
        "source_format": origin.format,
    }


def _of_shape(shape: ModelShape, vocabulary: Vocabulary | None) -> dict[str, object]:
    return {
        "layers": shape.layers,
        "width": shape.width,
        "vocab_size": shape.vocab_size,
        "parameters": shape.parameters,
        "embedding": "binary" if shape.spike_embedding else "real",
        "vocabulary": vocabulary.kind if vocabulary else None,
    }
