"""Numbers as a person reads them."""

from __future__ import annotations

import math

from spikegpt_neuro.energy.record import Range

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_SMALL = ((1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f"))


def _joined(number: str, unit: str) -> str:
    """Number and unit, which no line break parts."""
    return f"{number}\u00a0{unit}" if unit else number


def digits(value: float, significant: int = 3) -> str:
    """``value`` with at least so many significant digits, no exponent: 0.0123, 1.23, 12,345."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "unbounded"
    exponent = int(f"{value:.{significant - 1}e}".split("e")[1])  # of the rounded value
    return f"{value:,.{max(0, significant - 1 - exponent)}f}"


def scaled(value: float, unit: str = "") -> str:
    """A quantity with a prefix of the unit: ``3.20 mJ``, ``1.44 M``."""
    if value == 0 or not math.isfinite(value):
        return _joined(digits(value), unit)
    # 999.6 shows as 1,000: the next prefix is better.
    for factor, prefix in (*_PREFIXES, *_SMALL):
        if abs(value) >= factor * 0.9995:
            return _joined(digits(value / factor), prefix + unit)
    return _joined(f"{value:.2e}", unit)


def mark(value: float, unit: str = "") -> str:
    """A round number on an axis: ``50 k``, ``1 nJ``; 0 alone where there is no unit."""
    for factor, prefix in (*_PREFIXES, *_SMALL):
        if abs(value) >= factor * 0.9995:
            return _joined(f"{value / factor:.6g}", prefix + unit)
    return _joined(f"{value:g}", unit)


def between(value: Range, unit: str = "") -> str:
    """A figure with its range, if it has one: ``3.20 mJ (1.10 mJ to 9.00 mJ)``."""
    text = scaled(value.value, unit)
    if value.low == value.high:
        return text
    return f"{text} ({scaled(value.low, unit)} to {scaled(value.high, unit)})"


def percent(share: float) -> str:
    """A share of 1 as ``12.3 %``."""
    return _joined(f"{100 * share:.1f}", "%")


def ticks(high: float, about: int = 5) -> list[float]:
    """Round positions from 0 to at least ``high``: steps of 1, 2 or 5 times a power of ten."""
    if high <= 0 or not math.isfinite(high):
        return [0.0, 1.0]
    raw = high / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * (1 - 1e-9))
    return [step * k for k in range(math.ceil(high / step - 1e-9) + 1)]


def decades(low: float, high: float) -> list[float]:
    """Powers of ten around ``low`` .. ``high``, both positive."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0**k for k in range(first, max(last, first + 1) + 1)]
