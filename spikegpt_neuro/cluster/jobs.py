"""Workers as jobs of a queue (SLURM and others), submitted by dask-jobqueue and replaced if lost.

The file that describes a job is dask-jobqueue's own configuration; ``jobs`` says how many.
::

    jobs: 8
    jobqueue:
      slurm:
        cores: 1
        memory: 4GB
        walltime: "02:00:00"
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from spikegpt_neuro.cluster.crew import SETTINGS
from spikegpt_neuro.documents import MEGABYTE, read_bytes
from spikegpt_neuro.errors import MissingBackend, UnsupportedInput, WorkerFailed

if TYPE_CHECKING:
    from dask_jobqueue.core import JobQueueCluster

CLASSES = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "lsf": "LSFCluster",
    "sge": "SGECluster",
    "oar": "OARCluster",
    "moab": "MoabCluster",
    "htcondor": "HTCondorCluster",
}
"""Queueing system -> what submits to it."""
PROLOGUE = (
    *(f"export {name}={value}" for name, value in SETTINGS.items()),
    "export PYTHONSAFEPATH=1",
)
"""Of a job: one thread per worker, and no Python of the folder that it starts in."""
CHECK_SECONDS = 5.0
ANSWER_SECONDS = 30.0
SUBMIT_SECONDS = 120.0
"""After which a job that the queue has not taken is submitted again; a busy one takes its time."""
LOST_SECONDS = "3s"
"""After which a worker that went away is no longer expected."""
DEATHS_PER_JOB = 15


@dataclass(frozen=True)
class Queue:
    """How jobs are submitted: ``settings`` of dask-jobqueue for ``system``, and how many jobs."""

    where: str
    system: str
    settings: Mapping[str, Any]
    jobs: int


def read_queue(path: str | Path, jobs: int | None = None) -> Queue:
    """The file that describes a job; ``jobs`` goes before its own number.

    Raises :class:`UnsupportedInput` naming the place of what is wrong, :class:`MissingBackend`
    where dask-jobqueue is not installed.
    """
    content = _content(Path(path))
    document = content.pop("jobqueue", None)
    number = content.pop("jobs", 1)
    if content:
        raise UnsupportedInput(f"{path}: {next(iter(content))}: expected jobs or jobqueue")
    if not isinstance(document, dict) or len(document) != 1:
        raise UnsupportedInput(
            f"{path}: jobqueue: expected one queueing system of {', '.join(CLASSES)}"
        )
    ((system, settings),) = document.items()
    if system not in CLASSES:
        raise UnsupportedInput(f"{path}: jobqueue.{system}: expected one of {', '.join(CLASSES)}")
    if type(number) is not int or number < 1:
        raise UnsupportedInput(f"{path}: jobs: expected a whole number from 1 on, found {number!r}")
    return Queue(str(path), system, _checked(path, system, settings), jobs or number)


def _content(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(read_bytes(path, MEGABYTE))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UnsupportedInput(f"{path}: not a YAML file: {reason}") from error
    if not isinstance(content, dict):
        raise UnsupportedInput(f"{path}: expected jobs and jobqueue, found something else")
    return content


def _library() -> ModuleType:
    """dask_jobqueue, whose import would take Ctrl-C from whoever runs."""
    kept = signal.getsignal(signal.SIGINT)
    try:
        import dask_jobqueue
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, kept)
    found: ModuleType = dask_jobqueue
    return found


def _checked(path: str | Path, system: str, settings: object) -> Mapping[str, Any]:
    """The settings, all of which dask-jobqueue knows."""
    try:
        import dask

        _library()  # its defaults come with it
    except ImportError as error:
        raise MissingBackend(
            "dask-jobqueue is not installed; pip install 'spikegpt-neuro[cluster]'"
        ) from error
    known = dask.config.get(f"jobqueue.{system}")
    place = f"{path}: jobqueue.{system}"
    if not isinstance(settings, dict):
        raise UnsupportedInput(f"{place}: expected settings such as cores and memory")
    for name in settings:
        if name not in known:
            raise UnsupportedInput(
                f"{place}.{name}: unknown key; expected one of {', '.join(known)}"
            )
    for name in ("cores", "memory"):
        if settings.get(name) is None and known[name] is None:
            raise UnsupportedInput(f"{place}.{name}: is missing; every job asks for some")
    return {"processes": settings.get("cores", 1), **settings}


@contextmanager
def submitted(queue: Queue) -> Iterator[Jobs]:
    """The jobs of a queue and a scheduler for them in this process; they end with the context.

    Raises :class:`UnsupportedInput` where the queue refuses such a job.
    """
    import dask

    kind = getattr(_library(), CLASSES[queue.system])
    submit = str(kind.job_cls.submit_command).split()[0]
    if shutil.which(submit) is None:
        raise UnsupportedInput(f"{queue.where}: {submit} is not here; run this where jobs are sent")
    prologue = [*PROLOGUE, *(queue.settings.get("job-script-prologue") or ())]
    # The default port of a dashboard may be taken; who wants one names it.
    serving = {"dashboard_address": None, **(queue.settings.get("scheduler-options") or {})}
    more = {"job-script-prologue": prologue, "scheduler-options": serving}
    settings = {f"jobqueue.{queue.system}": {**queue.settings, **more}}
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(_merged(settings)))
        stack.enter_context(
            dask.config.set({"distributed.deploy.lost-worker-timeout": LOST_SECONDS})
        )
        try:
            cluster = stack.enter_context(kind(silence_logs="critical"))
        except (ValueError, TypeError, RuntimeError, OSError) as error:
            raise UnsupportedInput(f"{queue.where}: {' '.join(str(error).split())}") from error
        if queue.system == "slurm":
            _try(queue, cluster)
        yield Jobs(cluster, queue)


def _merged(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Single settings, which leave the other defaults as they are."""
    return {f"{place}.{name}": value for place, s in settings.items() for name, value in s.items()}


def _try(queue: Queue, cluster: JobQueueCluster) -> None:
    """Raise where SLURM would refuse the job."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
        script.write(cluster.job_script())
        script.flush()
        answer = _asked("sbatch", "--test-only", script.name)
    if answer is None:
        raise UnsupportedInput(f"{queue.where}: sbatch does not answer; is SLURM running?")
    if answer.returncode != 0:
        said = " ".join(answer.stderr.split()) or "no reason given"
        raise UnsupportedInput(f"{queue.where}: sbatch refuses the job: {said}")


def _asked(*command: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


class Jobs:
    """The workers of a queue; what :class:`~spikegpt_neuro.cluster.crew.Crew` is for processes."""

    def __init__(self, cluster: JobQueueCluster, queue: Queue) -> None:
        self._cluster, self._queue = cluster, queue
        self._checked = time.monotonic()
        self._expected_since: dict[str, float] = {}
        self._met: set[str] = set()
        self._again = count()
        self.praise()
        cluster.scale(jobs=queue.jobs)

    @property
    def address(self) -> str:
        """Of the scheduler that they work for."""
        return str(self._cluster.scheduler_address)

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the jobs."""
        return tuple(str(job.job_id) for job in self._cluster.workers.values() if job.job_id)

    def praise(self) -> None:
        """They got something done: losses before do not count."""
        self._losses_left = self._queue.jobs * DEATHS_PER_JOB

    def check(self) -> None:
        """Submit a job for each that ended; raises :class:`WorkerFailed` where that is no use."""
        if time.monotonic() - self._checked < CHECK_SECONDS:
            return
        self._checked = time.monotonic()
        lost = self._lost()
        self._losses_left -= len(lost)
        if self._losses_left < 0:
            raise WorkerFailed(
                "the jobs end over and over; the files of log-directory say why "
                f"({self._queue.where})"
            )
        if lost:
            self._cluster.sync(self._replace, lost)

    def _lost(self) -> set[str]:
        """Names of workers whose job is over."""
        expected, there = set(self._cluster.worker_spec), dict(self._cluster.workers)
        now = time.monotonic()
        self._expected_since = {n: self._expected_since.get(n, now) for n in expected}
        self._met = (self._met & expected) | set(there)
        patience = now - SUBMIT_SECONDS
        gone = {
            name
            for name in expected - set(there)  # those not met yet are being submitted
            if name in self._met or self._expected_since[name] < patience
        }
        queued = self._queued() if self._queue.system == "slurm" else None
        if queued is not None:
            gone |= {name for name, job in there.items() if str(job.job_id) not in queued}
        return gone

    def _queued(self) -> set[str] | None:
        """Jobs of ours that wait or run; None where nobody says."""
        answer = _asked("squeue", "--me", "--noheader", "--states=PD,R,CF", "--format=%i")
        return set(answer.stdout.split()) if answer and answer.returncode == 0 else None

    async def _replace(self, lost: set[str]) -> None:
        """New ones under names of their own: what is still said of a lost one is not of them."""
        (spec,) = self._cluster.new_worker_spec().values()
        for name in lost:
            self._cluster.worker_spec.pop(name, None)
            self._cluster.worker_spec[f"again-{next(self._again)}"] = spec
        self._cluster.scale(jobs=self._queue.jobs)
