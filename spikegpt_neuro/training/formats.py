"""Number formats that training imitates: those that ``convert`` will choose."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Events:
    """Payloads of a population: ``low`` to ``high``, one worth ``unit`` (0: not rounded)."""

    unit: float = 0.0
    low: int = 0
    high: int = 0
