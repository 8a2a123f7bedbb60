"""Importing Lava on Python 3.10 to 3.13.

lava-nc 0.10.0 declares Python 3.10. Since 3.11 a dataclass refuses unhashable defaults, and
``lava.magma.compiler.var_model`` has eight such. Its dataclasses get the identity hash while
that module is first imported. One race in its channels is repaired; nothing else changes.
"""

from __future__ import annotations

import dataclasses
import importlib
import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import Any

from spikegpt_neuro.descriptions import Diagnosis
from spikegpt_neuro.errors import MissingBackend

VAR_MODEL = "lava.magma.compiler.var_model"
LAVA_PROCESSES = "lava.magma.runtime.message_infrastructure.multiprocessing"
LAVA_MEMORY = "lava.magma.runtime.message_infrastructure.shared_memory_manager"
INSTALL_3_10 = "pip install lava-nc==0.10.0"
INSTALL_LATER = (
    "pip install numpy scipy networkx asteval scikit-learn && "
    "pip install --ignore-requires-python --no-deps lava-nc==0.10.0"
)


def install_line() -> str:
    """How to install Lava for the running Python."""
    return INSTALL_3_10 if sys.version_info < (3, 11) else INSTALL_LATER


def load_lava() -> None:
    """Import Lava's core; raises :class:`MissingBackend` with the install line."""
    try:
        with _hashable_dataclasses():
            importlib.import_module(VAR_MODEL)
        if LAVA_PROCESSES not in sys.modules:
            # On import it chooses fork, and fails where anything has chosen before, fork included.
            multiprocessing.set_start_method(None, force=True)
        importlib.import_module("lava.magma.runtime.runtime")
        _announce_every_message()
        _reserve_shared_memory()
    except ImportError as error:
        raise MissingBackend(
            f"Lava cannot be imported by {sys.executable} ({error}); "
            f"install it there: {install_line()}"
        ) from error


def _announce_every_message() -> None:
    """Let a port of Lava wake what waits for it at every message.

    As it is, it does so only if no other message was there before: if that one is taken in
    between, the new one is never announced, and the network hangs. Two commands follow each other
    at once where a ``run`` ends and the next one begins: there it happens now and then.
    """
    channels = importlib.import_module("lava.magma.compiler.channels.pypychannel")

    def announce(port: Any, arrived: Any) -> None:
        with suppress(EOFError):
            while arrived.acquire() and not port._done:
                port._queue.put_nowait(0)
                observer = port.observer  # read once: it may be taken away
                if observer is not None:
                    observer()

    channels.CspRecvPort._req_callback = announce


def _reserve_shared_memory() -> None:
    """Let a channel fail where it has no memory, not the process that first writes to it."""
    managers: Any = importlib.import_module(LAVA_MEMORY)
    create = managers.SharedMemoryManager.create_shared_memory

    def reserve(self: Any, size: int) -> Any:
        memory = create(self, size)
        os.posix_fallocate(memory._fd, 0, max(1, size))
        return memory

    if create.__name__ != reserve.__name__:
        managers.SharedMemoryManager.create_shared_memory = reserve


@contextmanager
def _hashable_dataclasses() -> Iterator[None]:
    """Give the dataclasses of ``var_model`` a hash for as long as it is being imported."""
    original = dataclasses.dataclass

    def hashable(cls: Any) -> Any:
        if cls.__module__ == VAR_MODEL and cls.__hash__ is None:
            cls.__hash__ = object.__hash__
        return cls

    def dataclass(cls: Any = None, /, **options: Any) -> Any:
        if cls is not None:
            return hashable(original(cls))
        decorate = original(**options)
        return lambda decorated: hashable(decorate(decorated))

    if VAR_MODEL in sys.modules:
        yield
        return
    dataclasses.dataclass = dataclass
    try:
        yield
    finally:
        dataclasses.dataclass = original


def diagnose() -> Diagnosis:
    """Lava's version if it can be imported, and otherwise how to install it."""
    try:
        load_lava()
    except MissingBackend:
        return Diagnosis({"lava": None}, {"lava": install_line()})
    return Diagnosis({"lava": version("lava-nc")}, {})
