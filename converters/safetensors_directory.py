"""A directory of ``config.json`` and ``model.safetensors``, or a bare ``.safetensors`` file.

The safetensors format (an 8-byte little-endian header length, a JSON header, the data) is
validated by the ``safetensors`` package; the data is then read through a memory map, since
numpy has no bfloat16 for the package to give.

``config.json`` may hold ``lif_tau``, ``lif_threshold``, ``lif_reset``, ``decay_input``,
``spike_embedding``, ``spike_input``, ``n_layer``, ``n_embd`` and ``vocab_size``, and so may the
file's own metadata; absent keys mean upstream's values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from spikegpt_neuro.converters.checkpoint import (
    Options,
    RawTensor,
    Reader,
    Statement,
    build,
    check_readable,
)
from spikegpt_neuro.converters.mapped_file import Mappings
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.model.spikegpt import SpikeGPT

FORMAT = "safetensors"
WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
HEADER_LENGTH_BYTES = 8
BFLOAT16 = "BF16"
STORED_AS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", BFLOAT16: "<u2"}


def matches(path: Path) -> bool:
    """Whether ``path`` is a directory with weights or a file called ``*.safetensors``."""
    return path.suffix == ".safetensors" if path.is_file() else (path / WEIGHTS_FILE).is_file()


def read(path: Path, vocab: Path | None = None) -> SpikeGPT:
    """Read a checkpoint directory or a bare safetensors file."""
    folder = path if path.is_dir() else path.parent
    weights = folder / WEIGHTS_FILE if path.is_dir() else path
    raw, metadata = _raw_tensors(weights)
    stated = (Statement(f"{weights}: metadata", metadata, "metadata"),)
    return build(path, FORMAT, weights, raw, options=Options(), vocab=vocab, stated=stated)


def _raw_tensors(path: Path) -> tuple[dict[str, RawTensor], dict[str, Any]]:
    """Its tensors, and its metadata: texts, taken as JSON where they are."""
    check_readable(path)
    try:
        with safe_open(path, framework="numpy"):  # checks lengths, offsets and overlaps
            pass
    except (SafetensorError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UnsupportedInput(f"{path}: damaged safetensors file: {reason}") from error
    with path.open("rb") as file:
        length = int.from_bytes(file.read(HEADER_LENGTH_BYTES), "little")
        header = json.loads(file.read(length))
    data = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))[HEADER_LENGTH_BYTES + length :]
    metadata = {key: _value_of(text) for key, text in header.pop("__metadata__", {}).items()}
    mappings = Mappings.of(path)
    raw = {name: _raw_tensor(name, entry, data, path) for name, entry in header.items()}
    held = {name: replace(t, mapped=mappings.hold(t.array)) for name, t in raw.items()}
    return held, metadata


def _value_of(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _raw_tensor(
    name: str, entry: Mapping[str, Any], data: NDArray[np.uint8], path: Path
) -> RawTensor:
    stored_as = STORED_AS.get(entry["dtype"])
    if stored_as is None:
        raise UnsupportedInput(
            f"{path}: {name} is {entry['dtype']}, expected one of {', '.join(STORED_AS)}"
        )
    start, end = entry["data_offsets"]
    array = data[start:end].view(stored_as).reshape(entry["shape"])
    return RawTensor(array, is_bfloat16=entry["dtype"] == BFLOAT16)


READER = Reader(FORMAT, matches, read)
