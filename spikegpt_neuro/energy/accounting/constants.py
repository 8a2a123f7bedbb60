"""Constants of the accountings: small TOML files beside the hardware profiles.

``hw_profiles/accountings/NAME.toml`` has ``schema``, ``title``, ``[sources]`` and ``[energy]``,
every entry of which carries value, unit, kind and source as in a hardware profile. The kinds are
those of a profile and ``convention``: a figure that the literature compares with, never
measured on the hardware in question.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from spikegpt_neuro.hardware.profile import LIBRARY, SCHEMA_VERSION, Constant
from spikegpt_neuro.hardware.schema import ENERGY, KINDS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = "accountings"
CONVENTION = "convention"


class EnergyConstant(Constant):
    """A constant in joules that is no key of a hardware profile."""

    @property
    def base(self) -> float:
        return ENERGY.to_base(self.value, self.unit)

    @property
    def range(self) -> tuple[float, float]:
        low = self.value if self.low is None else self.low
        high = self.value if self.high is None else self.high
        return ENERGY.to_base(low, self.unit), ENERGY.to_base(high, self.unit)


@cache
def constants(name: str) -> Mapping[str, EnergyConstant]:
    """The constants of ``hw_profiles/accountings/NAME.toml``, by key.

    The files are part of the package: one that breaks the schema raises ValueError.
    """
    text = (files(LIBRARY) / FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    content = tomllib.loads(text)
    if content["schema"] != SCHEMA_VERSION:
        raise ValueError(f"{name}.toml: schema {content['schema']}, expected {SCHEMA_VERSION}")
    found = {}
    for key, entry in content["energy"].items():
        if entry["kind"] not in (*KINDS, CONVENTION) or entry["unit"] not in ENERGY.units:
            raise ValueError(f"{name}.toml: {key}: unknown kind or unit")
        found[key] = EnergyConstant(
            key=f"{name}.{key}",
            value=entry["value"],
            unit=entry["unit"],
            kind=entry["kind"],
            source=content["sources"][entry["source"]],
            low=entry.get("low"),
            high=entry.get("high"),
            note=entry.get("note", ""),
        )
    return found
