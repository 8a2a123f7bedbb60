"""What every estimator writes: joules by category, with the range that assumptions leave.

The JSON form (:func:`to_json`, :func:`from_json`) keeps every field under its own name; a
:class:`Range` becomes ``{"value": ..., "low": ..., "high": ...}``. All figures are of the whole
run of ``tokens`` tokens, in joules and seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from spikegpt_neuro.documents import converted
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.hardware import events

WHERE = "energy record"
COUNT_MAX = 1 << 62
FIGURE_MAX = 1e100
"""Joules and seconds: whatever is made of such figures stays finite."""
Category = str
"""A name of :data:`CATEGORIES`."""

CATEGORIES: tuple[Category, ...] = tuple(c.name for c in events.CATEGORIES)
SHARED: tuple[Category, ...] = tuple(c.name for c in events.CATEGORIES if c.is_shared)
"""Categories that belong to no population."""


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
    """Energy and time of a run, from any estimator.

    A run is priced in the steady state: ``joules`` and ``seconds`` divided by ``tokens`` are what
    one more token costs. What a text pays once, the steps in which a pipeline fills, stands
    beside it as ``filling``; falling through has none.

    ``estimator``      reference, lava, cycle or loihi: where activity and time come from.
    ``accounting``     which rule priced the activity.
    ``joules``         category -> joules of ``tokens`` tokens.
    ``seconds``        time of ``tokens`` tokens.
    ``steps``          time steps of ``tokens`` tokens.
    ``is_steady``      False where the run was too short to fill a pipeline: then the figures are
                       of the whole run, filling included.
    ``by_population``  population -> category -> joules; shared categories belong to none.
    ``by_operation``   name of the constant (``synaptic_operation``, ...) -> joules; adds up to
                       the total like ``joules``.
    ``undivided``      joules of the total that no category can claim: what a probe sees at once.
    ``time_assumed``   share of the time that rests on assumed constants; None: not known.
    ``by_kind``        kind of constant (measured, assumed, ...) -> joules that rest on it.
    ``constants``      the profile's constants that were used, by key (``energy.axon_in``).
    ``not_modelled``   what is left out of the total, in plain words.
    ``filling_steps``, ``filling_seconds``, ``filling_joules``  once per text, not in the total.
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
    steps: int = 0
    is_steady: bool = True
    by_population: Mapping[str, Mapping[Category, Range]] = field(default_factory=dict)
    by_operation: Mapping[str, Range] = field(default_factory=dict)
    undivided: Range = Range()
    by_kind: Mapping[str, float] = field(default_factory=dict)
    constants: tuple[str, ...] = ()
    not_modelled: tuple[str, ...] = ()
    time_assumed: float | None = None
    filling_steps: int = 0
    filling_seconds: Range = Range()
    filling_joules: Range = Range()
    is_measured: bool = False
    raw: Mapping[str, Any] = field(default_factory=dict)

    @property
    def total(self) -> Range:
        """Joules of all categories."""
        return added(self.joules.values()) + self.undivided

    @property
    def tokens_per_second(self) -> Range:
        """Throughput in the steady state; the shortest time is the highest rate."""
        rates = (
            self.tokens / seconds if seconds > 0 else math.inf
            for seconds in (self.seconds.value, self.seconds.high, self.seconds.low)
        )
        return Range(*rates)

    def share_of_kind(self, kind: str) -> float:
        """Share of the total that rests on constants of this kind, 0 to 1."""
        return self.by_kind.get(kind, 0.0) / (self.total.value or 1.0)


def added(ranges: Iterable[Range]) -> Range:
    """Sum of any number of ranges."""
    total = Range()
    for each in ranges:
        total = total + each
    return total


def to_json(estimate: Estimate) -> dict[str, Any]:
    """The record as JSON values; :func:`from_json` gives the same record back."""
    content = asdict(estimate)
    content["constants"] = list(estimate.constants)
    content["not_modelled"] = list(estimate.not_modelled)
    return content


def from_json(content: Mapping[str, Any], where: str = WHERE) -> Estimate:
    """A record that :func:`to_json` wrote; ``where`` names it in errors.

    Raises :class:`UnsupportedInput` naming what is missing, not a record's, or no figure of a run.
    """
    found = converted(content, Estimate, where=where, exact=True)
    tables = {"joules": found.joules} | {
        f"by_population.{name}": table for name, table in found.by_population.items()
    }
    for place, table in tables.items():
        if unknown := set(table) - set(CATEGORIES):
            raise UnsupportedInput(
                f"{where}: {place}: no category {min(unknown)}; there are {', '.join(CATEGORIES)}"
            )
    for problem in _problems(found):
        raise UnsupportedInput(f"{where}: {problem}")
    return replace(
        found,
        joules=_in_order(found.joules),
        by_population={name: _in_order(table) for name, table in found.by_population.items()},
    )


def _problems(found: Estimate) -> Iterator[str]:
    """Figures that no run has."""
    least = {"tokens": 1, "chips": 0, "cores": 0, "steps": 0, "filling_steps": 0}
    for name, smallest in least.items():
        if not smallest <= getattr(found, name) <= COUNT_MAX:
            yield f"{name} is {getattr(found, name)}, expected {smallest} to {COUNT_MAX}"
    tables = {"joules": found.joules, "by_operation": found.by_operation} | {
        f"by_population.{name}": table for name, table in found.by_population.items()
    }
    single = ("seconds", "undivided", "filling_seconds", "filling_joules")
    ranges = {name: getattr(found, name) for name in single} | {
        f"{place}.{name}": each for place, table in tables.items() for name, each in table.items()
    }
    for place, each in ranges.items():
        for value in (each.value, each.low, each.high):
            if not 0 <= value <= FIGURE_MAX:  # NaN is neither
                yield f"{place} is {value:g}, expected 0 to {FIGURE_MAX:g}"
        if not each.low <= each.value <= each.high:
            yield f"{place} is {each.value:g}, outside its range {each.low:g} to {each.high:g}"
    if found.seconds.low == 0:
        yield "seconds.low is 0, no run takes no time"
    if found.time_assumed is not None and not 0 <= found.time_assumed <= 1:
        yield f"time_assumed is {found.time_assumed:g}, expected 0 to 1"
    for kind, joules in found.by_kind.items():
        if not 0 <= joules <= FIGURE_MAX:
            yield f"by_kind.{kind} is {joules:g}, expected 0 to {FIGURE_MAX:g}"


def _in_order(table: Mapping[Category, Range]) -> dict[Category, Range]:
    return {name: table[name] for name in CATEGORIES if name in table}
