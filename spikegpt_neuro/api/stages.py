"""Progress of work in several parts."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, runtime_checkable

from spikegpt_neuro.running import Progress


@runtime_checkable
class Stages(Protocol):
    """Something that shows each part of a long work under its own label."""

    def stage(self, label: str, unit: str = "tokens") -> AbstractContextManager[Progress | None]:
        """Begin a part, of which ``unit`` is counted; it ends with the context."""


def stage(
    progress: Progress | Stages | None, label: str, unit: str = "tokens"
) -> AbstractContextManager[Progress | None]:
    """A part of the work: under its label where ``progress`` knows labels, else just counted."""
    return progress.stage(label, unit) if isinstance(progress, Stages) else nullcontext(progress)
