"""What every exporter shares: its description, its result, and the packages that it needs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from spikegpt_neuro.errors import MissingBackend


@dataclass(frozen=True)
class Exported:
    """What was written: ``path``, number of ``nodes``, and what the format cannot carry.

    ``unexported`` names every population and projection that is not in the file.
    """

    path: Path
    nodes: int
    unexported: tuple[str, ...] = ()


@dataclass(frozen=True)
class Format:
    """An export format, described in its own module.

    ``export``   ``export(source, path)`` writes a source of one of the types ``sources``.
    ``instead``  how to get a source of the right kind, where ``sources`` are not all there are.
    ``is_ours``  for a format of several files: whether a directory was written by it, so that
                 it may be replaced; None: the format is one file.
    """

    export: Callable[[Any, Path], Exported]
    sources: tuple[type, ...]
    instead: str = ""
    is_ours: Callable[[Path], bool] | None = None


def need(module: str, extra: str) -> ModuleType:
    """Import ``module`` or raise :class:`MissingBackend` with the line that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingBackend(
            f"{module} is not installed; pip install 'spikegpt-neuro[{extra}]'"
        ) from error
