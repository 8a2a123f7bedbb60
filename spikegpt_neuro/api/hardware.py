"""The hardware profiles, and the constants of one with their sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from spikegpt_neuro.api.inputs import PathLike
from spikegpt_neuro.hardware.profile import Constant, Profile, load_profile, profile_names
from spikegpt_neuro.hardware.schema import SPECS
from spikegpt_neuro.results import Result


@dataclass(frozen=True, repr=False)
class ProfileList(Result):
    """``profiles``  name -> title of every installed profile."""

    profiles: Mapping[str, str]

    def rows(self) -> list[dict[str, Any]]:
        """A row per profile."""
        return [{"name": name, "title": title} for name, title in self.profiles.items()]

    def headline(self) -> Mapping[str, object]:
        """The names."""
        return {"profiles": list(self.profiles)}


@dataclass(frozen=True, repr=False)
class ProfileTable(Result):
    """The constants of one profile: key -> value, unit, kind, source, low, high, note.

    ``profile``  the profile itself.
    """

    name: str
    title: str
    constants: Mapping[str, Mapping[str, Any]]
    profile: Profile = field(repr=False)

    HEADLINE: ClassVar[tuple[str, ...]] = ("name", "title")

    def rows(self) -> list[dict[str, Any]]:
        """A row per constant, in the order of the schema."""
        keys = (key for key in SPECS if key in self.constants)
        return [{"constant": key, **self.constants[key]} for key in keys]


def profiles(name: PathLike | None = None) -> ProfileList | ProfileTable:
    """All installed profiles, or the constants of one by its name or the path of its file.

    Raises :class:`UsageError` for an unknown name, :class:`UnsupportedInput` for a bad file.

    Examples
    --------
    >>> sgn.profiles("loihi2").to_dict()["title"][:7]
    'Loihi 2'
    """
    if name is None:
        return ProfileList({p: load_profile(p).title for p in profile_names()})
    found = load_profile(name)
    constants = {key: _constant(c) for key, c in found.constants.items()}
    return ProfileTable(found.name, found.title, constants, found)


def _constant(constant: Constant) -> dict[str, Any]:
    return {
        "value": constant.value,
        "unit": constant.unit,
        "kind": constant.kind,
        "source": constant.source,
        "low": constant.low,
        "high": constant.high,
        "note": constant.note or None,
    }
