"""Processes that a test starts and that never outlive it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def child(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """``subprocess.Popen``, killed at the end: a failed test does not wait for its child."""
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.kill()


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


def workers_of(parent: int) -> list[int]:
    """Ids of the worker processes that a process has started."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == parent and b"dask_worker" in command:
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
