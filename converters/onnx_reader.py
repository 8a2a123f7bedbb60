"""A float ONNX file whose initializers carry a checkpoint's tensor names.

What ``export --to onnx-float`` writes says in its metadata which LIF, which spike placement and
which vocabulary the model has, and whether it is pruned; a file of another exporter is read with
upstream's. Nothing of the file is executed: the nodes are not looked at. Tensors stored beside the
file must lie in its directory.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.converters.checkpoint import (
    Options,
    RawTensor,
    Reader,
    Statement,
    build,
    check_dimensions,
    check_readable,
    printable,
)
from spikegpt_neuro.converters.selection import canonical_name
from spikegpt_neuro.converters.settings import FLAGS
from spikegpt_neuro.converters.vocabularies import VocabularyOf
from spikegpt_neuro.errors import MissingBackend, UnsupportedInput
from spikegpt_neuro.graph.layers import block_of
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.vocabulary import Vocabulary, vocabulary_from_files

T = TypeVar("T")

FORMAT = "onnx"
SUFFIX = ".onnx"
METADATA = "spikegpt_neuro."
INSTALL = "pip install 'spikegpt-neuro[onnx]'"
OUTER_NAMES = {"emb", "ln_out", "head"}
# TensorProto.DataType -> how its raw bytes are stored, little-endian, and which field its numbers.
STORED_AS = {
    1: ("<f4", "float_data"),
    10: ("<f2", "int32_data"),
    11: ("<f8", "double_data"),
    16: ("<u2", "int32_data"),
}
BFLOAT16 = 16
EXTERNAL = 1  # TensorProto.DataLocation


def matches(path: Path) -> bool:
    """Whether ``path`` is a file called ``*.onnx`` (protobuf has no mark of its own)."""
    return path.is_file() and path.suffix == SUFFIX


def read(path: Path, vocab: Path | None = None) -> SpikeGPT:
    """Read a float ONNX step model."""
    model = _load(path)
    metadata = _metadata(model, path)
    if (kind := metadata.get("kind", "float-step")) != "float-step":
        raise UnsupportedInput(
            f"{path}: an ONNX model of kind {kind!r:.40}; only the float one holds a checkpoint "
            "(export with to='onnx-float')"
        )
    named = ((_text(tensor.name, path), tensor) for tensor in model.graph.initializer)
    of_checkpoint = _once((pair for pair in named if _is_of_checkpoint(pair[0])), str(path))
    raw = {name: _raw_tensor(tensor, path) for name, tensor in of_checkpoint.items()}
    if not raw:
        raise UnsupportedInput(
            f"{path}: none of its {len(model.graph.initializer)} initializers is named like a "
            "SpikeGPT tensor (blocks.0.ln1.weight); the names must be the checkpoint's"
        )
    shape = _mapping(metadata, "shape", path)
    found = build(
        path,
        FORMAT,
        _weights_file(model, path),
        raw,
        options=Options(),
        vocab=vocab,
        stated=(_statement(shape, metadata, path),),
        stored_vocabulary=_stored_vocabulary(metadata, path),
    )
    every = shape.get("rescale_every", 0)
    if isinstance(every, bool) or not isinstance(every, int) or every < 0:
        raise UnsupportedInput(f"{path}: rescale_every is {every!r:.40}, expected 0 or more")
    return replace(found, shape=replace(found.shape, rescale_every=every))


def _load(path: Path) -> Any:
    """The protobuf message; external tensors are left where they are."""
    check_readable(path)
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingBackend(f"{path}: reading an ONNX file needs onnx: {INSTALL}") from error
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, ValueError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UnsupportedInput(f"{path}: damaged ONNX file: {reason}") from error
    if not model.ir_version or not model.HasField("graph"):
        raise UnsupportedInput(f"{path}: not an ONNX model (no version or no graph)")
    return model


def _metadata(model: Any, path: Path) -> Mapping[str, Any]:
    """What our exporter wrote; empty for a file of another one."""
    said = ((_text(e.key, path), _text(e.value, path)) for e in model.metadata_props)
    ours = _once((pair for pair in said if pair[0].startswith(METADATA)), str(path))
    entries = {key.removeprefix(METADATA): value for key, value in ours.items()}
    try:
        return {key: json.loads(value) for key, value in entries.items()}
    except (ValueError, RecursionError) as error:
        raise UnsupportedInput(f"{path}: metadata is not JSON: {error}") from error


def _text(value: str | bytes, path: Path) -> str:
    """A text of the file, which protobuf gives as bytes where it is not UTF-8."""
    if isinstance(value, bytes):
        raise UnsupportedInput(f"{path}: damaged ONNX file: {value!r:.60} is not UTF-8 text")
    return value


def _once(pairs: Iterable[tuple[str, T]], where: str) -> dict[str, T]:
    """Values by name; a name that stands twice is an error."""
    found: dict[str, T] = {}
    for name, value in pairs:
        if name in found:
            raise UnsupportedInput(f"{where}: {printable(name)} is stored twice")
        found[name] = value
    return found


def _is_of_checkpoint(name: str) -> bool:
    """Whether an initializer is named like a tensor of a checkpoint, not like a constant."""
    canonical = canonical_name(name)
    return block_of(canonical) is not None or canonical.split(".")[0] in OUTER_NAMES


def _raw_tensor(tensor: Any, path: Path) -> RawTensor:
    if tensor.data_type not in STORED_AS:
        raise UnsupportedInput(
            f"{path}: {tensor.name} is not a float tensor (ONNX type {tensor.data_type}); "
            "a quantized file is no checkpoint"
        )
    dims = tuple(tensor.dims)
    check_dimensions(dims, f"{path}: {tensor.name}")
    dtype = np.dtype(STORED_AS[tensor.data_type][0])
    expected = math.prod(dims) * dtype.itemsize
    if min(dims, default=1) < 1:
        raise UnsupportedInput(f"{path}: {tensor.name} has shape {dims}")
    data = _bytes_of(tensor, expected, path)
    if data.size != expected:
        raise UnsupportedInput(
            f"{path}: {tensor.name} holds {data.size} bytes, shape {dims} needs {expected}"
        )
    return RawTensor(data.view(dtype).reshape(dims), is_bfloat16=tensor.data_type == BFLOAT16)


def _bytes_of(tensor: Any, expected: int, path: Path) -> NDArray[np.uint8]:
    """The bytes of a tensor, from the place where onnx looks for them; others are not minded."""
    if tensor.HasField("segment"):
        raise UnsupportedInput(f"{path}: {tensor.name} is a segment of a tensor; save it whole")
    if _is_outside(tensor):
        return _external_bytes(tensor, expected, path)
    if tensor.HasField("raw_data"):
        return np.frombuffer(tensor.raw_data, np.uint8)
    stored_as, field = STORED_AS[tensor.data_type]
    numbers = getattr(tensor, field)
    if field == "int32_data":  # the bits of 16-bit floats
        return np.array(numbers, np.int64).astype("<u2").view(np.uint8)
    return np.array(numbers, stored_as).view(np.uint8)


def _is_outside(tensor: Any) -> bool:
    return bool(tensor.data_location == EXTERNAL)


def _external_bytes(tensor: Any, expected: int, path: Path) -> NDArray[np.uint8]:
    """A memory map of a tensor beside the model."""
    file = _external_file(tensor, path)
    entries = _external_entries(tensor, path)
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", expected))
    except ValueError:
        raise UnsupportedInput(f"{path}: {tensor.name}: offset or length is no number") from None
    if offset < 0 or length < 0 or offset + length > file.stat().st_size:
        raise UnsupportedInput(
            f"{path}: {tensor.name} lies outside {file.name}, which ends at byte "
            f"{file.stat().st_size}; copy both files again"
        )
    if length == 0:  # an empty file cannot be mapped
        return np.zeros(0, np.uint8)
    return np.asarray(np.memmap(file, np.uint8, mode="r")[offset : offset + length])


def _external_entries(tensor: Any, path: Path) -> dict[str, str]:
    """What the model says of a tensor beside it: location, offset, length."""
    said = ((_text(e.key, path), _text(e.value, path)) for e in tensor.external_data)
    return _once(said, f"{path}: {tensor.name}")


def _external_file(tensor: Any, path: Path) -> Path:
    """The file a tensor lies in; none outside the model's directory is ever opened."""
    location = _external_entries(tensor, path).get("location", "")
    folder = path.resolve().parent
    try:
        file = (folder / location).resolve()
        is_file = file.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL in it, links in a circle
        raise UnsupportedInput(
            f"{path}: {tensor.name} is stored in {location!r:.80}: {error}"
        ) from error
    if not location or not file.is_relative_to(folder):
        raise UnsupportedInput(
            f"{path}: {tensor.name} is stored in {location!r:.80}, outside the model's directory; "
            "refused"
        )
    if not is_file:
        raise UnsupportedInput(f"{path}: data file {location!r:.80} is missing beside it")
    return file


def _weights_file(model: Any, path: Path) -> Path:
    """Where the weights are: beside the model, or in it."""
    outside = [t for t in model.graph.initializer if _is_outside(t)]
    return _external_file(outside[0], path) if outside else path


def _statement(shape: Mapping[str, Any], metadata: Mapping[str, Any], path: Path) -> Statement:
    """What the exporter said of the LIF, of where spikes are and of weights."""
    lif = _mapping(shape, "lif", path)
    said = {**metadata, **shape}
    flags = {key: said[key] for key in FLAGS if key in said}
    return Statement(f"{path}: metadata", {**flags, "lif": lif}, path.name)


def _stored_vocabulary(metadata: Mapping[str, Any], path: Path) -> VocabularyOf | None:
    kind = metadata.get("vocabulary")
    if kind is None:
        return None
    return partial(_vocabulary, str(kind), _mapping(metadata, "vocabulary_files", path))


def _vocabulary(kind: str, files: Mapping[str, Any], size: int) -> Vocabulary:
    contents = {name: str(text).encode("utf-8", "surrogatepass") for name, text in files.items()}
    return vocabulary_from_files(kind, contents, size)


def _mapping(metadata: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    value = metadata.get(key, {})
    if not isinstance(value, Mapping):
        raise UnsupportedInput(f"{path}: metadata: {key} is no object")
    return value


READER = Reader(FORMAT, matches, read)
