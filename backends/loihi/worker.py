"""The supervised child of a run on Loihi 2, or of its rehearsal.

It speaks as Lava's worker does (:mod:`spikegpt_neuro.backends.lava.worker`) and is supervised in
the same way. On hardware it makes exactly one run, and releases the system whatever happens:
when the run ends, fails, is interrupted (SIGTERM), or the caller is gone (SIGUSR1).
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

from spikegpt_neuro.backends.lava.job import Job, remove
from spikegpt_neuro.backends.lava.machine import raise_soft_limits
from spikegpt_neuro.backends.lava.worker import (
    Messages,
    end_all_processes,
    lava_error,
    lost_process,
    run_tokens,
    serve,
)
from spikegpt_neuro.backends.loihi import limits
from spikegpt_neuro.backends.loihi.access import require_extension
from spikegpt_neuro.backends.loihi.connection import connect
from spikegpt_neuro.backends.loihi.deployment import Deployment
from spikegpt_neuro.backends.loihi.job import LoihiSettings, write_measured

RELEASE_SECONDS = 5.0


class CutShort(BaseException):
    """The run is to end now."""


def main() -> None:
    """Run the job that the arguments name."""
    serve(run)


def run(job: Job, messages: Messages) -> None:
    """Build, run, report, stop."""
    settings = LoihiSettings.read(job.directory)
    if settings.rehearse:
        deployment = _deployment(job, settings)
        raise_soft_limits()
        _rehearse(deployment, job, messages)
        return
    require_extension()
    connect(settings.connection)
    _measure(_deployment(job, settings), settings, job, messages)


def _deployment(job: Job, settings: LoihiSettings) -> Deployment:
    from spikegpt_neuro.graph.artifact import load

    deployment = settings.deployment(load(job.settings.artifact))
    limits.check_arithmetic(deployment)
    return deployment


def _network(deployment: Deployment, job: Job, platform: Any) -> Any:
    from spikegpt_neuro.backends.lava.networks import compile_programs, recorders_of
    from spikegpt_neuro.backends.loihi.networks import network_of

    compile_programs(deployment.graph)
    recorders = recorders_of(deployment.graph, job)
    return network_of(deployment, platform, job.tokens, recorders)


def _rehearse(deployment: Deployment, job: Job, messages: Messages) -> None:
    from spikegpt_neuro.backends.loihi.platforms import Rehearsal

    platform = Rehearsal(deployment.crossing)
    network = _network(deployment, job, platform)
    with _ending_with_any_actor(network):
        network.entry.create_runtime(platform.run_configuration())
        messages.send("ready")
        run_tokens(network, len(job.tokens), messages)
    network.entry.stop()


def _measure(deployment: Deployment, settings: LoihiSettings, job: Job, messages: Messages) -> None:
    """One run on hardware, with one probe or none."""
    from lava.magma.core.run_conditions import RunSteps

    from spikegpt_neuro.backends.loihi.networks import check_on_neuro_cores
    from spikegpt_neuro.backends.loihi.platforms import Hardware
    from spikegpt_neuro.backends.loihi.probes import make_probe

    platform, steps = Hardware(), len(job.tokens) + deployment.depth
    probe = None if settings.probe is None else make_probe(settings.probe)
    network = _network(deployment, job, platform)
    configuration = platform.run_configuration([] if probe is None else probe.callbacks)
    if probe is not None:
        probe.attach(configuration, steps)
    with _released(network, job, messages), _ending_with_any_actor(network):
        executable = network.entry.compile(configuration)
        check_on_neuro_cores(network)
        network.entry.create_runtime(configuration, executable)
        messages.send("ready")
        begin = time.perf_counter()
        network.entry.run(RunSteps(num_steps=steps), configuration)
        seconds = time.perf_counter() - begin
    if probe is not None:
        write_measured(job.directory, {"steps": steps, **probe.read()})
    messages.send("done", seconds=seconds)


@contextmanager
def _released(network: Any, job: Job, messages: Messages) -> Iterator[None]:
    """Stop the runtime at the end; cut short, try to for a while, then end every process.

    Stopping a run that has failed may hang: Lava waits for processes that will not answer.
    """
    parent = os.getppid()

    def cut_short(_signal: int, _frame: FrameType | None) -> NoReturn:
        _handle_ends(signal.SIG_IGN)
        raise CutShort

    def parent_ended(number: int, frame: FrameType | None) -> None:
        if os.getppid() != parent:
            cut_short(number, frame)

    # Lava's own processes simply end.
    os.register_at_fork(after_in_child=lambda: _handle_ends(signal.SIG_DFL))
    signal.signal(signal.SIGTERM, cut_short)
    signal.signal(signal.SIGUSR1, parent_ended)

    def end() -> NoReturn:
        if os.getppid() != parent:
            remove(job.directory)
        end_all_processes()

    try:
        yield
        network.entry.stop()
    except BaseException as error:
        _handle_ends(signal.SIG_IGN)  # the release has begun
        with suppress(OSError):  # the caller may be gone
            messages.tell(lava_error(network) or error)
        threading.Timer(RELEASE_SECONDS, end).start()
        with suppress(BaseException):
            network.entry.stop()
        end()


def _handle_ends(handler: signal.Handlers) -> None:
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, handler)


@contextmanager
def _ending_with_any_actor(network: Any) -> Iterator[None]:
    """End the job as soon as one of Lava's processes dies while the network should run.

    Other children are none of ours: on hardware there are compilers and network clients.
    """

    def child_ended(_signal: int, _frame: FrameType | None) -> None:
        for actor in _actors(network):
            with suppress(ChildProcessError):
                ended = os.waitid(os.P_PID, actor.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if ended is not None:
                    raise lava_error(network) or lost_process(ended)

    signal.signal(signal.SIGCHLD, child_ended)
    try:
        yield
    except Exception as error:
        raise lava_error(network) or error from error
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _actors(network: Any) -> list[Any]:
    runtime = network.entry._runtime
    infrastructure = None if runtime is None else runtime._messaging_infrastructure
    return [] if infrastructure is None else list(infrastructure.actors)
