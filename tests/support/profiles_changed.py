"""Profiles with other values than their files have."""

from __future__ import annotations

from dataclasses import replace

from spikegpt_neuro.hardware.profile import Profile


def with_constants(profile: Profile, **changes: float) -> Profile:
    """The profile with other values; ``core__neurons`` names core.neurons."""
    constants = dict(profile.constants)
    for name, value in changes.items():
        key = name.replace("__", ".")
        unit = "byte" if constants[key].unit == "KiB" else constants[key].unit
        constants[key] = replace(constants[key], value=value, unit=unit, low=None, high=None)
    return replace(profile, constants=constants)
