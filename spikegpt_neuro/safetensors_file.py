"""A safetensors file: what its header says of the tensors, and their bytes, mapped into memory.

The file is the header's length (8 bytes, little-endian), the header (JSON), the data. The
``safetensors`` package checks lengths, offsets and overlaps; what else it lets through (entries in
another form, a name that stands twice) is refused here. It is not asked for the tensors, since
numpy has no bfloat16 for it to give.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from spikegpt_neuro.documents import converted
from spikegpt_neuro.errors import UnsupportedInput

LENGTH_BYTES = 8
METADATA = "__metadata__"
REASON_CHARACTERS = 120
COPY_AGAIN = "copy or download it again"


@dataclass(frozen=True)
class Entry:
    """What the header says of a tensor; ``data_offsets`` count from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


@dataclass(frozen=True)
class SafetensorsFile:
    """A checked file; ``data``: the bytes after the header."""

    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]
    data: NDArray[np.uint8]

    def bytes_of(self, entry: Entry) -> NDArray[np.uint8]:
        """A tensor's bytes, as a view."""
        begin, end = entry.data_offsets
        return self.data[begin:end]


def open_safetensors(path: Path) -> SafetensorsFile:
    """Check and map a file; raises :class:`UnsupportedInput`."""
    try:
        with safe_open(path, framework="numpy"):
            pass
        with path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
            header = _header(file.read(length), path)
        data = np.asarray(np.memmap(path, np.uint8, mode="r"))[LENGTH_BYTES + length :]
    except (SafetensorError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:REASON_CHARACTERS]
        raise UnsupportedInput(f"{path}: damaged safetensors file: {reason}") from error
    metadata = header.pop(METADATA, None) or {}
    entries = converted(header, dict[str, Entry], where=str(path), remedy=COPY_AGAIN)
    return SafetensorsFile(entries, metadata, data)


def _header(text: bytes, path: Path) -> dict[str, Any]:
    """The header's values; a name that stands twice is an error."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
            raise UnsupportedInput(f"{path}: {twice[:200]} is stored twice in its header")
        return found

    header: dict[str, Any] = json.loads(text, object_pairs_hook=once)
    return header
