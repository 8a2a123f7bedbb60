"""Hardware profiles. What was understood must be what the tables say; a model placed on it costs
something, or is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

from fuzzing.case import Case, Changed
from fuzzing.octets import damaged
from fuzzing.parts import special
from fuzzing.targets.placed import placement_on, record_on
from fuzzing.values import DEEP, HUGE, RAW, changed
from spikegpt_neuro.documents import read_toml
from spikegpt_neuro.hardware.profile import LIBRARY, Profile, load_profile
from spikegpt_neuro.hardware.schema import SECTIONS

FILE, BASE = "chip.toml", "base.toml"
ONE_PLACED_OF = 4  # it takes some times as long as reading
BASES = ("./base.toml", "./chip.toml", "/dev/zero", "loihi2", "loihi1", "../x.toml", "x/y\x00.toml")


class ProfileFile:
    """A whole profile, and one that builds on another."""

    def __init__(self) -> None:
        good = load_profile("loihi2")
        record_on(good, placement_on(good))  # loads what children need
        self._whole = read_toml(Path(str(files(LIBRARY))) / "loihi2.toml")
        cited = {"value": 2.0, "unit": "pJ", "kind": "measured", "source": "lab"}
        self._small: dict[str, Any] = {
            "schema": 1,
            "title": "ours",
            "base": "loihi2",
            "sources": {"lab": "our measurement"},
            "energy": {"synaptic_operation": cited, "neuron_access": {**cited, "unit": "nJ"}},
            "core": {"neurons": {**cited, "value": 256, "unit": "neurons"}},
        }

    def bases(self) -> list[Case]:
        return [Case({FILE: to_toml(content)}) for content in (self._whole, self._small)]

    def case(self, rng: Random) -> Case:
        content = self._whole if rng.random() < 0.2 else self._small
        way = rng.randrange(10)
        if way < 2:
            return Case({FILE: damaged(to_toml(content), rng)})
        if way < 8:
            return Case({FILE: to_toml(changed(content, rng))})
        built_on = to_toml({**self._small, "base": rng.choice(BASES)})
        if way < 9:
            beneath = damaged(to_toml(self._small), rng)
            return Case({FILE: to_toml({**self._small, "base": "./base.toml"}), BASE: beneath})
        return Case(special({FILE: built_on, BASE: to_toml(self._small)}, rng))

    def read(self, folder: Path) -> object:
        profile = load_profile(folder / FILE)
        _check_values(profile, read_toml(folder / FILE))
        facts = (profile.limits, profile.encoding, profile.support, profile.sha256)
        ranges = {key: c.range for key, c in profile.constants.items() if is_number(c.value)}
        if any(not math.isfinite(end) for pair in ranges.values() for end in pair):
            raise Changed("a constant is infinite in its base unit")
        if int(profile.sha256, 16) % ONE_PLACED_OF == 0:
            record_on(profile, placement_on(profile))
        return facts


def make() -> ProfileFile:
    return ProfileFile()


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_values(profile: Profile, content: Mapping[str, Any]) -> None:
    """Raise unless every constant of the file has the file's value."""
    for section in SECTIONS:
        for key, entry in content.get(section, {}).items():
            found = json.dumps(profile.constants[f"{section}.{key}"].value)
            if found != json.dumps(entry["value"]):
                raise Changed(f"{section}.{key} is {found}, the file says {entry['value']!r}")


def to_toml(content: object) -> bytes:
    """Tables as TOML text, all within the top one inline."""
    if not isinstance(content, dict):
        return _value(content).encode("utf-8", "surrogatepass")
    lines = [f"{_key(key)} = {_value(value)}" for key, value in content.items()]
    return "\n".join([*lines, ""]).encode("utf-8", "surrogatepass")


def _key(key: object) -> str:
    return json.dumps(str(key), ensure_ascii=False)


def _value(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if value in (DEEP, HUGE):
        return RAW[str(value)]
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
