"""Tensors of a safetensors file, mapped into memory: read when they are used."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.files import SAFETENSORS_TYPES
from spikegpt_neuro.safetensors_file import Entry, SafetensorsFile, open_safetensors

DIMENSIONS_MAX = 2
"""Vectors, matrices and tables: no program has more."""
STORED_AS = {
    name: np.dtype(f"<{code}") for code, name in SAFETENSORS_TYPES.items() if code[0] in "iu"
}
"""Integers alone."""


def map_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors in ``path``, read-only; raises :class:`UnsupportedInput` if it is damaged."""
    file = open_safetensors(path)
    return {name: _tensor(name, entry, file, path) for name, entry in file.entries.items()}


def _tensor(name: str, entry: Entry, file: SafetensorsFile, path: Path) -> NDArray[Any]:
    if entry.dtype not in STORED_AS:
        raise UnsupportedInput(
            f"{path}: {name} is {entry.dtype}, expected one of {', '.join(STORED_AS)}"
        )
    if len(entry.shape) > DIMENSIONS_MAX:
        raise UnsupportedInput(
            f"{path}: {name} has {len(entry.shape)} dimensions, expected at most {DIMENSIONS_MAX}"
        )
    values = file.bytes_of(entry).view(STORED_AS[entry.dtype])
    try:
        return values.reshape(entry.shape)
    except (ValueError, OverflowError) as error:  # no values, in a shape beyond any memory
        raise UnsupportedInput(f"{path}: {name} has shape {entry.shape}: {error}") from error


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
