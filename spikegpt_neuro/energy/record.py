"""What every estimator writes: joules by category, with the range that assumptions leave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Category = Literal["synapse", "neuron", "spike", "network", "interchip", "static", "host"]
CATEGORIES: tuple[Category, ...] = (
    "synapse",
    "neuron",
    "spike",
    "network",
    "interchip",
    "static",
    "host",
)


@dataclass(frozen=True)
class Range:
    """A figure and how far it may be off where constants are assumed."""

    value: float = 0.0
    low: float = 0.0
    high: float = 0.0

    @classmethod
    def exactly(cls, value: float) -> Range:
        """A figure without assumptions."""
        return cls(value, value, value)

    def __add__(self, other: Range) -> Range:
        return Range(self.value + other.value, self.low + other.low, self.high + other.high)

    def __mul__(self, factor: float) -> Range:
        return Range(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Estimate:
    """Energy and time of a run, whoever found them.

    ``estimator``      reference, lava, cycle or loihi: where activity and time come from.
    ``accounting``     which rule priced the activity.
    ``joules``         category -> joules over the whole run of ``tokens`` tokens.
    ``by_population``  population -> category -> joules; static and host belong to nobody.
    ``seconds``        the whole run.
    ``by_kind``        kind of constant (measured, assumed, ...) -> joules that rest on it.
    ``constants``      the profile's constants that were used, by key.
    ``not_modelled``   what is left out of the total, in plain words.
    ``is_measured``    True for probes of real hardware; ``raw`` keeps what they said.
    """

    estimator: str
    accounting: str
    hardware: str
    tokens: int
    joules: Mapping[Category, Range]
    seconds: Range
    chips: int
    cores: int
    schedule: str | None = None
    timing: str | None = None
    by_population: Mapping[str, Mapping[Category, Range]] = field(default_factory=dict)
    by_kind: Mapping[str, float] = field(default_factory=dict)
    constants: tuple[str, ...] = ()
    not_modelled: tuple[str, ...] = ()
    is_measured: bool = False
    raw: Mapping[str, Any] = field(default_factory=dict)

    @property
    def total(self) -> Range:
        """Joules of all categories."""
        total = Range()
        for joules in self.joules.values():
            total = total + joules
        return total
