"""A copy of the sources to change: four folders that install under one name, as pyproject says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from places import ROOT

FOLDERS = ("spikegpt_neuro", "backends", "converters", "hw_profiles")
UNFINISHED = shutil.ignore_patterns("*.tmp.*", "*.pyc.*")  # what another process is writing


def copy_of_sources(folder: Path) -> Path:
    """The four folders in ``folder``, which is returned: put it on the path of imports.

    Compiled kernels come along, so that only those that a change reaches are compiled again.
    """
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=UNFINISHED)
    for name in FOLDERS[1:]:
        (folder / FOLDERS[0] / name).symlink_to(folder / name)
    return folder


def changed_files(folder: Path) -> set[str]:
    """Files of a copy that are not, or are otherwise, in the sources; caches do not count."""
    found = set()
    for name in FOLDERS:
        for path in (folder / name).rglob("*"):
            inner = path.relative_to(folder)
            if path.is_file() and "__pycache__" not in inner.parts:
                source = ROOT / inner
                if not (source.exists() and source.read_bytes() == path.read_bytes()):
                    found.add(inner.as_posix())
    return found


def apply_diff(folder: Path, diff: str) -> None:
    """Make the changes of a unified diff without line numbers: its context says where."""
    parts = re.split(r"^--- a/.*\n\+\+\+ b/(.*)\n", diff, flags=re.MULTILINE)
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        lines = [(line[:1], line[1:] + "\n") for line in body.splitlines()]
        old = "".join(text for sign, text in lines if sign in ("", " ", "-"))
        new = "".join(text for sign, text in lines if sign in ("", " ", "+"))
        text = (folder / name).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"the context in {name} is found {text.count(old)} times"
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")
