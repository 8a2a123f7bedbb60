"""Where work is done that can be divided: processes here, a scheduler of Dask, jobs of a queue."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spikegpt_neuro.errors import UsageError


@dataclass(frozen=True)
class Place:
    """Worker processes of this machine, what works for a scheduler, or jobs.

    ``workers``    how many processes to start here, or how many jobs.
    ``scheduler``  address of a running scheduler, ``tcp://HOST:PORT``.
    ``cluster``    the file that describes a job, see :mod:`spikegpt_neuro.cluster.jobs`.
    """

    workers: int | None = None
    scheduler: str | None = None
    cluster: Path | None = None

    @property
    def is_here(self) -> bool:
        """Whether its workers are processes of this machine and this installation."""
        return self.scheduler is None and self.cluster is None


def place_of(
    workers: int | None, scheduler: str | None, cluster: str | Path | None = None
) -> Place | None:
    """The place that was asked for; None: this process.

    Raises :class:`UsageError` where two were, or fewer than one worker.
    """
    if workers is None and scheduler is None and cluster is None:
        return None
    if scheduler is not None and (workers is not None or cluster is not None):
        other = "workers" if cluster is None else "cluster"
        raise UsageError(f"{other}=... and scheduler=... are two places; give one")
    if workers is not None and workers < 1:
        raise UsageError(f"workers is {workers}, expected 1 or more")
    return Place(workers, scheduler, None if cluster is None else Path(cluster))
