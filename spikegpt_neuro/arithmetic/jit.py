"""Compilation of integer kernels: numba, cached on disk beside the source.

numba's cache forgets a kernel when its own file changes, but not when a function changes that it
calls from another file: it would go on computing the old integers. Here a cached kernel is valid
only for the very sources of all rooms that kernels call each other in.

The undecorated function stays reachable as ``kernel.py_func``: the tests run it on Python's
unbounded integers to show that nothing overflows. The first compilation of a process is
logged, since it makes the first run after an installation slow.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit
from numba.core import event

Kernel = TypeVar("Kernel", bound=Callable[..., object])

LOG = logging.getLogger(__name__)
ARITHMETIC = Path(__file__).parent
PACKAGES = ("spikegpt_neuro", "backends", "converters")  # as they lie in the source tree
COMPILE_EVENT = "numba:compile"  # not sent for code that the cache on disk already has


def kernel(function: Kernel) -> Kernel:
    """Compile ``function`` when it is first called; later processes load the cached code."""
    compiled = njit(cache=True, nogil=True)(function)
    bind_cache_to_sources(compiled)
    return cast(Kernel, compiled)


def bind_cache_to_sources(compiled: Any) -> None:
    """Make a cached dispatcher's code on disk valid for these sources only."""
    here = room_of(Path(compiled.py_func.__code__.co_filename))
    rooms = {here, ARITHMETIC, ARITHMETIC.parent / "neurons"}
    file = compiled._cache._cache_file
    file._source_stamp = (file._source_stamp, *map(fingerprint, sorted(rooms)))
    file._load_index = partial(_index_or_nothing, file._load_index)


def _index_or_nothing(load_index: Callable[[], dict[Any, Any]]) -> dict[Any, Any]:
    """What the cache on disk has; nothing where another version or a crash left it unreadable."""
    try:
        return load_index()
    except Exception:
        return {}


def room_of(source: Path) -> Path:
    """The directory right under one of the house's packages; a stranger's own directory."""
    inside = [room for room in source.parents if room.parent.name in PACKAGES]
    return inside[0] if inside else source.parent


@cache
def fingerprint(room: Path) -> str:
    """Checksum of the Python sources in a directory and those below it."""
    digest = hashlib.sha256()
    for source in sorted(room.rglob("*.py")):
        digest.update(str(source.relative_to(room)).encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()


class _FirstCompilation(event.Listener):
    """Says once per process that kernels are being compiled."""

    def on_start(self, event: event.Event) -> None:
        name = event.data["dispatcher"].py_func.__module__
        if name.startswith("spikegpt_neuro") and not self.said:
            LOG.info("compiling kernels for this machine; later runs load them from disk")
            self.said = True

    def on_end(self, event: event.Event) -> None:
        """Nothing to say."""

    said = False


event.register(COMPILE_EVENT, _FirstCompilation())  # type: ignore[no-untyped-call]
