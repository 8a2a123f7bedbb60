"""Compiled kernels on disk: one file for each kernel, signature, processor and version of sources.

The name of a file tells for what its code was compiled, and its first bytes are the checksum of the
others: what is damaged, cut or empty is compiled anew. Files are written whole or not at all. Where
no folder can be written, kernels are compiled in memory, and one remark says so. Nothing that goes
wrong here ends a run: the cache only saves time.

Folders are those of numba: ``NUMBA_CACHE_DIR``, ``__pycache__`` beside the sources, and the user's
own. The first one that can be written is used.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import llvmlite
import numba
from numba.core import caching, compiler, config
from numba.core.registry import cpu_target
from numba.core.serialize import dumps
from numba.misc.appdirs import AppDirs

LOG = logging.getLogger(__name__)
SUFFIX = ".nbc"
ABI = f"py{sys.version_info[0]}{sys.version_info[1]}{getattr(sys, 'abiflags', '')}"
CHECKSUM_BYTES = hashlib.sha256().digest_size
PROBE = bytes(1 << 16)  # about a kernel: a full disk still takes an empty file
SHORT = 16  # characters of a checksum that stand in a file's name
IN_MEMORY = "kernels that are not cached are compiled in memory, in every process anew: %s; %s"
REMEDY = "NUMBA_CACHE_DIR names a folder that can be"

# numba declares no types of these
code: Any = compiler
settings: Any = config
directories: Any = AppDirs
dumped: Any = dumps


@dataclass(frozen=True)
class Place:
    """A ``folder`` for compiled kernels, and what a person knows it by.

    ``problem``  why it cannot be written; None: it can be.
    """

    shown: Path
    folder: Path
    problem: str | None = None


@dataclass(frozen=True)
class Shelf:
    """Where the kernels of one folder of sources are kept.

    ``unusable``  the places that cannot be written.
    ``place``     the first one that can; None: kernels are only read, from the others.
    ``owners``    users whose files are trusted: the one of the sources, of this process, and root.
    """

    unusable: tuple[Place, ...]
    place: Place | None
    owners: frozenset[int]

    @property
    def places(self) -> tuple[Place, ...]:
        """Where kernels are looked for."""
        return self.unusable if self.place is None else (self.place,)

    @property
    def problem(self) -> str | None:
        """What keeps kernels from being kept, or from where ``NUMBA_CACHE_DIR`` says; and why."""
        if not self.unusable or (self.place is not None and not settings.CACHE_DIR):
            return None
        where = ", ".join(f"{place.shown} ({place.problem})" for place in self.unusable)
        return f"{where} cannot be written"


def candidates(sources: Path) -> Iterator[Place]:
    """Where kernels of the files in ``sources`` may be kept, in numba's order."""
    own = f"{sources.name}_{hashlib.sha256(str(sources).encode()).hexdigest()[:SHORT]}"
    beside, users = sources / "__pycache__", Path(directories("numba", False).user_cache_dir)
    if settings.CACHE_DIR:
        yield Place(Path(settings.CACHE_DIR), Path(settings.CACHE_DIR, own))
    yield Place(beside, beside)
    yield Place(users, users / own)


@cache
def shelf_of(sources: Path) -> Shelf:
    """The shelf of the files in ``sources``; the folder is made if it is not there."""
    owners = frozenset({0, os.geteuid(), sources.stat().st_uid})
    unusable: list[Place] = []
    for place in candidates(sources):
        problem = _why_not(place.folder)
        if problem is None:
            return Shelf(tuple(unusable), place, owners)
        unusable.append(replace(place, problem=problem))
    return Shelf(tuple(unusable), None, owners)


def processor() -> str:
    """The processor that numba compiles for, as LLVM names it."""
    _, name, _ = cpu_target.target_context.codegen().magic_tuple()
    return str(name)


def _why_not(folder: Path) -> str | None:
    """What keeps a file from being written to ``folder``; None: nothing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(PROBE)
    except OSError as error:
        return error.strerror or str(error)
    return None


class Remark:
    """A line of the log that a process says once."""

    def __init__(self) -> None:
        self.said = False

    def say(self, text: str, *values: object) -> None:
        if not self.said:
            self.said = True
            LOG.info(text, *values)


NOT_KEPT = Remark()
"""That kernels are compiled in memory, or kept elsewhere than asked for."""


class KernelCache(caching._Cache):
    """The files of one kernel; ``stamp``: checksum of all sources that its code comes from."""

    def __init__(self, function: FunctionType, stamp: str) -> None:
        source = Path(function.__code__.co_filename)
        name = function.__qualname__.replace("<", "").replace(">", "")
        self._function = function
        self._sources = source.absolute().parent
        self._stem = f"{source.stem}.{name}.{ABI}"
        self._stamp = stamp[:SHORT]

    @property
    def cache_path(self) -> str | None:
        """The folder in which this kernel is kept."""
        folder = self._folder
        return None if folder is None else str(folder)

    @property
    def _folder(self) -> Path | None:
        place = shelf_of(self._sources).place
        return None if place is None else place.folder

    def load_overload(self, signature: Any, target: Any) -> Any:
        """The compiled code for ``signature``, or None."""
        target.refresh()
        shelf = shelf_of(self._sources)
        if shelf.problem is not None:
            _say_what_is_wrong(shelf)
        for place in shelf.places:
            path = place.folder / self._name(signature, target.codegen())
            with suppress(Exception):  # whatever is wrong with a file, it can be compiled
                content = _content(path, shelf.owners)
                if content is not None:
                    kept = pickle.loads(content)  # noqa: S301 - as much ours as the sources
                    return code.CompileResult._rebuild(target, *kept)
        return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep the code that was compiled for ``signature``."""
        folder = self._folder
        if folder is None:
            return
        if result.lifted or result.library.has_dynamic_globals:
            LOG.debug("%s refers to what lies in memory: it cannot be kept", self._stem)
            return
        path = folder / self._name(signature, result.codegen)
        try:
            _write(path, dumped(result._reduce()))
        except Exception as error:
            reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            NOT_KEPT.say(IN_MEMORY, f"{folder} ({reason}) cannot be written", REMEDY)
            return
        self._remove_those_of_other_sources(folder)

    def enable(self) -> None:
        """It always is."""

    def disable(self) -> None:
        """It never is."""

    def flush(self) -> None:
        """Forget everything."""
        folder = self._folder
        for path in [] if folder is None else folder.glob(f"{self._stem}.*"):
            path.unlink(missing_ok=True)

    def _name(self, signature: Any, codegen: Any) -> str:
        """Stem, sources, and whatever else the code depends on: versions, processor, signature."""
        body = self._function.__code__
        cells = [cell.cell_contents for cell in self._function.__closure__ or ()]
        depends = (
            (numba.__version__, llvmlite.__version__, codegen.magic_tuple()),
            (settings.OPT, settings.LOOP_VECTORIZE, settings.SLP_VECTORIZE, settings.BOUNDSCHECK),
            (settings.DEBUGINFO_DEFAULT, settings.ENABLE_AVX),
            (body.co_firstlineno, body.co_code, dumped(cells) if cells else b""),
            str(signature),
        )
        key = hashlib.sha256(repr(depends).encode()).hexdigest()
        return f"{self._stem}.{self._stamp}.{key[: 2 * SHORT]}{SUFFIX}"

    def _remove_those_of_other_sources(self, folder: Path) -> None:
        for path in folder.glob(f"{self._stem}.*"):
            if not path.name.startswith(f"{self._stem}.{self._stamp}."):
                with suppress(OSError):
                    path.unlink()


def _say_what_is_wrong(shelf: Shelf) -> None:
    if shelf.place is None:
        NOT_KEPT.say(IN_MEMORY, shelf.problem, REMEDY)
    else:
        NOT_KEPT.say("compiled kernels are kept in %s: %s", shelf.place.shown, shelf.problem)


def _content(path: Path, owners: frozenset[int]) -> bytes | None:
    """What a file keeps; None where it is damaged or could have been written by somebody else."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_uid not in owners:
                NOT_KEPT.say("%s belongs to another user: it is compiled anew", path)
                return None
            kept = file.read()
    except OSError:
        return None
    checksum, content = kept[:CHECKSUM_BYTES], kept[CHECKSUM_BYTES:]
    return content if hashlib.sha256(content).digest() == checksum else None


def _write(path: Path, content: bytes) -> None:
    """The file with its checksum, whole or not at all."""
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}")  # another machine may share it
    try:
        partial.write_bytes(hashlib.sha256(content).digest() + content)
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
