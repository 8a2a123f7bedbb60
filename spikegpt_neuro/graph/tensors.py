"""Tensors of a safetensors file, mapped into memory: read when they are used."""

from __future__ import annotations

import json
import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.files import SAFETENSORS_TYPES

LENGTH_BYTES = 8
DIMENSIONS_MAX = 2
"""Vectors, matrices and tables: no program has more."""
STORED_AS = {name: np.dtype(f"<{code}") for code, name in SAFETENSORS_TYPES.items()}


def map_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors in ``path``, read-only; raises :class:`UnsupportedInput` if it is damaged."""
    try:
        with safe_open(path, framework="numpy"):  # checks lengths, offsets and overlaps
            pass
        with path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
            header = json.loads(file.read(length))
        data = np.asarray(np.memmap(path, np.uint8, mode="r"))[LENGTH_BYTES + length :]
    except (SafetensorError, OSError, ValueError) as error:
        raise UnsupportedInput(f"{path} cannot be read: {error}") from error
    header.pop("__metadata__", None)
    return {name: _tensor(name, entry, data, path) for name, entry in header.items()}


def _tensor(name: str, entry: Any, data: NDArray[np.uint8], path: Path) -> NDArray[Any]:
    if entry["dtype"] not in STORED_AS:
        raise UnsupportedInput(
            f"{path}: {name} is {entry['dtype']}, expected one of {', '.join(STORED_AS)}"
        )
    if len(entry["shape"]) > DIMENSIONS_MAX:
        raise UnsupportedInput(
            f"{path}: {name} has {len(entry['shape'])} dimensions, expected at most "
            f"{DIMENSIONS_MAX}"
        )
    begin, end = entry["data_offsets"]
    values = data[begin:end].view(STORED_AS[entry["dtype"]])
    try:
        return values.reshape(entry["shape"])
    except (ValueError, OverflowError) as error:  # no values, in a shape beyond any memory
        raise UnsupportedInput(f"{path}: {name} has shape {entry['shape']}: {error}") from error


def release(array: NDArray[Any]) -> None:
    """Give back the memory of a mapped ``array``; it is read again when it is used.

    Nothing happens to any other array.
    """
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if not isinstance(owner, mmap.mmap):
        return
    start = array.ctypes.data - np.frombuffer(owner, np.uint8).ctypes.data
    begin = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (start + array.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if begin < end:
        owner.madvise(mmap.MADV_DONTNEED, begin, end - begin)
