"""Worker processes on this machine: started, replaced where one dies, ended with this process."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import suppress
from types import TracebackType

from spikegpt_neuro.errors import WorkerFailed
from spikegpt_neuro.sealing import sealed, sealed_environment

WORKER = "distributed.cli.dask_worker"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
OPTIONS = ("--nthreads=1", "--no-nanny", "--no-dashboard", "--memory-limit=0", "--death-timeout=30")
SETTINGS = {**dict.fromkeys(THREADS, "1"), "DASK_DISTRIBUTED__WORKER__PROFILE__INTERVAL": "100ms"}
"""Of a worker's environment. Every look of Dask's profiler stops the work for a moment: its own
interval of 10 ms takes some 3 % of it."""
DEATHS_PER_WORKER = 15
"""So many may die with nothing done; more than the pool allows a task (FAILURES_ALLOWED)."""
FAREWELL_SECONDS = 5.0
LOG_BYTES = 4096


class Crew:
    """``count`` processes that work for the scheduler at ``address``.

    They need no one to restart them but :meth:`check`, and leave when the scheduler is gone.
    """

    def __init__(self, address: str, count: int) -> None:
        self._address = address
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        self._count = count
        self.praise()
        self._processes = [self._start() for _ in range(count)]

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, *sealed(WORKER), self._address, *OPTIONS],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=sealed_environment(SETTINGS),
            start_new_session=True,  # Ctrl-C is for this process, which then ends them
        )

    def praise(self) -> None:
        """They got something done: deaths before do not count."""
        self._deaths_left = self._count * DEATHS_PER_WORKER

    @property
    def ids(self) -> tuple[int, ...]:
        """Of the processes."""
        return tuple(process.pid for process in self._processes)

    def check(self) -> None:
        """Start a worker for each that ended; raises :class:`WorkerFailed` where that is no use."""
        for index, process in enumerate(self._processes):
            if process.poll() is not None:
                if self._deaths_left == 0:
                    raise WorkerFailed(
                        f"the workers end over and over; the last line: {self._said}"
                    )
                self._deaths_left -= 1
                self._processes[index] = self._start()

    @property
    def _said(self) -> str:
        """The last line that a worker wrote."""
        end = self._log.seek(0, 2)
        self._log.seek(max(0, end - LOG_BYTES))
        lines = self._log.read().decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "none")

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._processes:
            process.kill()  # what they know is here, or is worth nothing
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(FAREWELL_SECONDS)
        self._log.close()
