"""Compilation of integer kernels: numba, cached on disk beside the source.

The undecorated function stays reachable as ``kernel.py_func``: the tests run it on Python's
unbounded integers to show that nothing overflows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

Kernel = TypeVar("Kernel", bound=Callable[..., object])


def kernel(function: Kernel) -> Kernel:
    """Compile ``function`` when it is first called; later processes load the cached code."""
    return cast(Kernel, njit(cache=True, nogil=True)(function))
