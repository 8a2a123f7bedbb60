"""From the points of a plan to steps; those that points share are one and the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from spikegpt_neuro.api.choices import DEFAULT_BACKEND
from spikegpt_neuro.api.placing import ACTIVITY_TOKENS
from spikegpt_neuro.api.sweep_files import WITHOUT_VOCABULARY, content_of
from spikegpt_neuro.converters import hub
from spikegpt_neuro.descriptions import describe
from spikegpt_neuro.errors import SpikeGPTError
from spikegpt_neuro.sweeps.keys import CONVERT, keys
from spikegpt_neuro.sweeps.plan import Plan, Point
from spikegpt_neuro.sweeps.step import Step

PRICED_TOKENS = 256
"""Of a profile, where a plan does not say it."""
PLACED_BY = ("hw", "embedding", "head", "seed")
"""What a placement depends on beside the run."""


@dataclass(frozen=True)
class Planned:
    """A point and its steps: what it shows (``shown``: verb -> step), in the plan's order."""

    point: Point
    shown: Mapping[str, Step]

    @property
    def steps(self) -> Iterator[Step]:
        """All of them, those that others need first."""
        for step in self.shown.values():
            yield from step.all


def planned(plan: Plan) -> list[Planned]:
    """The points of a plan with their steps.

    Raises :class:`UnsupportedInput` for a file that cannot be read, :class:`UsageError` for an
    unknown profile.
    """
    return [Planned(point, _shown(plan, point)) for point in plan.points()]


def _shown(plan: Plan, point: Point) -> dict[str, Step]:
    made: dict[str, Step] = {CONVERT: _convert(plan, point)}
    for verb in plan.verbs:
        made[verb] = _MAKERS[verb](plan, point, made)
    return made


def _parameters(plan: Plan, point: Point, verb: str) -> tuple[dict[str, Any], dict[str, str]]:
    """What a verb is called with, files by their absolute paths, and what those hold."""
    values, files = point.parameters(verb), dict[str, str]()
    for name in point.options:
        key = keys()[name]
        if verb not in key.uses:
            continue
        parameter = key.uses[verb]
        if name == "hw":
            values[parameter] = _profile(plan, values[parameter])
            files[parameter] = content_of("hw", values[parameter])
        elif key.is_file and not values[parameter].startswith(hub.SCHEME):
            values[parameter] = str(plan.file(values[parameter]))
            if name != "checkpoint":
                files[parameter] = content_of(name, values[parameter])
    return values, files


def _profile(plan: Plan, name: str) -> str:
    """A profile's name, or the path of its file."""
    return str(plan.file(name)) if name.endswith(".toml") or "/" in name else name


def _convert(plan: Plan, point: Point) -> Step:
    values, files = _parameters(plan, point, CONVERT)
    files["checkpoint"] = content_of("checkpoint", values["checkpoint"], values.get("vocab"))
    if "calibration" not in values:
        files["calibration"] = content_of("calibrate", None)
    return Step("convert", values, files)


def _with_text(values: dict[str, Any], files: dict[str, str]) -> None:
    if "text" not in values:
        files["text"] = content_of("text", None)


def _evaluate(plan: Plan, point: Point, made: Mapping[str, Step]) -> Step:
    values, files = _parameters(plan, point, "evaluate")
    _with_text(values, files)
    if values.pop("against", False):
        values["against"] = made[CONVERT].parameters["checkpoint"]
        files["against"] = made[CONVERT].files["checkpoint"]
    else:  # the LIF is of the checkpoint to compare with
        values = {name: value for name, value in values.items() if not name.startswith("lif_")}
    return Step("evaluate", values, files, {"graph": made[CONVERT]})


def _run(graph: Step, text: str | None, tokens: int, common: Mapping[str, Any]) -> Step:
    """A run of the integers for prices and placements."""
    named = {} if text is None else {"text": text}
    values = {**named, "tokens": tokens, **common}
    return Step("run", values, {"text": content_of("text", text)}, {"graph": graph})


def _map(plan: Plan, point: Point, made: Mapping[str, Step]) -> Step:
    values, files = _parameters(plan, point, "map")
    text = values.pop("activity", None)
    files.pop("activity", None)
    graph = made[CONVERT]
    common = _some(values, "unknown")
    if text is None and graph.files["checkpoint"].endswith(WITHOUT_VOCABULARY):
        common |= {"seed": values.get("seed", 0)}  # random tokens
    run = _run(graph, text, ACTIVITY_TOKENS, common)
    return Step("map", _without(values, "unknown"), files, {"graph": graph, "run": run})


def _profiled(plan: Plan, point: Point, made: Mapping[str, Step]) -> Step:
    values, files = _parameters(plan, point, "profile")
    by_map = values.pop("placement", None) is not None
    backend = values.get("backend", DEFAULT_BACKEND)
    values = _known(values, backend, "profile")
    graph = made[CONVERT]
    if not _shares_integers(backend):
        _with_text(values, files)
        needs = {"graph": graph} | ({"placement": made["map"]} if by_map else {})
        return Step("profile", values, files, needs)
    text, tokens = values.pop("text", None), values.pop("tokens", PRICED_TOKENS)
    files.pop("text", None)
    run = _run(graph, text, tokens, _some(values, "unknown"))
    placement = made["map"] if by_map else _place(values, files, {"graph": graph, "run": run})
    needs = {"graph": graph, "run": run, "placement": placement}
    return Step("profile", _without(values, "unknown", "seed"), files, needs)


def _place(values: Mapping[str, Any], files: Mapping[str, str], needs: Mapping[str, Step]) -> Step:
    return Step("place", _some(values, *PLACED_BY), {"hw": files["hw"]}, needs)


def _simulate(plan: Plan, point: Point, made: Mapping[str, Step]) -> Step:
    values, files = _parameters(plan, point, "simulate")
    backend = values.get("backend", DEFAULT_BACKEND)
    values = _known(values, backend, "simulate")
    _with_text(values, files)
    files = {name: held for name, held in files.items() if name in values or name == "text"}
    return Step("simulate", values, files, {"graph": made[CONVERT]})


def _known(values: Mapping[str, Any], backend: str, verb: str) -> dict[str, Any]:
    """Without the options of other backends."""
    try:
        mine = {option.name for option in describe(backend).options}
    except SpikeGPTError:  # to run on it will say so, too
        mine = set()
    others = {name for name, key in keys().items() if verb in key.of_backends} - mine
    return _without(values, *others)


def _shares_integers(backend: str) -> bool:
    try:
        return describe(backend).shares_integers
    except SpikeGPTError:
        return False


def _some(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}


def _without(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


_MAKERS = {"evaluate": _evaluate, "map": _map, "profile": _profiled, "simulate": _simulate}
