"""Hardware profiles: one TOML file per chip or accounting, every constant with unit and source."""

from __future__ import annotations

from importlib.resources import files


def profile_names() -> list[str]:
    """Names of the profiles that are installed."""
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in files(__name__).iterdir()
        if entry.name.endswith(".toml")
    )
