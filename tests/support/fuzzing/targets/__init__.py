"""One module per kind of input; :func:`make` makes its target."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec

from fuzzing.case import Target

NEEDED = {
    "pth": "torch",
    "safetensors": None,
    "onnx": "onnx",
    "artifact": None,
    "vocabulary": None,
    "profile": None,
    "published": None,
    "placement": None,
    "record": None,
    "job": None,
    "finetuning": "torch",
}
"""Target -> the optional package without which it cannot be read."""


def available() -> list[str]:
    """The targets that this installation can read."""
    return [name for name, package in NEEDED.items() if package is None or find_spec(package)]


def make(names: Iterable[str]) -> dict[str, Target]:
    """The targets of these names."""
    made = {}
    for name in names:
        target: Callable[[], Target] = import_module(f"fuzzing.targets.{name}").make
        made[name] = target()
    return made
