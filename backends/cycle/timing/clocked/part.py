"""Parts of a kernel: written as functions, compiled as if they were written into it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

Part = TypeVar("Part", bound=Callable[..., object])

# Counting references to the arrays at every call would take longer than most parts do. A kernel's
# caller holds them while it runs, and parts make none of their own.
OPTIONS: dict[str, Any] = {"forceinline": True, "_nrt": False}

Records = Any
"""An array of records: NumPy's type of it does not tell of their fields."""


def part(function: Part) -> Part:
    """Compile ``function`` into each kernel that calls it."""
    return cast(Part, njit(nogil=True, **OPTIONS)(function))


@part
def at(index: int) -> np.uint64:
    """An index that is not negative: numba need not ask whether it counts from the end."""
    return np.uint64(index)


def _count_below(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
    return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))


# Position of the lowest bit of a word that is not 0: one instruction.
lowest_bit: Any = intrinsic(lambda _context, _word: (types.int64(types.uint64), _count_below))
