"""The artifact: a spiking graph as a directory, readable by any tool and safe to load.

=======================  =========================================================
``config.json``          format, schema version, shape, bit widths, provenance, where the LIF
                         was stated, remarks, the sha256 of every other file but the card, and
                         its own: of its content as JSON with sorted keys and no spaces
``graph.json``           populations and projections with their integer parameters
``weights.safetensors``  ``populations/<name>/<parameter>``, ``projections/<name>``: weights
                         (target, source), or (source, target) where ``by_source``; two to
                         a byte where they have 4 bits. Of a ``sparse`` projection,
                         ``projections/<name>`` holds the weights that are not 0, row by row
                         in one dimension, and ``synapses/<name>`` which ones they are:
                         (rows, bytes), bit k of byte i for column 8 i + k
``vocab.json`` or        the vocabulary, where the model has one that is not bytes
``tokenizer.json``
``README.md``            a card for people
=======================  =========================================================

Reading checks the schema version, every checksum, every type and shape, and the contract of
the graph. Nothing in the files can run code. Artifacts of schema versions 1 and 2 have no checksum
of ``config.json``; they are read, with a remark.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.packing import PACKED_BITS
from spikegpt_neuro.documents import (
    MEGABYTE,
    Kind,
    converted,
    decode_json,
    read_bytes,
    read_json,
)
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.files import sha256_of
from spikegpt_neuro.graph.graph import Population, Projection, SpikingGraph
from spikegpt_neuro.graph.tensors import map_tensors, release
from spikegpt_neuro.graph.weights import BITS_IN, Given, PackedWeights, SparseWeights
from spikegpt_neuro.graph.writer import (
    CARD,
    CHECKSUM,
    CONFIG,
    CONFIG_LIMIT,
    FORMAT,
    GRAPH,
    SCHEMA_VERSIONS,
    WEIGHTS,
    checksum_of,
    is_artifact,
    save,
)
from spikegpt_neuro.model.spikegpt import LIFOrigin, LIFParameters, ModelShape
from spikegpt_neuro.neurons import program_class
from spikegpt_neuro.neurons.program import declared
from spikegpt_neuro.vocabulary import Vocabulary, vocabulary_from_files

__all__ = ["CARD", "CONFIG", "FORMAT", "GRAPH", "WEIGHTS", "is_artifact", "load", "save"]

GRAPH_LIMIT = 256 * MEGABYTE
DAMAGED = "convert the checkpoint again"
WITHOUT_CHECKSUM = (1, 2)  # the schema versions that had none of config.json
UNSEALED = (
    f"read from schema version {{version}}, which has no checksum of {CONFIG}: whether "
    "logit scale, LIF and vocabulary are as they were written cannot be told; convert again for one"
)

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class _LIF:
    tau: float
    threshold: float
    reset: float
    decay_input: bool


@dataclass(frozen=True)
class _Shape:
    layers: int
    width: int
    vocab_size: int
    ffn_pre: bool
    spike_embedding: bool
    spike_input: bool
    rescale_every: int
    lif: _LIF


@dataclass(frozen=True)
class _Config:
    """``config.json``, beside its format and schema version."""

    shape: _Shape
    weight_bits: int
    activation_bits: int
    logit_scale: float
    provenance: dict[str, Any]
    files: dict[str, str]
    vocabulary: str | None = None
    lif_origin: LIFOrigin | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Population:
    name: str
    size: int
    program: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class _Projection:
    name: str
    source: str
    target: str
    port: str
    dense: bool
    by_source: bool
    shift: int
    sparse: bool = False


@dataclass(frozen=True)
class _Graph:
    """``graph.json``."""

    populations: tuple[_Population, ...]
    projections: tuple[_Projection, ...]


def load(path: str | Path) -> SpikingGraph:
    """Read and check an artifact directory; its weights stay in their file, mapped into memory.

    Raises :class:`UnsupportedInput` naming the file and what is wrong with it.
    """
    directory = Path(path)
    config = _read_config(directory)
    for name, checksum in config.files.items():
        _check_file(directory, name, checksum)
    for name in (GRAPH, WEIGHTS):
        if name not in config.files:
            raise UnsupportedInput(f"{directory / CONFIG}: no checksum of {name}; convert again")
    tensors = map_tensors(directory / WEIGHTS)
    content = read_json(directory / GRAPH, _Graph, limit=GRAPH_LIMIT, remedy=DAMAGED)
    graph = _graph_of(config, content, tensors, directory).validate()
    for tensor in tensors.values():  # the validation has looked at all
        release(tensor)
    return graph


def _read_config(directory: Path) -> _Config:
    """``config.json`` of an artifact, with format and schema version checked."""
    data, where = read_bytes(directory / CONFIG, CONFIG_LIMIT), str(directory / CONFIG)
    kind = decode_json(data, Kind, where=where, remedy=DAMAGED)
    if kind.format != FORMAT:
        raise UnsupportedInput(f"{directory} is not a {FORMAT} artifact (format in {CONFIG})")
    if kind.schema_version not in SCHEMA_VERSIONS:
        known = ", ".join(map(str, SCHEMA_VERSIONS))
        raise UnsupportedInput(
            f"{directory}: schema version {kind.schema_version!r}, this version reads {known}; "
            "convert the checkpoint again"
        )
    config = decode_json(data, _Config, where=where, remedy=DAMAGED)
    content = decode_json(data, dict[str, Any], where=where, remedy=DAMAGED)
    if kind.schema_version in WITHOUT_CHECKSUM and CHECKSUM not in content:
        unsealed = UNSEALED.format(version=kind.schema_version)
        return replace(config, remarks=(*config.remarks, unsealed))
    try:
        checksum = checksum_of(content)
    except RecursionError as error:
        raise UnsupportedInput(f"{where}: nested too deeply; {DAMAGED}") from error
    if content.get(CHECKSUM) != checksum:
        raise UnsupportedInput(
            f"{where}: its content differs from its checksum ({CHECKSUM}); it is damaged or was "
            "changed, convert again"
        )
    return config


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file has
        return False


def _check_file(directory: Path, name: str, checksum: object) -> None:
    if Path(name).name != name or not _is_file(directory / name):
        raise UnsupportedInput(f"{directory}: file {name!r} of {CONFIG} is missing; convert again")
    if sha256_of(directory / name) != checksum:
        raise UnsupportedInput(
            f"{directory / name}: checksum differs from {CONFIG}; it is damaged, convert again"
        )


def _graph_of(config: _Config, content: _Graph, tensors: Tensors, directory: Path) -> SpikingGraph:
    shape = ModelShape(**{**vars(config.shape), "lif": LIFParameters(**vars(config.shape.lif))})
    nodes = tuple(_population_of(entry, tensors) for entry in content.populations)
    sizes = {node.name: node.size for node in nodes}
    return SpikingGraph(
        shape=shape,
        populations=nodes,
        projections=tuple(
            _projection_of(entry, tensors, sizes, config.weight_bits)
            for entry in content.projections
        ),
        logit_scale=config.logit_scale,
        weight_bits=config.weight_bits,
        activation_bits=config.activation_bits,
        vocabulary=_vocabulary_from(config, directory, shape.vocab_size),
        provenance=config.provenance,
        lif_origin=config.lif_origin,
        remarks=config.remarks,
    )


def _population_of(entry: _Population, tensors: Tensors) -> Population:
    name, where = entry.name, f"{GRAPH}: population {entry.name}"
    program = program_class(entry.program)
    if program is None:
        raise UnsupportedInput(
            f"{where}: unknown program {entry.program!r}; a newer version wrote this, "
            "or the package that registers the program is not installed"
        )
    arguments: dict[str, Any] = {}
    for field in declared(program):
        tensor = tensors.get(f"populations/{name}/{field.name}")
        if field.type is not np.ndarray:
            value, place = entry.parameters.get(field.name), f"{where}: {field.name}"
            arguments[field.name] = converted(value, field.type, where=place, remedy=DAMAGED)
        elif tensor is None and field.optional:
            continue
        elif tensor is None:
            raise UnsupportedInput(f"{WEIGHTS}: no tensor populations/{name}/{field.name}")
        elif tensor.dtype == np.int32:
            arguments[field.name] = np.array(tensor)  # small, and kernels want it writable
        else:
            arguments[field.name] = tensor  # the table of the embedding
    return Population(name, entry.size, program(**arguments))


def _projection_of(
    entry: _Projection, tensors: Tensors, sizes: Mapping[str, int], bits: int
) -> Projection:
    weights: Given | None = None
    if entry.dense or entry.sparse:
        columns, rows = sizes.get(entry.source, 0), sizes.get(entry.target, 0)
        if entry.by_source:
            rows, columns = columns, rows
        read = _sparse if entry.sparse else _matrix
        weights = read(tensors, entry, (rows, columns), bits == PACKED_BITS)
    return Projection(
        name=entry.name,
        source=entry.source,
        target=entry.target,
        port=entry.port,
        weights=weights,
        shift=entry.shift,
    )


def _matrix(
    tensors: Tensors, entry: _Projection, shape: tuple[int, int], packed: bool
) -> NDArray[np.int8] | PackedWeights:
    """All weights of a projection whose rows and columns are ``shape``."""
    rows, columns = shape
    expected = (rows, -(-columns // 2)) if packed else shape
    stored = _tensor(tensors, f"projections/{entry.name}", np.int8, expected)
    if packed:
        return PackedWeights(stored, columns, entry.by_source)
    return stored.T if entry.by_source else stored


def _sparse(
    tensors: Tensors, entry: _Projection, shape: tuple[int, int], packed: bool
) -> SparseWeights:
    """The weights that exist; the graph's validation compares them with the bits."""
    rows, columns = shape
    existing = _tensor(tensors, f"synapses/{entry.name}", np.uint8, (rows, -(-columns // 8)))
    count = int(BITS_IN[existing].sum())
    expected = (-(-count // 2) if packed else count,)
    values = _tensor(tensors, f"projections/{entry.name}", np.int8, expected)
    return SparseWeights(existing, values, columns, entry.by_source, packed)


def _tensor(
    tensors: Tensors, name: str, dtype: type[np.integer], shape: tuple[int, ...]
) -> NDArray[Any]:
    """The tensor ``name``, which must have this type and shape."""
    if name not in tensors:
        raise UnsupportedInput(f"{WEIGHTS}: no tensor {name}")
    stored = tensors[name]
    if stored.dtype != dtype or stored.shape != shape:
        raise UnsupportedInput(
            f"{WEIGHTS}: {name} is {stored.dtype} {stored.shape}, expected "
            f"{np.dtype(dtype)} {shape}"
        )
    return stored


def _vocabulary_from(config: _Config, directory: Path, size: int) -> Vocabulary | None:
    if config.vocabulary is None:
        return None
    files = {
        name: (directory / name).read_bytes()
        for name in config.files
        if name not in (GRAPH, WEIGHTS)
    }
    return vocabulary_from_files(config.vocabulary, files, size)
