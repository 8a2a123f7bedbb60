"""Compilation of integer kernels: numba, cached on disk beside the source.

The undecorated function stays reachable as ``kernel.py_func``: the tests run it on Python's
unbounded integers to show that nothing overflows. The first compilation of a process is
logged, since it makes the first run after an installation slow.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit
from numba.core import event

Kernel = TypeVar("Kernel", bound=Callable[..., object])

LOG = logging.getLogger(__name__)
COMPILE_EVENT = "numba:compile"  # not sent for code that the cache on disk already has


def kernel(function: Kernel) -> Kernel:
    """Compile ``function`` when it is first called; later processes load the cached code."""
    return cast(Kernel, njit(cache=True, nogil=True)(function))


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
