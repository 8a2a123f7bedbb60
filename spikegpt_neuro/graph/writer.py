"""Writing an artifact; what its files hold stands in :mod:`spikegpt_neuro.graph.artifact`.

A writer knows a graph by what it asks of it (:class:`Graph`), so that graphs can save themselves.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.documents import MEGABYTE, Kind, read_json
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.files import (
    atomic_directory,
    check_output_directory,
    sha256_of,
    write_tensors,
)
from spikegpt_neuro.model.spikegpt import LIFOrigin, ModelShape
from spikegpt_neuro.neurons.program import Program, declared
from spikegpt_neuro.vocabulary import Vocabulary

FORMAT = "spikegpt-neuro"
SCHEMA_VERSION = 3
SCHEMA_VERSIONS = (1, 2, SCHEMA_VERSION)
"""2: programs may have a dead zone and projections be sparse; 3, which is written: ``config.json``
has a checksum."""
CHECKSUM = "sha256"
CONFIG, GRAPH, WEIGHTS, CARD = "config.json", "graph.json", "weights.safetensors", "README.md"
CONFIG_LIMIT = 16 * MEGABYTE


class Population(Protocol):
    """What is written of a population."""

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def program(self) -> Program: ...


class Projection(Protocol):
    """What is written of a projection."""

    @property
    def name(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def port(self) -> str: ...
    @property
    def shift(self) -> int: ...
    @property
    def is_dense(self) -> bool: ...
    @property
    def is_sparse(self) -> bool: ...
    @property
    def existing(self) -> NDArray[np.uint8] | None: ...
    @property
    def by_source(self) -> bool: ...
    @property
    def synapses(self) -> int: ...
    @property
    def possible_synapses(self) -> int: ...
    def stored(self, bits: int) -> NDArray[np.int8]: ...


class Graph(Protocol):
    """What is written of a graph."""

    @property
    def shape(self) -> ModelShape: ...
    @property
    def populations(self) -> Sequence[Population]: ...
    @property
    def projections(self) -> Sequence[Projection]: ...
    @property
    def logit_scale(self) -> float: ...
    @property
    def weight_bits(self) -> int: ...
    @property
    def activation_bits(self) -> int: ...
    @property
    def vocabulary(self) -> Vocabulary | None: ...
    @property
    def provenance(self) -> Mapping[str, Any]: ...
    @property
    def lif_origin(self) -> LIFOrigin | None: ...
    @property
    def remarks(self) -> Sequence[str]: ...


def is_artifact(path: Path) -> bool:
    """True if ``path`` is a directory whose config.json says that we wrote it."""
    try:
        return bool(read_json(path / CONFIG, Kind, limit=CONFIG_LIMIT).format == FORMAT)
    except UnsupportedInput:
        return False


def save(graph: Graph, path: str | Path, *, force: bool = False) -> None:
    """Write ``graph`` to the directory ``path``, whole or not at all."""
    target = Path(path)
    check_output_directory(target, force, is_artifact)
    with atomic_directory(target, force=force) as directory:
        write_tensors(directory / WEIGHTS, _tensors(graph))
        _write_json(directory / GRAPH, _graph_to_json(graph))
        (directory / CARD).write_text(_card(graph), encoding="utf-8")
        if graph.vocabulary is not None:
            for name, content in graph.vocabulary.to_files().items():
                (directory / name).write_bytes(content)
        contents = sorted(file for file in directory.iterdir() if file.name != CARD)
        checksums = {file.name: sha256_of(file) for file in contents}
        _write_json(directory / CONFIG, _config_to_json(graph, checksums))


def _tensors(graph: Graph) -> dict[str, NDArray[Any]]:
    tensors = {
        f"populations/{population.name}/{name}": np.ascontiguousarray(value)
        for population in graph.populations
        for name, value in _parameters(population.program).items()
        if isinstance(value, np.ndarray)
    }
    tensors |= {
        f"projections/{projection.name}": projection.stored(graph.weight_bits)
        for projection in graph.projections
        if projection.is_dense
    }
    return tensors | {
        f"synapses/{projection.name}": np.ascontiguousarray(projection.existing)
        for projection in graph.projections
        if projection.existing is not None
    }


def _parameters(program: Program) -> dict[str, Any]:
    values = {field.name: getattr(program, field.name) for field in declared(type(program))}
    return {name: value for name, value in values.items() if value is not None}


def _graph_to_json(graph: Graph) -> dict[str, Any]:
    return {
        "populations": [
            {
                "name": population.name,
                "size": population.size,
                "program": population.program.kind,
                "parameters": {
                    name: value
                    for name, value in _parameters(population.program).items()
                    if not isinstance(value, np.ndarray)
                },
            }
            for population in graph.populations
        ],
        "projections": [
            {
                "name": projection.name,
                "source": projection.source,
                "target": projection.target,
                "port": projection.port,
                "dense": projection.is_dense,
                "by_source": projection.by_source,
                "shift": projection.shift,
            }
            | ({"sparse": True} if projection.is_sparse else {})
            for projection in graph.projections
        ],
    }


def checksum_of(config: Mapping[str, Any]) -> str:
    """Of the content of ``config.json`` but its own checksum, however it is laid out."""
    content = {key: value for key, value in config.items() if key != CHECKSUM}
    plain = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(plain.encode()).hexdigest()


def _config_to_json(graph: Graph, checksums: Mapping[str, str]) -> dict[str, Any]:
    origin = None if graph.lif_origin is None else asdict(graph.lif_origin)
    content = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "shape": asdict(graph.shape),
        "weight_bits": graph.weight_bits,
        "activation_bits": graph.activation_bits,
        "logit_scale": graph.logit_scale,
        "vocabulary": None if graph.vocabulary is None else graph.vocabulary.kind,
        "provenance": dict(graph.provenance),
        "lif_origin": origin,
        "remarks": list(graph.remarks),
        "files": dict(checksums),
    }
    return content | {CHECKSUM: checksum_of(content)}


def _is_sparse(graph: Graph) -> bool:
    return any(projection.is_sparse for projection in graph.projections)


def facts(graph: Graph) -> list[tuple[str, str]]:
    """What people are told about a graph: what it is, and the figure."""
    shape = graph.shape
    return [
        ("layers, width, vocabulary", f"{shape.layers}, {shape.width}, {shape.vocab_size}"),
        ("parameters of the checkpoint", f"{shape.parameters:,}"),
        ("weight bits, activation bits", f"{graph.weight_bits}, {graph.activation_bits}"),
        (
            "populations, neurons",
            f"{len(graph.populations)}, {sum(p.size for p in graph.populations):,}",
        ),
        _synapses(graph),
    ]


def _synapses(graph: Graph) -> tuple[str, str]:
    synapses = sum(q.synapses for q in graph.projections)
    if not _is_sparse(graph):
        return "dense synapses", f"{synapses:,}"
    possible = sum(q.possible_synapses for q in graph.projections)
    return "synapses, of the dense ones", f"{synapses:,}, {synapses / possible:.1%}"


def _card(graph: Graph) -> str:
    lines = [
        "# SpikeGPT as an integer spiking graph",
        "",
        f"Converted by spikegpt-neuro from `{graph.provenance.get('source_file', 'unknown')}`.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {what} | {figure} |" for what, figure in facts(graph)),
        "",
        "Run it with `spikegpt-neuro generate` or `spikegpt-neuro simulate --backend lava`.",
        "",
    ]
    return "\n".join(lines)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
