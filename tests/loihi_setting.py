"""What the tests of the loihi backend share: the double's environment, and who is still running."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

DOUBLE = Path(__file__).parent / "loihi_double"
PATIENCE = 240.0


def with_double(journal: Path, **more: str) -> Mapping[str, str]:
    """Environment in which Lava finds the test double of its Loihi extension."""
    found = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "LOIHI_DOUBLE": str(journal),
        "PYTHONPATH": os.pathsep.join([str(DOUBLE), *([found] if found else [])]),
        "PATH": os.pathsep.join([str(DOUBLE / "bin"), os.environ["PATH"]]),
        **more,
    }


def journal_of(path: Path) -> list[str]:
    """What happened to the board, without sinfo and ping."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [line for line in lines if not line.startswith(("sinfo", "ping"))]


def processes_of(jobs: Path) -> list[int]:
    """Ids of the processes whose command line names a job directory of this test."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(jobs).encode() in command:
                found.append(int(entry.name))
    return found


def assert_nothing_left(jobs: Path) -> None:
    """No process and no file of a job after a moment (half a minute on a busy machine)."""
    for _ in range(300):
        if not processes_of(jobs) and not any(jobs.iterdir()):
            break
        time.sleep(0.1)
    assert processes_of(jobs) == []
    assert list(jobs.iterdir()) == []
