"""Files: checksums, and files and directories that appear whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.errors import CannotWrite

BLOCK_BYTES = 1 << 20
DATA_SUFFIX = ".data"
SAFETENSORS_TYPES = {"i1": "I8", "u1": "U8", "i2": "I16", "i4": "I32"}  # all little-endian


def sha256_of(*paths: Path) -> str:
    """Hexadecimal sha256 of a file's bytes, or of those of several, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()


def check_output_directory(path: Path, force: bool, is_ours: Callable[[Path], bool]) -> None:
    """Raise unless a directory may be written at ``path``: before any long work.

    An existing one is replaced only with ``force``, and only if ``is_ours`` says that it holds
    what we wrote (an empty directory may be replaced, too).
    """
    if path.is_symlink() or path.exists():
        if not path.is_dir():
            raise CannotWrite(f"{path} exists and is not a directory; choose another output")
        if not force:
            raise CannotWrite(f"{path} exists; choose another output or pass force=True")
        if any(path.iterdir()) and not is_ours(path):
            raise CannotWrite(f"{path} holds something else than an artifact; not replaced")
    _check_parent(path)


def check_output_file(path: Path, force: bool) -> None:
    """Raise unless a file may be written at ``path``: before any long work."""
    if path.is_dir():
        raise CannotWrite(f"{path} is a directory; choose another output")
    if (path.exists() or path.is_symlink()) and not force:
        raise CannotWrite(f"{path} exists; choose another output or pass force=True")
    _check_parent(path)


def _check_parent(path: Path) -> None:
    parent = path.resolve().parent
    if not parent.is_dir():
        raise CannotWrite(f"{parent} does not exist; create it first")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise CannotWrite(f"{parent} cannot be written; choose another output")


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """A temporary directory that takes ``path``'s name when the body succeeds.

    What was at ``path`` stays until then, and stays for good if the body raises.
    """
    with _beside(path) as partial:
        new, old = partial / "new", partial / "old"
        new.mkdir()
        yield new
        new.chmod(0o777 & ~_umask())
        if not path.exists():
            new.rename(path)
            return
        path.rename(old)
        try:
            new.rename(path)
        except OSError:
            old.rename(path)
            raise


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A path in a temporary directory; what is there takes ``path``'s place if the body succeeds.

    A second file of the same name and ``.data`` goes along. It comes first and the old ``path``
    goes before it, so that no model ever stands beside another model's data.
    """
    target = path.resolve()
    with _beside(path) as partial:
        new = partial / target.name
        yield new
        data = new.with_name(new.name + DATA_SUFFIX)
        if data.exists():
            target.unlink(missing_ok=True)
            _move(data, target.with_name(data.name))
        _move(new, target)


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` to ``path``; the file appears whole or stays as it was."""
    with atomic_file(path) as new, new.open("w", encoding="utf-8") as file:
        file.write(text)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A temporary directory on the disk of ``path``; what the disk refuses is ours to say."""
    try:
        with tempfile.TemporaryDirectory(
            prefix=f".{path.name}.",
            suffix=".partial",
            dir=path.resolve().parent,
            ignore_cleanup_errors=True,
        ) as partial:
            yield Path(partial)
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written: {error.strerror or error}") from error


def _move(file: Path, target: Path) -> None:
    file.chmod(0o666 & ~_umask())
    file.replace(target)


def _umask() -> int:
    """The process's file mode creation mask."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


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
