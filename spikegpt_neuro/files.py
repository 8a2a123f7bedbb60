"""Files: checksums, and files and directories that appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.errors import CannotWrite
from spikegpt_neuro.renames import put, replace_directory
from spikegpt_neuro.workplace import NEW, OLD, note_data, sweep, workplace

Block = bytes | memoryview

BLOCK_BYTES = 1 << 20
DATA_SUFFIXES = (".data", ".1.data")
"""Beside a model: the second one is for a new model as long as the old one has the first."""
WITH_DATA = (".onnx",)
"""Files that may keep a part of themselves in a data file."""
STREAMS = re.compile(r"/dev/(std(in|out|err)|fd/\d+)$|/proc/[^/]+/fd/\d+$")
OCTAL = re.compile(rb"\\([0-7]{3})")
REMEDIES = {
    errno.ENOSPC: "free space there or choose another output",
    errno.EDQUOT: "free space there or choose another output",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.ENAMETOOLONG: "choose a shorter name",
}
SAFETENSORS_TYPES = {"i1": "I8", "u1": "U8", "i2": "I16", "i4": "I32", "f4": "F32"}
"""All little-endian."""


def sha256_of(*paths: Path) -> str:
    """Hexadecimal sha256 of a file's bytes, or of those of several, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()


def readable(name: str) -> str:
    """A file's name as text that any document can hold: bytes that are no UTF-8 as ``\\xff``."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode("utf-8", "backslashreplace")
    return name


def check_output_directory(path: Path, force: bool, is_ours: Callable[[Path], bool]) -> None:
    """Raise unless a directory may be written at ``path``: before any long work.

    An existing one is replaced only with ``force``, and only if ``is_ours`` says that it holds
    what we wrote (an empty directory may be replaced, too). A link is followed and stays. What a
    process that died left beside ``path`` is removed.
    """
    with _refusals(path):
        target = output_target(path)
        if target.exists():
            if not target.is_dir():
                raise CannotWrite(f"{path} exists and is not a directory; choose another output")
            _check_no_mount(path, target, "choose a directory in it")
            if not force:
                raise CannotWrite(f"{path} exists; choose another output or pass force=True")
            if any(target.iterdir()) and not is_ours(target):
                raise CannotWrite(f"{path} holds something else than an artifact; not replaced")
        elif path.is_symlink() and not force:
            raise CannotWrite(f"{path} exists; choose another output or pass force=True")
        _try(target)


def check_output_file(path: Path, force: bool) -> None:
    """Raise unless a file may be written at ``path``: before any long work.

    A link is followed and stays. What a process that died left beside ``path`` is removed.
    """
    with _refusals(path):
        target = output_target(path)
        if target.is_dir():
            raise CannotWrite(f"{path} is a directory; choose another output")
        if target.exists():
            _check_no_mount(path, target, "choose another output")
        if (target.exists() or path.is_symlink()) and not force:
            raise CannotWrite(f"{path} exists; choose another output or pass force=True")
        _try(target)


def output_target(path: Path) -> Path:
    """Where ``path`` leads: the name that an output gets in the end.

    What processes that died left beside it is removed. Raises :class:`CannotWrite` for streams and
    devices, and where no output can be.
    """
    if str(path) == "-" or STREAMS.match(os.path.abspath(path)):
        raise CannotWrite(f"{path} is a stream; an output is a file or a directory, name one")
    target = path.resolve()
    if target.is_symlink():
        raise CannotWrite(f"{path} is a link to itself; choose another output")
    if target.exists() and not (target.is_dir() or target.is_file()):
        raise CannotWrite(f"{path} is a device or a pipe; name a file or a directory")
    if not target.parent.exists():
        raise CannotWrite(f"{target.parent} does not exist; create it first")
    if not target.parent.is_dir():
        raise CannotWrite(f"{target.parent} is not a directory; choose another output")
    sweep(target.parent)
    return target


def _check_no_mount(path: Path, target: Path, remedy: str) -> None:
    if str(target) in _mount_points() or os.path.ismount(target):
        raise CannotWrite(f"{path} is a mount point, which cannot be replaced; {remedy}")


def _mount_points() -> set[str]:
    """Every place where something is mounted, single files among them."""
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return set()
    names = (line.split()[4] for line in lines)
    return {os.fsdecode(OCTAL.sub(lambda f: bytes([int(f[1], 8)]), name)) for name in names}


def _try(target: Path) -> None:
    """Begin an output and leave it: permissions, quotas and the length of names show at once."""
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise CannotWrite(f"{target.parent} cannot be written; choose another output")
    if len(os.fsencode(target.name)) > os.pathconf(target.parent, "PC_NAME_MAX"):
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    with workplace(target):
        pass


@contextmanager
def atomic_directory(path: Path, *, force: bool | None = None) -> Iterator[Path]:
    """A temporary directory that takes ``path``'s name when the body succeeds.

    At every moment ``path`` is what it was before or the whole new directory. If the body raises
    it stays what it was. ``force`` replaces what is there; False raises :class:`CannotWrite` even
    if another process came first at the very end. None replaces what was there at the beginning.
    """
    with _refusals(path):
        target = output_target(path)
        replacing = target.exists() if force is None else force
        with workplace(target) as folder:
            new = folder / NEW
            yield new
            new.chmod(0o777 & ~_umask())
            if replacing:
                replace_directory(new, target, folder / OLD)
            else:
                put(new, target)


@contextmanager
def atomic_file(path: Path, *, force: bool | None = None) -> Iterator[Path]:
    """A path in a temporary directory; what is there takes ``path``'s place if the body succeeds.

    ``force`` is as for :func:`atomic_directory`. A second file, which :func:`data_file` names, goes
    along: it comes to its place first, under a name that the old file does not use, so that no
    model ever stands beside another model's data.
    """
    with _refusals(path):
        target = output_target(path)
        replacing = target.exists() if force is None else force
        with workplace(target) as folder:
            new = folder / NEW / target.name
            yield new
            names = [target.name + suffix for suffix in DATA_SUFFIXES]
            data = [file for file in new.parent.iterdir() if file.name in names]
            former = _data_of(target, data) if replacing else []
            if data or former:
                note_data(folder, data, former)
            for file in data:
                if replacing and target.with_name(file.name).exists():  # not from data_file
                    target.unlink(missing_ok=True)
                _place(file, target.with_name(file.name), replacing)
            _place(new, target, replacing)
            for file in former:
                file.unlink(missing_ok=True)


@contextmanager
def scratch_directory(name: str) -> Iterator[Path]:
    """A temporary directory; if the process is killed, the next one that asks for it removes it."""
    place = Path(tempfile.gettempdir()).resolve() / name
    with ExitStack() as stack:
        with _refusals(place):  # what the caller does in it is the caller's
            folder = stack.enter_context(workplace(place))
        yield folder / NEW


def data_file(new: Path, path: Path) -> Path:
    """Where the data of ``new``, a file of ``atomic_file(path)``, is to be written.

    It has a name that is free beside ``path``; raises :class:`CannotWrite` if none is.
    """
    target = path.resolve()
    for suffix in DATA_SUFFIXES:
        if not os.path.lexists(target.with_name(target.name + suffix)):
            return new.with_name(new.name + suffix)
    names = " and ".join(target.name + suffix for suffix in DATA_SUFFIXES)
    raise CannotWrite(f"{names} exist beside {path}; remove the one that is not in use")


def _data_of(model: Path, new: Sequence[Path]) -> list[Path]:
    """Data files beside ``model`` that it names and that its successor's data do not replace."""
    names = {model.name + suffix for suffix in DATA_SUFFIXES} - {data.name for data in new}
    found = [model.with_name(name) for name in names.intersection(os.listdir(model.parent))]
    if model.suffix not in WITH_DATA or not found or not model.stat().st_size:
        return []
    with (
        model.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        return [data for data in found if content.find(os.fsencode(data.name)) >= 0]


def write_atomically(path: Path, text: str, *, force: bool = True) -> None:
    """Write ``text`` to ``path``; the file appears whole or stays as it was.

    What is no Unicode, as a byte of a file's name that has no meaning, is written ``\\udcff``.
    """
    with (
        atomic_file(path, force=force) as new,
        new.open("w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        file.write(text)


def append(path: Path, text: str) -> None:
    """Add ``text`` to a file; what the system refuses may leave a part of it there."""
    with _refusals(path), path.open("a", encoding="utf-8") as file:
        file.write(text)


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """What the system refuses, in one line; ``path`` as the user gave it."""
    try:
        yield
    except FileExistsError as error:
        raise CannotWrite(
            f"{path} exists, another process wrote it meanwhile; "
            "choose another output or pass force=True"
        ) from error
    except OSError as error:
        raise _refused(path, error) from error
    except CannotWrite as error:  # of a part of it, which has a name that the user never saw
        if isinstance(error.__cause__, OSError):
            raise _refused(path, error.__cause__) from error.__cause__
        raise
    except (RuntimeError, ValueError) as error:  # a circle of links, NUL in a name
        if not _is_no_path(path):
            raise
        raise CannotWrite(
            f"{path!s:.200} cannot be written: {error}; choose another name"
        ) from error


def _refused(path: Path, error: OSError) -> CannotWrite:
    remedy = REMEDIES.get(error.errno or 0, "choose another output")
    return CannotWrite(f"{path} cannot be written: {error.strerror or error}; {remedy}")


def _is_no_path(path: Path) -> bool:
    """True if ``path`` itself, not what was done with it, is what Python refuses."""
    try:
        path.resolve()
    except (RuntimeError, ValueError):
        return True
    except OSError:
        return False
    return False


def _place(file: Path, target: Path, replacing: bool) -> None:
    file.chmod(0o666 & ~_umask())
    if replacing:
        file.replace(target)
    else:
        put(file, target)


def _umask() -> int:
    """The process's file mode creation mask."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_tensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write a safetensors file, one tensor after the other."""
    write_blocks(path, tensor_blocks(tensors))


def write_blocks(path: Path, blocks: Iterable[Block]) -> None:
    """Write the bytes of a file, one block after the other."""
    with path.open("wb") as file:
        for block in blocks:
            file.write(block)  # an array's tofile would not say why it failed


def tensor_blocks(
    tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> Iterator[Block]:
    """The bytes of a safetensors file, piece by piece.

    The format (a length, a JSON header, the bytes) is the library's; its writer would hold a
    second copy of all tensors in memory.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.nbytes
        kind = SAFETENSORS_TYPES[tensor.dtype.str[1:]]
        header[name] = {"dtype": kind, "shape": tensor.shape, "data_offsets": [begin, end]}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    yield len(encoded).to_bytes(8, "little") + encoded
    for name in tensors:
        yield np.ascontiguousarray(tensors[name]).data
