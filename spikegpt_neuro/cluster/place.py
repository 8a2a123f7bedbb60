"""Where work is done that can be divided: worker processes here, or a scheduler of Dask."""

from __future__ import annotations

from dataclasses import dataclass

from spikegpt_neuro.errors import UsageError


@dataclass(frozen=True)
class Place:
    """Worker processes of this machine, or what works for a scheduler; never both.

    ``workers``    how many processes to start here.
    ``scheduler``  address of a running scheduler, ``tcp://HOST:PORT``.
    """

    workers: int | None = None
    scheduler: str | None = None

    @property
    def is_here(self) -> bool:
        """Whether its workers are processes of this machine and this installation."""
        return self.workers is not None


def place_of(workers: int | None, scheduler: str | None) -> Place | None:
    """The place that was asked for; None: this process.

    Raises :class:`UsageError` where both were, or fewer than one worker.
    """
    if workers is None and scheduler is None:
        return None
    if workers is not None and scheduler is not None:
        raise UsageError("workers=... and scheduler=... are two places; give one")
    if workers is not None and workers < 1:
        raise UsageError(f"workers is {workers}, expected 1 or more")
    return Place(workers, scheduler)
