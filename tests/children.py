"""Processes that a test starts and that never outlive it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def child(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """``subprocess.Popen``, killed at the end: a failed test shall not wait for its child."""
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.kill()
