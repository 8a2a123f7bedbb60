"""The caller's end of the worker: start it, hear it, limit its time, end all of it.

The worker's messages come on its standard output, where others may write, too: a shell around the
interpreter, a module that greets. Lines with the run's mark are messages; the rest is logged.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from spikegpt_neuro.backends.lava.compat import INSTALL_LATER
from spikegpt_neuro.backends.lava.machine import fate
from spikegpt_neuro.errors import (
    CheckFailed,
    DoesNotFit,
    MissingBackend,
    SpikeGPTError,
    UnsupportedInput,
    UsageError,
    WorkerFailed,
)
from spikegpt_neuro.sealing import sealed, sealed_environment

WORKER = "spikegpt_neuro.backends.lava.worker"
POLL_SECONDS = 1.0
FAREWELL_SECONDS = 10.0
MARK_BYTES = 16
LINE_BYTES = 1 << 20
"""A line longer than that is none of the worker's."""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
ERRORS: dict[str, type[SpikeGPTError]] = {
    kind.__name__: kind
    for kind in (CheckFailed, DoesNotFit, UsageError, UnsupportedInput, MissingBackend)
}
"""What a worker may report by name; everything else is a :class:`WorkerFailed`."""


class Worker:
    """A running worker; leaving the ``with`` block ends it and all of Lava's processes.

    ``interpreter``  the Python that has Lava; ``time_limit`` in seconds since the start.
    ``module``       what it runs.
    ``grace``        seconds in which a run that is cut short may release its hardware: the
                     worker is asked to (SIGTERM) before everything is ended.
    """

    def __init__(
        self,
        directory: Path,
        interpreter: str | None,
        time_limit: float | None,
        *,
        module: str = WORKER,
        grace: float = 0.0,
    ) -> None:
        self._grace = grace
        self._interpreter = interpreter or sys.executable
        self._limit = time_limit
        self._begin = time.perf_counter()
        self._received = b""
        mark = secrets.token_hex(MARK_BYTES)
        self._mark = mark.encode()
        self._log_path = directory / "stderr.txt"
        self._log: IO[bytes] = self._log_path.open("wb")
        try:
            self._process = subprocess.Popen(
                [self._interpreter, *sealed(module), str(directory), mark],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=sealed_environment(ONE_THREAD),
            )
        except OSError as error:
            self._log.close()
            raise MissingBackend(
                f"Lava's interpreter {self._interpreter} cannot be started: {error.strerror}"
            ) from error

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            if kind is None:
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(FAREWELL_SECONDS)
        finally:
            self._kill()
            self._process.stdout.close()
            self._log.close()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._begin

    def send(self, line: str) -> None:
        """Write one line to the worker."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; what it said last is read next

    def receive(self, *expected: str) -> Mapping[str, Any]:
        """The next message; raises what an ``error`` message, an end or a time-out means."""
        message: dict[str, Any] = json.loads(self._line())
        if message["event"] == "error":
            raise ERRORS.get(message["kind"], WorkerFailed)(message["text"])
        if message["event"] not in expected:
            raise WorkerFailed(f"Lava worker said {message['event']!r}, expected {expected}")
        return message

    def _line(self) -> bytes:
        """The worker's next message; whatever else comes before it goes to the log."""
        while True:
            line = self._any_line()
            _, mark, message = line.rpartition(self._mark)
            if mark:
                return message
            self._log.write(line + b"\n")
            self._log.flush()

    def _any_line(self) -> bytes:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._received:
            readable, _, _ = select.select([descriptor], [], [], self._patience())
            piece = os.read(descriptor, 65536) if readable else None
            if piece == b"" or (piece is None and self._process.poll() is not None):
                raise self._early_end()
            if len(self._received) > LINE_BYTES:  # a message has an end, and begins a line
                self._received = b""
            self._received += piece or b""
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _patience(self) -> float:
        if self._limit is None:
            return POLL_SECONDS
        remaining = self._limit - self.seconds
        if remaining <= 0:
            raise WorkerFailed(
                f"Lava did not finish within the time limit of {self._limit:g} s: "
                "use fewer tokens or a longer limit, or granularity='block' with the lava backend"
            )
        return min(POLL_SECONDS, remaining)

    def _early_end(self) -> SpikeGPTError:
        status = self._process.wait()
        last = (self._log_path.read_text("utf-8", "replace").strip().splitlines() or [""])[-1]
        if "No module named" in last:
            return MissingBackend(
                f"Lava's interpreter {self._interpreter} lacks a package ({last}); install "
                f"spikegpt-neuro and Lava there: pip install spikegpt-neuro && {INSTALL_LATER}"
            )
        if status < 0:
            return WorkerFailed(f"Lava's worker {fate(-status)}")
        return WorkerFailed(f"Lava's worker ended with status {status}: {last or 'no message'}")

    def _kill(self) -> None:
        """End the worker's whole process group, then collect the worker."""
        if self._process.poll() is not None:
            return  # the kernel has ended the others with it
        try:
            if self._grace:
                self._process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(self._grace)
        finally:
            self._end_group()

    def _end_group(self) -> None:
        with suppress(ProcessLookupError):  # it has no group of its own yet
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
