"""Files: checksums, and directories that appear whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.errors import UnsupportedInput

BLOCK_BYTES = 1 << 20
SAFETENSORS_TYPES = {"i1": "I8", "u1": "U8", "i2": "I16", "i4": "I32"}  # all little-endian


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def check_output_directory(path: Path, force: bool, is_ours: Callable[[Path], bool]) -> None:
    """Raise unless a directory may be written at ``path``: before any long work.

    An existing one is replaced only with ``force``, and only if ``is_ours`` says that it holds
    what we wrote (an empty directory is nobody's).
    """
    if path.is_symlink() or path.exists():
        if not path.is_dir():
            raise UnsupportedInput(f"{path} exists and is not a directory; choose another output")
        if not force:
            raise UnsupportedInput(f"{path} exists; choose another output or pass --force")
        if any(path.iterdir()) and not is_ours(path):
            raise UnsupportedInput(f"{path} holds something else than an artifact; not replaced")
    _check_parent(path)


def check_output_file(path: Path, force: bool) -> None:
    """Raise unless a file may be written at ``path``: before any long work."""
    if path.is_dir():
        raise UnsupportedInput(f"{path} is a directory; choose another output")
    if (path.exists() or path.is_symlink()) and not force:
        raise UnsupportedInput(f"{path} exists; choose another output or pass --force")
    _check_parent(path)


def _check_parent(path: Path) -> None:
    parent = path.resolve().parent
    if not parent.is_dir():
        raise UnsupportedInput(f"{parent} does not exist; create it first")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UnsupportedInput(f"{parent} cannot be written; choose another output")


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """A temporary directory beside ``path`` that takes its name when the body succeeds.

    What was at ``path`` stays until then, and stays for good if the body raises.
    """
    parent = path.resolve().parent
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=parent))
    except OSError as error:
        raise UnsupportedInput(f"{parent} cannot be written: {error.strerror}") from error
    try:
        yield temporary
        _take_place(temporary, path)
    except OSError as error:
        raise UnsupportedInput(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _take_place(temporary: Path, path: Path) -> None:
    temporary.chmod(0o777 & ~umask())
    if not path.exists():
        temporary.rename(path)
        return
    replaced = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=temporary.parent))
    path.rename(replaced / path.name)
    temporary.rename(path)
    shutil.rmtree(replaced, ignore_errors=True)


def umask() -> int:
    """The process's file mode creation mask."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` to ``path``; the file appears whole or stays as it was."""
    parent = path.resolve().parent
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=parent)
    except OSError as error:
        raise UnsupportedInput(f"{path} cannot be written: {error.strerror}") from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.chmod(0o666 & ~umask())
        temporary.replace(path)
    except OSError as error:
        raise UnsupportedInput(f"{path} cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_tensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write a safetensors file, one tensor after the other.

    The format (a length, a JSON header, the bytes) is the library's; its writer would hold a
    second copy of all tensors in memory.
    """
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.nbytes
        kind = SAFETENSORS_TYPES[tensor.dtype.str[1:]]
        header[name] = {"dtype": kind, "shape": tensor.shape, "data_offsets": [begin, end]}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for name in tensors:
            np.ascontiguousarray(tensors[name]).tofile(file)
