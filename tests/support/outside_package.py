"""A package from outside, as an installer leaves it: a module beside its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def write_package(
    folder: Path, name: str, source: str, entry_points: Mapping[str, Mapping[str, str]]
) -> Path:
    """The module ``name`` with ``entry_points`` (group -> name -> object), in ``folder``.

    It is installed wherever ``folder``, which is returned, lies on the path of imports.
    """
    (folder / f"{name}.py").write_text(source, encoding="utf-8")
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = []
    for group, entries in entry_points.items():
        lines += [f"[{group}]", *(f"{entry} = {value}" for entry, value in entries.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder
