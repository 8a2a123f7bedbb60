r"""Joules: hardware events times the profile's constants, and static power times time.

.. math:: E = \sum_k n_k e_k + (P_{static} + P_{embedded}) \, chips \, t

Every term belongs to one category and rests on the kind of its constant; a term that the profile
gives no constant for is named and left out, never taken as 0 in silence. Static energy rests on the
constants of the time as well as on its power (:func:`kinds_of`). Ranges take all
constants at their low ends, and all at their high ends, together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import reduce
from operator import add

from spikegpt_neuro.energy.events import HardwareEvents
from spikegpt_neuro.energy.record import CATEGORIES, SHARED, Category, Range
from spikegpt_neuro.hardware import events as table
from spikegpt_neuro.hardware.events import EVENTS, timed
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.hardware.schema import KINDS
from spikegpt_neuro.hardware.voltage import scales_of

CATEGORY_OF: Mapping[str, Category] = {event.name: event.category for event in EVENTS}
"""Hardware event -> where its joules belong; its constant is ``energy.`` and its name."""

STATIC = "static_per_chip"
EMBEDDED = "static_embedded_per_chip"
POWERS = (STATIC, EMBEDDED)
"""Powers, which are static energy once they are drawn for a time."""

TIMES = (
    *(f"latency.{name}" for name in timed("needed", "optional")),
    "latency.barrier",
    "latency.step_minimum",
    "bandwidth.tile",
    "bandwidth.intercore",
    "bandwidth.synaptic_memory",
)
TIMES_BETWEEN_CHIPS = (
    *(f"latency.{name}" for name in timed("between chips")),
    "latency.barrier_chips",
    "bandwidth.interchip",
)
"""Constants that the time of a run rests on."""


def category_of(operation: str) -> Category | None:
    """Where the joules of an event or of static power belong; None for a foreign operation."""
    return table.STATIC if operation in POWERS else CATEGORY_OF.get(operation)


@dataclass(frozen=True)
class Time:
    """Seconds of a run, and the latencies and bandwidths of the profile that they rest on.

    ``assumed``  share of them that rests on assumed constants, 0 to 1; None: not known.
    """

    seconds: Range
    constants: tuple[str, ...] = ()
    assumed: float | None = None


@dataclass(frozen=True)
class Price:
    """What a run costs; the fields are those of :class:`~spikegpt_neuro.energy.record.Estimate`."""

    joules: Mapping[Category, Range]
    by_population: Mapping[str, Mapping[Category, Range]]
    by_operation: Mapping[str, Range]
    by_kind: Mapping[str, float]
    constants: tuple[str, ...]
    not_modelled: tuple[str, ...]


def price(events: Mapping[str, HardwareEvents], time: Time, chips: int, profile: Profile) -> Price:
    """Price the events of every population, and the static power of ``chips`` chips."""
    total = reduce(add, events.values(), HardwareEvents())
    by_operation = _operations(total, profile)
    by_operation |= _static(time.seconds, chips, profile)
    joules = _by_category(by_operation)
    return Price(
        joules=joules,
        by_population={
            name: {
                category: value
                for category, value in _by_category(_operations(own, profile)).items()
                if category not in SHARED
            }
            for name, own in events.items()
        },
        by_operation=by_operation,
        by_kind=_by_kind(by_operation, time, profile),
        constants=tuple(sorted({*map(_key, by_operation), *time.constants})),
        not_modelled=tuple(_left_out(total, profile)),
    )


def time_constants(profile: Profile, chips: int) -> tuple[str, ...]:
    """Keys of the constants of ``profile`` that a time on ``chips`` chips rests on."""
    keys = TIMES + (TIMES_BETWEEN_CHIPS if chips > 1 else ())
    return tuple(key for key in keys if key in profile)


def _key(operation: str) -> str:
    """The profile's key of an operation's constant."""
    return f"power.{operation}" if operation in POWERS else f"energy.{operation}"


def _operations(events: HardwareEvents, profile: Profile) -> dict[str, Range]:
    """Operation -> joules, for all that happened and that the profile prices."""
    scale = scales_of(profile).energy
    return {
        field.name: _constant(profile, f"energy.{field.name}")
        * (getattr(events, field.name) * scale)
        for field in fields(events)
        if getattr(events, field.name) and f"energy.{field.name}" in profile
    }


def _constant(profile: Profile, key: str) -> Range:
    constant = profile[key]
    return Range(constant.base, *constant.range)


def _static(seconds: Range, chips: int, profile: Profile) -> dict[str, Range]:
    """Power -> joules, for those that the profile gives."""
    powers = {name: _constant(profile, _key(name)) for name in POWERS if _key(name) in profile}
    return {
        name: Range(
            power.value * chips * seconds.value,
            power.low * chips * seconds.low,
            power.high * chips * seconds.high,
        )
        for name, power in powers.items()
    }


def _by_category(by_operation: Mapping[str, Range]) -> dict[Category, Range]:
    found: dict[Category, Range] = {category: Range() for category in CATEGORIES}
    for operation, joules in by_operation.items():
        category = category_of(operation)
        assert category is not None
        found[category] = found[category] + joules
    return found


def _by_kind(by_operation: Mapping[str, Range], time: Time, profile: Profile) -> dict[str, float]:
    found: dict[str, float] = {}
    for operation, joules in by_operation.items():
        of_time = time if operation in POWERS else Time(time.seconds)
        for kind, share in kinds_of(profile[_key(operation)].kind, of_time, profile).items():
            found[kind] = found.get(kind, 0.0) + joules.value * share
    return {kind: found[kind] for kind in KINDS if found.get(kind)}


def kinds_of(kind: str, time: Time, profile: Profile) -> dict[str, float]:
    """Kind of constant -> share of an energy that rests on it.

    ``kind``  of the energy's own constant. Where it is a power, the constants of the time count,
    too: the weakest for all of it, or, where it is known how much of the time rests on assumed
    ones, assumed for that share and the weakest of the others for the rest.
    """
    under = [kind, *(profile[key].kind for key in time.constants)]
    if time.assumed is None or kind == "assumed":
        return {weakest(under): 1.0}
    sure = weakest(each for each in under if each != "assumed")
    return {sure: 1.0 - time.assumed, "assumed": time.assumed}


def weakest(kinds: Iterable[str]) -> str:
    """The least certain of some kinds of constants.

    Measured is the most certain; what is no kind of a profile (a convention) the least.
    """
    return max(kinds, key=lambda kind: KINDS.index(kind) if kind in KINDS else len(KINDS))


def _left_out(events: HardwareEvents, profile: Profile) -> list[str]:
    """What happened and has no price in this profile."""
    found = [
        f"energy.{field.name} ({getattr(events, field.name):,} in the run): "
        f"{profile.name} gives no constant"
        for field in fields(events)
        if getattr(events, field.name) and f"energy.{field.name}" not in profile
    ]
    if f"power.{STATIC}" not in profile:
        found.append(f"power.{STATIC}: {profile.name} gives no static power")
    return found
