"""What an input is, what reads it, and what may come of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal, Protocol

Special = Literal["fifo", "folder", "/dev/zero", "/dev/null", "loop"]
"""A thing in place of a file; a path is what a symbolic link points to."""

Content = bytes | Special


@dataclass(frozen=True)
class Case:
    """Files by their path in the case's folder.

    ``same``  the reader must refuse it or understand what it understood of the base: a change
              that nobody meant.
    """

    files: Mapping[str, Content]
    same: bool = False

    def write(self, folder: Path) -> None:
        """Put the files into an empty ``folder``."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            elif content == "fifo":
                os.mkfifo(path)
            elif content == "folder":
                path.mkdir()
            else:
                path.symlink_to(path.name if content == "loop" else content)


class Target(Protocol):
    """A kind of input. It is made once, before children are forked; then nothing of it changes."""

    def case(self, rng: Random) -> Case:
        """An input; the same state of ``rng`` gives the same one."""

    def read(self, folder: Path) -> object:
        """Read what lies in ``folder`` as a user would; returns what was understood.

        Raises :class:`Changed` where that is not what the files say, and of errors only those
        that the project documents.
        """

    def bases(self) -> list[Case]:
        """Inputs without a fault."""


class Changed(Exception):
    """A reader accepted a file and understood something else than what it says."""
