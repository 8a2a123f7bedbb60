"""Verbs of the command line and what they answered: here, or where other packages are installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from spikegpt_neuro.cli import run


class Answer(NamedTuple):
    """Exit code, standard output and standard error of a verb."""

    code: int
    out: str
    err: str

    @property
    def figures(self) -> dict[str, Any]:
        """The object that a verb printed with --json."""
        assert self.code == 0, self.err
        return dict(json.loads(self.out))


def verb(*arguments: object) -> Answer:
    """Run one verb in this process."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        code = run([str(argument) for argument in arguments])
    return Answer(code, out.getvalue(), err.getvalue())


def verbs(packages: Path, *commands: Sequence[object]) -> list[Answer]:
    """Run verbs one after the other in a process that finds ``packages`` first."""
    done = subprocess.run(
        [sys.executable, __file__, json.dumps(commands, default=str)],
        env=os.environ | {"PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [Answer(*answer) for answer in json.loads(done.stdout)]


if __name__ == "__main__":
    print(json.dumps([verb(*arguments) for arguments in json.loads(sys.argv[1])]))
