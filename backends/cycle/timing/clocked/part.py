"""Parts of a kernel: written as functions, compiled as if they were written into it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Part = TypeVar("Part", bound=Callable[..., object])

# Counting references to the arrays at every call would take longer than most parts do. A kernel's
# caller holds them while it runs, and parts make none of their own.
OPTIONS: dict[str, Any] = {"forceinline": True, "_nrt": False}

Records = Any
"""An array of records: NumPy's type of it does not tell of their fields."""


def part(function: Part) -> Part:
    """Compile ``function`` into each kernel that calls it."""
    return cast(Part, njit(nogil=True, **OPTIONS)(function))
