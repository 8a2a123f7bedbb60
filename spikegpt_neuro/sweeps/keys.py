"""What a plan may name: options of the verbs, each under the name that its command has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from spikegpt_neuro.descriptions import Option, options_for

Verb = Literal["evaluate", "map", "profile", "simulate"]
CONVERT = "convert"
MEASURES: tuple[Verb, ...] = ("evaluate", "map", "profile", "simulate")
"""What may be done with a conversion."""
LEFT_OUT = ("trace", "svg", "placement")
"""Options of backends that name what a run writes, or what a sweep makes itself."""
KINDS: Mapping[str, Any] = {
    "text": str,
    "path": str,
    "whole": int,
    "positive": float,
    "pair": list[int],
    "flag": bool,
    "several": list[str],
}
"""Kind of a backend's option -> the type of its value."""


@dataclass(frozen=True)
class Key:
    """An option: ``uses``: verb -> the parameter that it is there.

    ``is_file``      its value is the path of a file, relative to the plan.
    ``of_backends``  verbs where it is an option of some backends only.
    """

    name: str
    type: Any
    uses: Mapping[str, str]
    is_file: bool = False
    of_backends: frozenset[str] = frozenset()


def _key(name: str, kind: Any, *verbs: str, is_file: bool = False, **renamed: str) -> Key:
    return Key(name, kind, dict.fromkeys(verbs, name) | renamed, is_file)


OWN = (
    _key("checkpoint", str, CONVERT, is_file=True),
    _key("vocab", str, CONVERT, is_file=True),
    _key("calibrate", str, is_file=True, convert="calibration"),
    _key("weight_bits", int, CONVERT),
    _key("activation_bits", int, CONVERT),
    _key("sparsity", float, CONVERT),
    _key("sparsity_budget", float, CONVERT),
    _key("prune", float, CONVERT),
    _key("compat", str, CONVERT),
    _key("lif_tau", float, CONVERT, "evaluate"),
    _key("lif_threshold", float, CONVERT, "evaluate"),
    _key("lif_reset", float, CONVERT, "evaluate"),
    _key("text", str, "evaluate", "profile", "simulate", is_file=True),
    _key("tokens", int, "profile", "simulate", evaluate="limit"),
    _key("limit", int, "evaluate"),
    _key("window", int, "evaluate"),
    _key("against", bool, "evaluate"),
    _key("hw", str, "map", "profile"),
    _key("activity", str, "map", is_file=True),
    _key("optimize", str, "map"),
    _key("chips", int, "map"),
    _key("steps", str, "map"),
    _key("confirm", bool, map="confirmed"),
    _key("schedule", str, "map", "profile"),
    _key("embedding", str, "map", "profile"),
    _key("head", str, "map", "profile"),
    _key("seed", int, "map", "profile"),
    _key("placement", Literal["map"], "profile"),
    _key("backend", str, "profile", "simulate"),
    _key("timing", str, "profile"),
    _key("accounting", str, "profile"),
    _key("context", int, "profile"),
    _key("verify", bool, "simulate"),
    _key("unknown", str, CONVERT, *MEASURES),
)


@cache
def keys() -> Mapping[str, Key]:
    """Name -> key: those of the verbs, then those of the installed backends."""
    found = {key.name: key for key in OWN}
    for verb, use in (("simulate", options_for("run")), ("profile", options_for("profile"))):
        for option in use:
            if option.name not in LEFT_OUT:
                found[option.name] = _with(found.get(option.name), option, verb)
    return found


def _with(key: Key | None, option: Option, verb: str) -> Key:
    """The key, used by one more verb as what the option is."""
    if key is None:
        key = Key(option.name, KINDS[option.kind], {}, option.kind == "path")
    if verb in key.uses:
        return key
    uses = {**key.uses, verb: option.name}
    return replace(key, uses=uses, of_backends=key.of_backends | {verb})
