"""The artifact: a spiking graph as a directory that anybody can read and nobody can abuse.

=======================  =========================================================
``config.json``          format, schema version, shape, bit widths, provenance, and
                         the sha256 of every other file but the card
``graph.json``           populations and projections with their integer parameters
``weights.safetensors``  ``populations/<name>/<parameter>``, ``projections/<name>``: weights
                         (target, source), or (source, target) where ``by_source``; two to
                         a byte where they have 4 bits
``vocab.json`` or        the vocabulary, where the model has one that is not bytes
``tokenizer.json``
``README.md``            a card for people
=======================  =========================================================

Reading checks the schema version, every checksum, every type and shape, and the contract of
the graph. Nothing in the files can run code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.packing import PACKED_BITS
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.files import (
    atomic_directory,
    check_output_directory,
    sha256_of,
    write_tensors,
)
from spikegpt_neuro.graph.graph import Population, Projection, SpikingGraph
from spikegpt_neuro.graph.tensors import let_go, map_tensors
from spikegpt_neuro.graph.weights import PackedWeights
from spikegpt_neuro.model.spikegpt import LIFParameters, ModelShape
from spikegpt_neuro.neurons import Program, program_class
from spikegpt_neuro.neurons.program import declared
from spikegpt_neuro.vocabulary import Vocabulary, vocabulary_from_files

FORMAT = "spikegpt-neuro"
SCHEMA_VERSION = 1
CONFIG, GRAPH, WEIGHTS, CARD = "config.json", "graph.json", "weights.safetensors", "README.md"

Tensors = Mapping[str, NDArray[Any]]
T = TypeVar("T")


def is_artifact(path: Path) -> bool:
    """True if ``path`` is a directory whose config.json says that we wrote it."""
    try:
        config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("format") == FORMAT


def save(graph: SpikingGraph, path: str | Path, *, force: bool = False) -> None:
    """Write ``graph`` to the directory ``path``, whole or not at all."""
    target = Path(path)
    check_output_directory(target, force, is_artifact)
    with atomic_directory(target) as directory:
        write_tensors(directory / WEIGHTS, _tensors(graph))
        _write_json(directory / GRAPH, _graph_to_json(graph))
        (directory / CARD).write_text(_card(graph), encoding="utf-8")
        if graph.vocabulary is not None:
            for name, content in graph.vocabulary.to_files().items():
                (directory / name).write_bytes(content)
        contents = sorted(file for file in directory.iterdir() if file.name != CARD)
        checksums = {file.name: sha256_of(file) for file in contents}
        _write_json(directory / CONFIG, _config_to_json(graph, checksums))


def load(path: str | Path) -> SpikingGraph:
    """Read and check an artifact directory; its weights stay in their file, mapped into memory.

    Raises :class:`UnsupportedInput` naming the file and what is wrong with it.
    """
    directory = Path(path)
    config = read_config(directory)
    for name, checksum in _item(config, "files", dict, CONFIG).items():
        _check_file(directory, name, checksum)
    for name in (GRAPH, WEIGHTS):
        if name not in config["files"]:
            raise UnsupportedInput(f"{directory / CONFIG}: no checksum of {name}; convert again")
    tensors = map_tensors(directory / WEIGHTS)
    graph = _graph_from_json(config, _read_json(directory / GRAPH), tensors, directory).validate()
    for tensor in tensors.values():  # the validation has looked at all
        let_go(tensor)
    return graph


def read_config(directory: Path) -> dict[str, Any]:
    """``config.json`` of an artifact, with format and schema version checked."""
    config = _read_json(directory / CONFIG)
    if config.get("format") != FORMAT:
        raise UnsupportedInput(f"{directory} is not a {FORMAT} artifact (format in {CONFIG})")
    if config.get("schema_version") != SCHEMA_VERSION:
        raise UnsupportedInput(
            f"{directory}: schema version {config.get('schema_version')!r}, this version reads "
            f"{SCHEMA_VERSION}; convert the checkpoint again"
        )
    return config


def _check_file(directory: Path, name: str, checksum: object) -> None:
    if Path(name).name != name or not (directory / name).is_file():
        raise UnsupportedInput(f"{directory}: file {name!r} of {CONFIG} is missing; convert again")
    if sha256_of(directory / name) != checksum:
        raise UnsupportedInput(
            f"{directory / name}: checksum differs from {CONFIG}; it is damaged, convert again"
        )


# Graph -> files


def _tensors(graph: SpikingGraph) -> dict[str, NDArray[Any]]:
    tensors = {
        f"populations/{population.name}/{name}": np.ascontiguousarray(value)
        for population in graph.populations
        for name, value in _parameters(population.program).items()
        if isinstance(value, np.ndarray)
    }
    return tensors | {
        f"projections/{projection.name}": projection.stored(graph.weight_bits)
        for projection in graph.projections
        if projection.is_dense
    }


def _parameters(program: Program) -> dict[str, Any]:
    return {field.name: getattr(program, field.name) for field in declared(type(program))}


def _graph_to_json(graph: SpikingGraph) -> dict[str, Any]:
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
            for projection in graph.projections
        ],
    }


def _config_to_json(graph: SpikingGraph, checksums: Mapping[str, str]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "shape": asdict(graph.shape),
        "weight_bits": graph.weight_bits,
        "activation_bits": graph.activation_bits,
        "logit_scale": graph.logit_scale,
        "vocabulary": None if graph.vocabulary is None else graph.vocabulary.kind,
        "provenance": dict(graph.provenance),
        "files": dict(checksums),
    }


def _card(graph: SpikingGraph) -> str:
    shape = graph.shape
    lines = [
        "# SpikeGPT as an integer spiking graph",
        "",
        f"Converted by spikegpt-neuro from `{graph.provenance.get('source_file', 'unknown')}`.",
        "",
        "| | |",
        "|---|---|",
        f"| layers, width, vocabulary | {shape.layers}, {shape.width}, {shape.vocab_size} |",
        f"| parameters of the checkpoint | {shape.parameters:,} |",
        f"| weight bits, activation bits | {graph.weight_bits}, {graph.activation_bits} |",
        f"| populations, neurons | {len(graph.populations)}, "
        f"{sum(p.size for p in graph.populations):,} |",
        f"| dense synapses | {sum(q.synapses for q in graph.projections):,} |",
        "",
        "Run it with `spikegpt-neuro generate` or `spikegpt-neuro simulate --backend lava`.",
        "",
    ]
    return "\n".join(lines)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


# Files -> graph


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnsupportedInput(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UnsupportedInput(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise UnsupportedInput(f"{path}: expected an object")
    return content


def _item(mapping: object, key: str, kind: type[T], where: str) -> T:
    """``mapping[key]`` if it is a ``kind`` (a bool is no int), else an error naming ``where``."""
    value = mapping.get(key) if isinstance(mapping, dict) else None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UnsupportedInput(f"{where}: {key!r} is {value!r}, expected {kind.__name__}")
    return value


def _graph_from_json(
    config: Mapping[str, Any], content: Mapping[str, Any], tensors: Tensors, directory: Path
) -> SpikingGraph:
    shape = _shape_from_json(_item(config, "shape", dict, CONFIG))
    populations = _item(content, "populations", list, GRAPH)
    projections = _item(content, "projections", list, GRAPH)
    bits = _item(config, "weight_bits", int, CONFIG)
    nodes = tuple(_population_from_json(entry, tensors) for entry in populations)
    sizes = {node.name: node.size for node in nodes}
    return SpikingGraph(
        shape=shape,
        populations=nodes,
        projections=tuple(
            _projection_from_json(entry, tensors, sizes, bits) for entry in projections
        ),
        logit_scale=_item(config, "logit_scale", float, CONFIG),
        weight_bits=bits,
        activation_bits=_item(config, "activation_bits", int, CONFIG),
        vocabulary=_vocabulary_from(config, directory, shape.vocab_size),
        provenance=_item(config, "provenance", dict, CONFIG),
    )


def _shape_from_json(entry: Mapping[str, Any]) -> ModelShape:
    where = f"{CONFIG}, shape"
    lif = _item(entry, "lif", dict, where)
    types: dict[str, type] = {
        "layers": int,
        "width": int,
        "vocab_size": int,
        "ffn_pre": bool,
        "spike_embedding": bool,
        "spike_input": bool,
        "rescale_every": int,
    }
    return ModelShape(
        **{name: _item(entry, name, kind, where) for name, kind in types.items()},
        lif=LIFParameters(
            tau=_item(lif, "tau", float, where),
            threshold=_item(lif, "threshold", float, where),
            reset=_item(lif, "reset", float, where),
            decay_input=_item(lif, "decay_input", bool, where),
        ),
    )


def _population_from_json(entry: object, tensors: Tensors) -> Population:
    name = _item(entry, "name", str, f"{GRAPH}, populations")
    where = f"{GRAPH}, population {name}"
    kind = _item(entry, "program", str, where)
    program = program_class(kind)
    if program is None:
        raise UnsupportedInput(
            f"{where}: unknown program {kind!r}; a newer version wrote this, "
            "or the package that registers the program is not installed"
        )
    parameters = _item(entry, "parameters", dict, where)
    arguments: dict[str, Any] = {}
    for field in declared(program):
        tensor = tensors.get(f"populations/{name}/{field.name}")
        if field.type is not np.ndarray:
            arguments[field.name] = _item(parameters, field.name, field.type, where)
        elif tensor is None:
            raise UnsupportedInput(f"{WEIGHTS}: no tensor populations/{name}/{field.name}")
        elif tensor.dtype == np.int32:
            arguments[field.name] = np.array(tensor)  # small, and kernels want it writable
        else:
            arguments[field.name] = tensor  # the table of the embedding
    return Population(name, _item(entry, "size", int, where), program(**arguments))


def _projection_from_json(
    entry: object, tensors: Tensors, sizes: Mapping[str, int], bits: int
) -> Projection:
    name = _item(entry, "name", str, f"{GRAPH}, projections")
    where = f"{GRAPH}, projection {name}"
    source, target = _item(entry, "source", str, where), _item(entry, "target", str, where)
    weights: NDArray[np.int8] | PackedWeights | None = None
    if _item(entry, "dense", bool, where):
        columns, rows = sizes.get(source, 0), sizes.get(target, 0)
        if by_source := _item(entry, "by_source", bool, where):
            rows, columns = columns, rows
        stored = _matrix(tensors, f"projections/{name}", (rows, columns), bits)
        if bits == PACKED_BITS:
            weights = PackedWeights(stored, columns, by_source)
        else:
            weights = stored.T if by_source else stored
    return Projection(
        name=name,
        source=source,
        target=target,
        port=_item(entry, "port", str, where),
        weights=weights,
        shift=_item(entry, "shift", int, where),
    )


def _matrix(tensors: Tensors, name: str, shape: tuple[int, int], bits: int) -> NDArray[np.int8]:
    """The stored int8 matrix ``name`` of weights in this shape, packed where they have 4 bits."""
    if name not in tensors:
        raise UnsupportedInput(f"{WEIGHTS}: no tensor {name}")
    stored: NDArray[np.int8] = tensors[name]
    rows, columns = shape
    expected = (rows, (columns + 1) // 2) if bits == PACKED_BITS else shape
    if stored.dtype != np.int8 or stored.shape != expected:
        raise UnsupportedInput(
            f"{WEIGHTS}: {name} is {stored.dtype} {stored.shape}, expected int8 {expected}"
        )
    return stored


def _vocabulary_from(config: Mapping[str, Any], directory: Path, size: int) -> Vocabulary | None:
    if config.get("vocabulary") is None:
        return None
    kind = _item(config, "vocabulary", str, CONFIG)
    files = {
        name: (directory / name).read_bytes()
        for name in _item(config, "files", dict, CONFIG)
        if name not in (GRAPH, WEIGHTS)
    }
    return vocabulary_from_files(kind, files, size)
