"""The supervised child: its arguments are a job directory and the mark of its messages.

It builds the Lava network of the job, runs it and tells its caller what happens: on the standard
output it was started with, a line with the mark and a JSON object each: ``ready``, ``progress``,
``logits``, ``done`` or ``error``. Whatever else prints goes to standard error.

Nothing outlives it. It leads its own session, so that the caller can end all of Lava's
processes with one signal. On Linux the kernel tells it when the caller is gone, and ends Lava's
processes when it is gone itself. A Lava process that dies ends the run: Lava would wait for it
forever. No torch may be imported here: forking after torch has used threads hangs.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from spikegpt_neuro.backends.lava import limits
from spikegpt_neuro.backends.lava.compat import load_lava
from spikegpt_neuro.backends.lava.job import Job, remove, sockets_of
from spikegpt_neuro.backends.lava.machine import advice, fate, raise_soft_limits
from spikegpt_neuro.errors import SpikeGPTError, WorkerFailed

PR_SET_PDEATHSIG = 1
FIRST_CHUNK_STEPS = 4
REPORT_SECONDS = 0.5
MESSAGE_CHARACTERS = 600


class Messages:
    """The line to the caller: the original standard output, kept apart from what Lava prints."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        sys.stdout.flush()  # what was printed on import is not ours, and comes before
        self._descriptor = os.dup(sys.stdout.fileno())
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        os.register_at_fork(after_in_child=lambda: os.close(self._descriptor))

    def send(self, event: str, **values: Any) -> None:
        """One line, written at once: shorter than what a pipe takes in one piece."""
        message = json.dumps({"event": event, **values})
        os.write(self._descriptor, f"\n{self._mark}{message}\n".encode())

    def fail(self, error: BaseException) -> NoReturn:
        """Report an error and end every process of this job."""
        self.tell(error)
        end_all_processes()

    def tell(self, error: BaseException) -> None:
        """Report an error."""
        known = isinstance(error, SpikeGPTError)
        text = str(error)
        if not known:
            text = f"Lava worker: {type(error).__name__}: {error}{advice(str(error))}"
        kind = type(error).__name__ if known else WorkerFailed.__name__
        self.send("error", text=" ".join(text.split())[:MESSAGE_CHARACTERS], kind=kind)


def end_all_processes() -> NoReturn:
    """Kill this process and all of Lava's, which share its process group."""
    os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def main() -> None:
    """Run the job that the arguments name."""
    serve(_run)


def serve(run: Callable[[Job, Messages], None]) -> None:
    """Let ``run`` do the job that the arguments name; the caller hears of whatever goes wrong."""
    directory, mark = sys.argv[1:]
    messages = Messages(mark)
    _start_tracker(directory)
    os.setsid()
    try:
        job = Job(Path(directory))
        _end_with_parent(job)
        tempfile.tempdir = str(sockets_of(job.directory))  # what Python itself makes goes there
        load_lava()
        run(job, messages)
    except BaseException as error:  # whatever it is, the caller must hear of it
        traceback.print_exc()
        messages.fail(error)


def _start_tracker(directory: str) -> None:
    """Start the process that removes shared memory: it must outlive the others.

    It is started before the new session, and away from the user's folder: it is a Python of its
    own, which imports what lies where it is started.
    """
    here = os.open(".", getattr(os, "O_PATH", os.O_RDONLY))
    os.chdir(directory)
    try:
        resource_tracker.ensure_running()
    finally:
        os.fchdir(here)
        os.close(here)


def _run(job: Job, messages: Messages) -> None:
    """Build, run, report, stop."""
    from spikegpt_neuro.backends.lava import networks
    from spikegpt_neuro.graph.artifact import load

    settings = job.settings
    graph = load(settings.artifact)
    if settings.granularity == "population":
        limits.check_stock_arithmetic(graph)
    raise_soft_limits()
    networks.compile_programs(graph)
    if settings.granularity == "population":
        network = networks.population_network(graph, job)
    else:
        network = networks.block_network(graph, job, closed_loop=settings.closed_loop)
    with _ending_with_any_child(network, messages):
        channels = {"pypy_channel_size": network.channel_slots}
        network.entry.create_runtime(networks.run_configuration(), compile_config=channels)
        messages.send("ready")
        if settings.closed_loop:
            _answer(network, job, messages)
        else:
            run_tokens(network, len(job.tokens), messages, frame=settings.frame)
    network.entry.stop()


def run_tokens(network: Any, tokens: int, messages: Messages, *, frame: int = 1) -> None:
    """All time steps, each for ``frame`` tokens, in chunks of about half a second."""
    from lava.magma.core.run_conditions import RunSteps

    begin = time.perf_counter()
    steps, done, chunk = -(-tokens // frame) + network.depth, 0, FIRST_CHUNK_STEPS
    while done < steps:
        chunk = min(chunk, steps - done)
        network.entry.run(RunSteps(num_steps=chunk))
        done += chunk
        seconds = time.perf_counter() - begin
        messages.send("progress", done=min(tokens, max(0, done - network.depth) * frame))
        chunk = max(1, int(done / seconds * REPORT_SECONDS))
    messages.send("done", seconds=time.perf_counter() - begin)


def _answer(network: Any, job: Job, messages: Messages) -> None:
    """Closed loop: a token id per line of standard input, until it is closed."""
    import numpy as np
    from lava.magma.core.run_conditions import RunSteps

    logits = job.logits
    for line in sys.stdin:
        network.injector.send(np.array([[int(line)]]))
        network.entry.run(RunSteps(num_steps=1))
        logits[:] = network.extractor.receive()
        messages.send("logits")


@contextmanager
def _ending_with_any_child(network: Any, messages: Messages) -> Iterator[None]:
    """End the job as soon as one of Lava's processes dies while the network should run."""

    def child_ended(_signal: int, _frame: FrameType | None) -> None:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is not None:
            messages.fail(lava_error(network) or lost_process(ended))

    signal.signal(signal.SIGCHLD, child_ended)
    try:
        yield
    except Exception as error:
        messages.fail(lava_error(network) or error)
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def lava_error(network: Any) -> WorkerFailed | None:
    """What a Lava process raised, which Lava itself keeps to itself."""
    runtime = network.entry._runtime
    actors = runtime._messaging_infrastructure.actors if runtime is not None else []
    for actor in actors:
        if actor.exception is not None:
            text = str(actor.exception[0])
            return WorkerFailed(f"Lava: {text}{advice(text)}")
    return None


def lost_process(ended: os.waitid_result) -> WorkerFailed:
    """A process of Lava's is gone, and has not said why."""
    how = f"ended unexpectedly (status {ended.si_status})"
    if ended.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
        how = f"ended unexpectedly (status {ended.si_status}): it {fate(ended.si_status)}"
    return WorkerFailed(f"Lava: process {ended.si_pid} {how}")


def _end_with_parent(job: Job) -> None:
    """End when the caller does; make Lava's processes end when this one does."""
    parent = os.getppid()

    def end() -> NoReturn:
        remove(job.directory)
        end_all_processes()

    def parent_ended(_signal: int = 0, _frame: FrameType | None = None) -> None:
        if os.getppid() != parent:  # else only the thread that started this process has ended
            end()

    signal.signal(signal.SIGUSR1, parent_ended)
    set_death_signal = _death_signal_setter()
    set_death_signal(signal.SIGUSR1)
    parent_ended()
    if select.select([sys.stdin], [], [], 0)[0]:  # closed already: the caller has ended before
        end()
    worker = os.getpid()

    def in_child() -> None:
        set_death_signal(signal.SIGKILL)
        if os.getppid() != worker:
            os._exit(1)

    os.register_at_fork(after_in_child=in_child)


def _death_signal_setter() -> Callable[[int], object]:
    """``prctl(PR_SET_PDEATHSIG, signal)`` where there is such a thing."""
    if not sys.platform.startswith("linux"):
        return lambda _signal: None
    library = ctypes.CDLL(None, use_errno=True)
    return lambda number: library.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
