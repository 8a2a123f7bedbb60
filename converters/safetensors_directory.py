"""A directory of ``config.json`` and ``model.safetensors``, shards, or one ``.safetensors`` file.

The format is :mod:`~spikegpt_neuro.safetensors_file`'s.

``config.json`` may hold ``lif_tau``, ``lif_threshold``, ``lif_reset``, ``decay_input``,
``spike_embedding``, ``spike_input``, ``pruned``, ``n_layer``, ``n_embd`` and ``vocab_size``, and so
may the files' own metadata; absent keys mean upstream's values.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

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
from spikegpt_neuro.safetensors_file import (
    LENGTH_BYTES,
    Entry,
    SafetensorsFile,
    open_safetensors,
)

FORMAT = "safetensors"
SUFFIX = ".safetensors"
BFLOAT16 = "BF16"
STORED_AS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", BFLOAT16: "<u2"}


def matches(path: Path) -> bool:
    """Whether ``path`` is called ``*.safetensors``, or begins like such a file."""
    if not path.is_file():
        return False
    if path.suffix == SUFFIX:
        return True
    with path.open("rb") as file:
        head = file.read(LENGTH_BYTES + 1)
    length = int.from_bytes(head[:LENGTH_BYTES], "little")
    return head[LENGTH_BYTES:] == b"{" and length < path.stat().st_size


def read(path: Path, vocab: Path | None = None) -> SpikeGPT:
    """Read a checkpoint directory, shards or a bare safetensors file."""
    source = locate(path)
    raw = joined({file: _entries(file) for file in source.files}, source.path)
    return build(source.path, FORMAT, source.files, raw, options=Options(), vocab=vocab)


def _entries(path: Path) -> Entries:
    """The tensors of one file."""
    check_readable(path)
    file = open_safetensors(path)
    mappings = Mappings.of(path)
    openers = {
        printable(name): partial(_opened, printable(name), entry, file, mappings, path)
        for name, entry in file.entries.items()
    }
    return Entries(openers, settings={key: _value_of(text) for key, text in file.metadata.items()})


def _value_of(text: str) -> Any:
    """Metadata are texts; one that is JSON stands for its value."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _opened(
    name: str, entry: Entry, file: SafetensorsFile, mappings: Mappings, path: Path
) -> RawTensor:
    """A tensor as a view of the mapped file."""
    stored_as = STORED_AS.get(entry.dtype)
    if stored_as is None:
        raise UnsupportedInput(
            f"{path}: {name} is {entry.dtype}, expected one of {', '.join(STORED_AS)}"
        )
    check_dimensions(entry.shape, f"{path}: {name}")
    array = file.bytes_of(entry).view(stored_as).reshape(entry.shape)
    return RawTensor(array, entry.dtype == BFLOAT16, mapped=mappings.hold(array))


READER = Reader(FORMAT, matches, read)
