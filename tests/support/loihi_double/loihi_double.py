"""The board of the test double: what happens to it is written to a journal, one word a line.

``LOIHI_DOUBLE`` names the journal. ``LOIHI_DOUBLE_TROUBLE`` asks for trouble: ``raise`` or ``hang``
in an adapter at time step 5, ``alone``: no neuro-core models, ``silent``: probes without samples.
``LOIHI_DOUBLE_RAILS`` offers power by rail, as later profilers do.
"""

from __future__ import annotations

import os
from typing import Any

from lava.magma.runtime.runtime import Runtime

TROUBLE = os.environ.get("LOIHI_DOUBLE_TROUBLE", "")
RAILS = "LOIHI_DOUBLE_RAILS" in os.environ
TROUBLED_STEP = 5

runs: list[int] = []
"""Time steps of each run in this process."""


class NotDocumentedError(Exception):
    """Something that the public interface does not have."""


class Strict:
    """Raises on everything that is not written down."""

    def __getattr__(self, name: str) -> Any:
        raise NotDocumentedError(f"{type(self).__name__}.{name}")


def note(text: str) -> None:
    with open(os.environ["LOIHI_DOUBLE"], "a", encoding="utf-8") as journal:
        journal.write(f"{text}\n")


def watch_the_board() -> None:
    """Note when a runtime takes the board, runs, and releases it."""
    if getattr(Runtime, "is_watched", False):
        return
    initialize, run, stop = Runtime.initialize, Runtime._run, Runtime.stop

    def watched_initialize(self: Runtime, *arguments: Any) -> None:
        note("open")
        initialize(self, *arguments)

    def watched_run(self: Runtime, condition: Any) -> None:
        if runs:
            raise RuntimeError("the profiler serves one run only")
        runs.append(condition.num_steps)
        note(f"run {condition.num_steps}")
        run(self, condition)

    def watched_stop(self: Runtime) -> None:
        note("close")
        stop(self)

    Runtime.initialize, Runtime._run, Runtime.stop = watched_initialize, watched_run, watched_stop
    Runtime.is_watched = True
