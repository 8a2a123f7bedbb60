"""What every exporter shares: its description, its result, and files that appear whole or not."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from spikegpt_neuro.errors import MissingBackend, UnsupportedInput
from spikegpt_neuro.files import umask

DATA_SUFFIX = ".data"


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


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A path in a temporary directory; what is there takes ``path``'s place if the body succeeds.

    A second file of the same name and ``.data`` goes along. It comes first and the old ``path``
    goes before it, so that no model ever stands beside another model's data.
    """
    target = path.resolve()
    try:
        with tempfile.TemporaryDirectory(
            prefix=f".{path.name}.", suffix=".partial", dir=target.parent
        ) as directory:
            temporary = Path(directory) / target.name
            yield temporary
            data = temporary.with_name(temporary.name + DATA_SUFFIX)
            if data.exists():
                target.unlink(missing_ok=True)
                data.chmod(0o666 & ~umask())
                data.replace(target.with_name(data.name))
            temporary.chmod(0o666 & ~umask())
            temporary.replace(target)
    except OSError as error:
        raise UnsupportedInput(f"{path} cannot be written: {error.strerror or error}") from error
