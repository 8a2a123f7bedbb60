"""What every exporter shares: its result, and the packages that it needs."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from spikegpt_neuro.errors import MissingBackend


@dataclass(frozen=True)
class Exported:
    """What was written: ``path``, number of ``nodes``, and what the format cannot carry.

    ``unexported`` names every population and projection that is not in the file.
    """

    path: Path
    nodes: int
    unexported: tuple[str, ...] = ()


def need(module: str, extra: str) -> ModuleType:
    """Import ``module`` or raise :class:`MissingBackend` with the line that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingBackend(
            f"{module} is not installed; pip install 'spikegpt-neuro[{extra}]'"
        ) from error
