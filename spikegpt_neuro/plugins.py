"""What other packages register: entry points by group, looked for once in a process."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


def registered(group: str) -> Mapping[str, EntryPoint]:
    """Name -> entry point of a group, in the order of names."""
    return {entry.name: entry for entry in entries(group)}


def entries(group: str) -> tuple[EntryPoint, ...]:
    """The entry points of a group in the order of names, all of those that share one."""
    found = _installed(tuple(sys.path)).select(group=group)
    return tuple(sorted(found, key=lambda entry: entry.name))


@cache
def _installed(_path: tuple[str, ...]) -> Any:  # EntryPoints, which Python 3.10 calls otherwise
    """All entry points on the path: reading them takes 20 ms, whichever group is asked for."""
    from importlib.metadata import entry_points

    return entry_points()
