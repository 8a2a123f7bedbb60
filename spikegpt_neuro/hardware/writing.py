"""Profiles that a fit writes: TOML, and a file that is loaded before it takes its place."""

from __future__ import annotations

from pathlib import Path

from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.files import atomic_file, check_output_file, readable
from spikegpt_neuro.hardware.profile import Profile, load_profile, profile_names


def save_profile_text(path: Path, text: str, force: bool = False) -> None:
    """Write a profile; raises :class:`UnsupportedInput` where the text is none.

    Raises :class:`CannotWrite` where the file exists, unless ``force``.
    """
    check_profile_path(path, force)
    with atomic_file(path, force=force) as new:
        new.write_text(text, "utf-8")
        load_profile(new, becomes=path)


def check_profile_path(path: Path, force: bool) -> None:
    """Raise unless a profile may be written at ``path``."""
    if path.suffix != ".toml":
        raise UsageError(f"{path}: a hardware profile is a .toml file")
    check_output_file(path, force)


def reference_to(base: Profile) -> str:
    """What a profile writes as its base: the name of an installed one, or where its file is."""
    installed = base.name in profile_names() and load_profile(base.name).file == base.file
    return base.name if installed else str(Path(base.file).resolve())


def constant_text(
    value: float,
    unit: str,
    kind: str,
    source: str,
    note: str = "",
    ends: tuple[float, float] | None = None,
) -> str:
    """The inline table of a constant; ``ends``: its low and high."""
    entry = f'value = {value!r}, unit = "{unit}", kind = "{kind}", source = "{source}"'
    if ends is not None:
        entry += f", low = {ends[0]!r}, high = {ends[1]!r}"
    return f"{{ {entry}, note = {quoted(note)} }}" if note else f"{{ {entry} }}"


def quoted(text: str) -> str:
    """A TOML basic string."""
    escaped = readable(text).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
