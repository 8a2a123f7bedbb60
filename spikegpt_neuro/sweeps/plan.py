"""A plan: options with one value, options with several to cross, and the points that they make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, make_dataclass
from functools import cache
from itertools import product
from math import prod
from pathlib import Path
from types import GenericAlias
from typing import Any

from spikegpt_neuro.documents import converted, read_toml
from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.sweeps.keys import CONVERT, MEASURES, Verb, keys

SEVERAL = ("checkpoint", "text")
"""Options that may have several values outside the grid, too."""
MOST_POINTS = 100_000


@dataclass(frozen=True)
class Point:
    """A combination: ``options``: name -> value, those with one value for all points included."""

    number: int
    options: Mapping[str, Any]

    def parameters(self, verb: str) -> dict[str, Any]:
        """What the point says to a verb: parameter -> value."""
        return {
            keys()[name].uses[verb]: value
            for name, value in self.options.items()
            if verb in keys()[name].uses
        }


@dataclass(frozen=True)
class Plan:
    """What a sweep does.

    ``verbs``   what is done with every conversion, in this order.
    ``fixed``   option -> its value.
    ``axes``    option -> its values, of which every combination is a point.
    ``folder``  where files that it names are looked for.
    """

    verbs: tuple[Verb, ...]
    fixed: Mapping[str, Any]
    axes: Mapping[str, tuple[Any, ...]]
    folder: Path

    def points(self) -> Iterator[Point]:
        """In order; the last axis changes first."""
        for number, values in enumerate(product(*self.axes.values()), 1):
            yield Point(number, {**self.fixed, **dict(zip(self.axes, values, strict=True))})

    def __len__(self) -> int:
        return prod(map(len, self.axes.values()))

    def file(self, value: str) -> Path:
        """Where a file of the plan is."""
        return (self.folder / value).absolute()

    def to_dict(self) -> dict[str, Any]:
        """The plan as a document has it, in one form."""
        grid = {name: list(values) for name, values in self.axes.items()}
        return {"verbs": list(self.verbs), **self.fixed, "grid": grid}


def read_plan(source: str | Path | Mapping[str, Any]) -> Plan:
    """The plan in a TOML file, or one as Python has it.

    Raises :class:`UnsupportedInput` naming the place of an unknown key or a wrong value, and
    :class:`UsageError` for a plan without a checkpoint, without anything to cross, or with an
    option that none of its verbs has.
    """
    if isinstance(source, Mapping):
        return _plan(dict(source), "plan", Path())
    return _plan(read_toml(Path(source)), str(source), Path(source).parent)


def _plan(content: dict[str, Any], where: str, folder: Path) -> Plan:
    document: Any = converted(content, _document(), where=where, exact=True)
    given = {name: getattr(document, name) for name in keys()}
    fixed = {name: value for name, value in given.items() if value is not None}
    if "grid" in content and not content["grid"]:
        raise UsageError(f"{where}: grid is empty; name options to cross: weight_bits = [8, 4]")
    axes = {name: fixed.pop(name) for name in SEVERAL if isinstance(fixed.get(name), list)}
    for name in content.get("grid", {}):
        if name in fixed or name in axes:
            raise UsageError(f"{where}: {name} stands in the grid and outside of it; give it once")
        axes[name] = getattr(document.grid, name)
    plan = Plan(
        verbs=_verbs({*fixed, *axes}) if document.verbs is None else document.verbs,
        fixed=fixed,
        axes={name: _values(where, name, values) for name, values in axes.items()},
        folder=folder,
    )
    _check(plan, where)
    return plan


@cache
def _document() -> type:
    """What a plan's document may hold, as a dataclass."""
    kinds: dict[str, Any] = {name: key.type for name, key in keys().items()}
    several = {name: GenericAlias(list, (kind,)) for name, kind in kinds.items()}
    grid: Any = make_dataclass(
        "Grid", [(name, kind | None, None) for name, kind in several.items()]
    )
    single = [
        (name, kind | several[name] | None if name in SEVERAL else kind | None, None)
        for name, kind in kinds.items()
    ]
    more = [("verbs", tuple[Verb, ...] | None, None), ("grid", grid | None, None)]
    return make_dataclass("Document", [*single, *more])


def _verbs(options: set[str]) -> tuple[Verb, ...]:
    """What is done where a plan does not say it: what its options are of."""
    wanted = {"evaluate"} | ({"map", "profile"} if "hw" in options else set())
    wanted |= {"simulate"} & ({"simulate"} if "verify" in options else set())
    return tuple(verb for verb in MEASURES if verb in wanted)


def _values(where: str, name: str, values: list[Any]) -> tuple[Any, ...]:
    """The values of an axis, each once."""
    if not values:
        raise UsageError(f"{where}: {name} is empty; expected at least one value")
    return tuple(value for index, value in enumerate(values) if value not in values[:index])


def _check(plan: Plan, where: str) -> None:
    options = {*plan.fixed, *plan.axes}
    if "checkpoint" not in options:
        raise UsageError(f"{where}: checkpoint is missing; name at least one to convert")
    if not plan.axes:
        raise UsageError(f"{where}: grid is empty; name options to cross: weight_bits = [8, 4]")
    if not plan.verbs:
        raise UsageError(f"{where}: verbs is empty; expected some of {', '.join(MEASURES)}")
    for verb in {"map", "profile"} & {*plan.verbs} - {"simulate"}:
        if "hw" not in options:
            raise UsageError(f"{where}: hw is missing; {verb} needs a hardware profile")
    if "placement" in options and "map" not in plan.verbs:
        raise UsageError(f"{where}: placement is map's, and verbs has no map")
    for name in sorted(options):
        verbs = keys()[name].uses
        if not {CONVERT, *plan.verbs} & verbs.keys():
            raise UsageError(
                f"{where}: {name} is an option of {' and '.join(verbs)}; the plan's verbs are "
                f"{', '.join(plan.verbs)}"
            )
    if len(plan) > MOST_POINTS:
        raise UsageError(f"{where}: {len(plan):,} points; a sweep has {MOST_POINTS:,} at most")
