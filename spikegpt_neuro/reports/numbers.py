"""Numbers of the report: no line break parts a number from its unit."""

from __future__ import annotations

import math
from functools import partial

from spikegpt_neuro import units
from spikegpt_neuro.energy.record import Range

NO_BREAK = "\u00a0"

scaled = partial(units.scaled, space=NO_BREAK)
mark = partial(units.mark, space=NO_BREAK)


def between(value: Range, unit: str = "") -> str:
    """A figure with its range, if it has one: ``3.20 mJ (1.10 mJ to 9.00 mJ)``."""
    text = scaled(value.value, unit)
    if value.low == value.high:
        return text
    return f"{text} ({scaled(value.low, unit)} to {scaled(value.high, unit)})"


def percent(share: float) -> str:
    """A share of 1 as ``12.3 %``."""
    return units.joined(f"{100 * share:.1f}", "%", NO_BREAK)


def ticks(high: float, about: int = 5) -> list[float]:
    """Round positions from 0 to at least ``high``: steps of 1, 2 or 5 times a power of ten."""
    if high <= 0 or not math.isfinite(high):
        return [0.0, 1.0]
    raw = high / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * (1 - 1e-9))
    return [step * k for k in range(math.ceil(high / step - 1e-9) + 1)]


def ticks_between(low: float, high: float, about: int = 5) -> list[float]:
    """Round positions that hold ``low`` and ``high`` between them, steps as of :func:`ticks`."""
    if not high > low:
        spread = abs(high) / 2 or 1.0
        low, high = low - spread, high + spread
    step = ticks(high - low, about)[1]
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * k for k in range(first, last + 1)]


def decades(low: float, high: float) -> list[float]:
    """Powers of ten around ``low`` .. ``high``, both positive."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0**k for k in range(first, max(last, first + 1) + 1)]
