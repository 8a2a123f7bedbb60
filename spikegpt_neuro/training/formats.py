"""Number formats that training imitates: those that ``convert`` will choose."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Events:
    """Payloads of a population: real value of one ``unit`` (0: not rounded), ``low`` to ``high``."""

    unit: float = 0.0
    low: int = 0
    high: int = 0
