"""A program in a terminal of its own, and somebody at the keys."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Terminal:
    """The other end of a terminal, and the program that runs in it."""

    end: int
    program: subprocess.Popen[bytes]
    seen: str = ""

    def type(self, keys: str) -> None:
        """Press keys, and look only at what is shown from now on."""
        self.seen = ""
        os.write(self.end, keys.encode())

    def until(self, pattern: str, seconds: float = 60) -> str:
        """What the terminal has shown, once it matches."""
        limit = time.monotonic() + seconds
        while not re.search(pattern, self.seen):
            left = limit - time.monotonic()
            assert left > 0, f"no {pattern!r} in {self.seen!r}"
            if select.select([self.end], [], [], left)[0]:
                self.seen += os.read(self.end, 1 << 16).decode(errors="replace")
        return self.seen


@contextmanager
def opened(
    command: Sequence[str], *, folder: Path | None = None, env: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """The program, until the body ends."""
    end, theirs = pty.openpty()
    program = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        start_new_session=True,
        preexec_fn=_take_terminal,
        env=os.environ | {"TERM": "xterm"} | dict(env or {}),
    )
    os.close(theirs)
    try:
        yield Terminal(end, program)
    finally:
        program.kill()
        program.wait()
        os.close(end)


def _take_terminal() -> None:
    """Make the terminal the session's own: only then does Ctrl-C reach it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
