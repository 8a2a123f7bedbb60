"""Quantities as a person reads them: three significant digits and a prefix of the unit."""

from __future__ import annotations

import math

PREFIXES = (
    (1e12, "T"),
    (1e9, "G"),
    (1e6, "M"),
    (1e3, "k"),
    (1.0, ""),
    (1e-3, "m"),
    (1e-6, "µ"),
    (1e-9, "n"),
    (1e-12, "p"),
    (1e-15, "f"),
)


def digits(value: float, significant: int = 3) -> str:
    """``value`` with at least so many significant digits, no exponent: 0.0123, 1.23, 12,345."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "unbounded"
    exponent = int(f"{value:.{significant - 1}e}".split("e")[1])  # of the rounded value
    return f"{value:,.{max(0, significant - 1 - exponent)}f}"


def prefix_for(value: float) -> tuple[float, str] | None:
    """Factor and prefix of the unit that suits ``value``; None for 0 and what is too small.

    999.6 shows as 1,000: the next prefix is better.
    """
    return next((pair for pair in PREFIXES if abs(value) >= pair[0] * 0.9995), None)


def scaled(value: float, unit: str = "", *, space: str = " ") -> str:
    """A quantity with a prefix of the unit: ``3.20 mJ``, ``1.44 M``; ``space`` parts the two."""
    if value == 0 or not math.isfinite(value):
        return joined(digits(value), unit, space)
    if (found := prefix_for(value)) is None:
        return joined(f"{value:.2e}", unit, space)
    factor, prefix = found
    return joined(digits(value / factor), prefix + unit, space)


def mark(value: float, unit: str = "", *, space: str = " ") -> str:
    """A round number on an axis: ``50 k``, ``1 nJ``; 0 alone where there is no unit."""
    factor, prefix = prefix_for(value) or (1.0, "")
    return joined(f"{value / factor:.6g}", prefix + unit, space)


def joined(number: str, unit: str, space: str = " ") -> str:
    """A number and its unit, if it has one."""
    return f"{number}{space}{unit}" if unit else number
