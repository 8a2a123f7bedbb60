"""A directory of ``config.json`` and ``model.safetensors``, shards, or one ``.safetensors`` file.

The safetensors format (an 8-byte little-endian header length, a JSON header, the data) is
validated by the ``safetensors`` package; the data is then read through a memory map, since
numpy has no bfloat16 for the package to give.

``config.json`` may hold ``lif_tau``, ``lif_threshold``, ``lif_reset``, ``decay_input``,
``spike_embedding``, ``spike_input``, ``pruned``, ``n_layer``, ``n_embd`` and ``vocab_size``, and so
may the files' own metadata; absent keys mean upstream's values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from spikegpt_neuro.converters.checkpoint import (
    Entries,
    Options,
    RawTensor,
    Reader,
    build,
    check_dimensions,
    check_readable,
    joined,
    printable,
)
from spikegpt_neuro.converters.folder import locate
from spikegpt_neuro.converters.mapped_file import Mappings
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.model.spikegpt import SpikeGPT

FORMAT = "safetensors"
SUFFIX = ".safetensors"
HEADER_LENGTH_BYTES = 8
BFLOAT16 = "BF16"
STORED_AS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", BFLOAT16: "<u2"}


def matches(path: Path) -> bool:
    """Whether ``path`` is called ``*.safetensors``, or begins like such a file."""
    if not path.is_file():
        return False
    if path.suffix == SUFFIX:
        return True
    with path.open("rb") as file:
        head = file.read(HEADER_LENGTH_BYTES + 1)
    length = int.from_bytes(head[:HEADER_LENGTH_BYTES], "little")
    return head[HEADER_LENGTH_BYTES:] == b"{" and length < path.stat().st_size


def read(path: Path, vocab: Path | None = None) -> SpikeGPT:
    """Read a checkpoint directory, shards or a bare safetensors file."""
    source = locate(path)
    raw = joined({file: _entries(file) for file in source.files}, source.path)
    return build(source.path, FORMAT, source.files, raw, options=Options(), vocab=vocab)


def _entries(path: Path) -> Entries:
    """The tensors of one file."""
    check_readable(path)
    try:
        with safe_open(path, framework="numpy"):  # checks lengths, offsets and overlaps
            pass
    except (SafetensorError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UnsupportedInput(f"{path}: damaged safetensors file: {reason}") from error
    with path.open("rb") as file:
        length = int.from_bytes(file.read(HEADER_LENGTH_BYTES), "little")
        header = _header(file.read(length), path)
    data = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))[HEADER_LENGTH_BYTES + length :]
    mappings = Mappings.of(path)
    metadata = {key: _value_of(text) for key, text in header.pop("__metadata__", {}).items()}
    openers = {
        printable(name): partial(_opened, printable(name), entry, data, mappings, path)
        for name, entry in header.items()
    }
    return Entries(openers, settings=metadata)


def _value_of(text: str) -> Any:
    """Metadata are texts; one that is JSON stands for its value."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _header(text: bytes, path: Path) -> dict[str, Any]:
    """Name -> type, shape and place of each tensor; a name that stands twice is an error."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise UnsupportedInput(f"{path}: {printable(twice)} is stored twice in its header")
        return found

    header: dict[str, Any] = json.loads(text, object_pairs_hook=once)
    return header


def _opened(
    name: str,
    entry: Mapping[str, Any],
    data: NDArray[np.uint8],
    mappings: Mappings,
    path: Path,
) -> RawTensor:
    """A tensor as a view of the mapped file."""
    stored_as = STORED_AS.get(entry["dtype"])
    if stored_as is None:
        raise UnsupportedInput(
            f"{path}: {name} is {entry['dtype']}, expected one of {', '.join(STORED_AS)}"
        )
    check_dimensions(entry["shape"], f"{path}: {name}")
    start, end = entry["data_offsets"]
    array = data[start:end].view(stored_as).reshape(entry["shape"])
    return RawTensor(array, entry["dtype"] == BFLOAT16, mapped=mappings.hold(array))


READER = Reader(FORMAT, matches, read)
