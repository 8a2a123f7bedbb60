"""Tasks go to the workers of a place, and their results come back in the order they are done."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError
from concurrent.futures import Future as Fetched
from concurrent.futures import TimeoutError as NotYet
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from spikegpt_neuro.cluster.crew import Crew
from spikegpt_neuro.cluster.jobs import Jobs, read_queue, submitted
from spikegpt_neuro.cluster.place import Place
from spikegpt_neuro.cluster.task import Perform, Task, result_of
from spikegpt_neuro.errors import MissingBackend, SpikeGPTError, UnsupportedInput, WorkerFailed
from spikegpt_neuro.remarks import remark

if TYPE_CHECKING:
    from distributed import Client, Future

ADDRESS = re.compile(r"(tcp|tls)://[^/\s]+:\d+")
CONNECT_SECONDS = 10.0
DASHBOARD = "127.0.0.1:0"
"""Of workers that are started here: some free port."""
POLL_SECONDS = 0.5
TASKS_PER_WORKER = 3
"""In flight at a time: none waits for work, and a text need not be sent all at once."""
FAILURES_ALLOWED = 10
"""Workers that may die on one task before it is given up."""


class Pool:
    """The workers of a place."""

    def __init__(self, client: Client, crew: Crew | Jobs | None = None) -> None:
        self._client, self._crew = client, crew
        self._address = str(client.scheduler.address)
        self._since, self._told = time.monotonic(), False
        self._shared: tuple[Future, ...] = ()

    @property
    def crew(self) -> Crew | Jobs | None:
        """The processes that were started, or the jobs that were submitted from here, if any."""
        return self._crew

    @property
    def dashboard(self) -> str | None:
        """Address of Dask's page that shows what the workers do; None where there is none."""
        with self._scheduler():
            known = self._client.scheduler_info().get("services", {})
            return str(self._client.dashboard_link) if known.get("dashboard") else None

    def share(self, content: bytes) -> None:
        """What every task gets from now on as its last argument; each worker gets it once.

        The scheduler keeps it, so that workers that come later have it, too.
        """
        with self._scheduler():
            self._shared = (self._client.submit(_as_it_is, content, pure=False),)

    def results(self, perform: Perform, tasks: Iterable[Task]) -> Iterator[tuple[int, Any]]:
        """(index, result) of every task, as they are done; few are in flight at a time.

        Raises what a task ended with, and :class:`WorkerFailed` where the scheduler is gone or a
        task ends its workers.
        """
        for index, found in self.outcomes(perform, tasks):
            if isinstance(found, SpikeGPTError):
                raise found
            yield index, found

    def outcomes(self, perform: Perform, tasks: Iterable[Task | None]) -> Iterator[tuple[int, Any]]:
        """(index, result or error) of every task, as they are done; few are in flight at a time.

        ``tasks`` may give None where the next one has to wait for results; None is not counted.
        Raises :class:`WorkerFailed` only where the scheduler is gone or no worker stays alive.
        """
        pending: dict[Future, int] = {}
        done: SimpleQueue[Future] = SimpleQueue()
        ahead, count = iter(tasks), 0
        try:
            while True:
                for task in _some(ahead, self._workers() * TASKS_PER_WORKER - len(pending)):
                    future = self._submit(perform, task)
                    pending[future] = count
                    count += 1
                    future.add_done_callback(done.put)
                if not pending:
                    return
                future = self._next(done)
                found = self._outcome(future)
                if self._crew is not None:
                    self._crew.praise()
                yield pending.pop(future), found
        finally:
            with suppress(Exception):  # a scheduler that is gone has forgotten them anyway
                self._client.cancel(list(pending))

    def _workers(self) -> int:
        with self._scheduler():
            return max(1, len(self._client.nthreads()))

    def _submit(self, perform: Perform, task: Task) -> Future:
        with self._scheduler():
            given = (task.text, task.payload, *self._shared)
            return self._client.submit(perform, *given, pure=False)

    def _next(self, done: SimpleQueue[Future]) -> Future:
        """Waits for one that is done."""
        while True:
            self._look_after()
            with suppress(Empty):
                return done.get(timeout=POLL_SECONDS)

    def _look_after(self) -> None:
        """See to the workers, and that there is a scheduler; to be called while one waits."""
        if self._crew is not None:
            self._crew.check()
        with self._scheduler():
            self._tell_if_alone()

    def _outcome(self, future: Future) -> Any:
        """Of one that is done, or its error; where its worker died with it, it is done again.

        It is fetched once and waited for in turns: a second ``future.result`` with a timeout may
        wait for the fetch of the first, which the first's timeout cancels.
        """
        fetched = None
        while True:
            self._look_after()
            with self._scheduler():
                if future.status == "error":
                    return self._explained(future.exception())
                if fetched is None:
                    fetched = self._fetched(future)
                with suppress(NotYet):
                    return _result_or_error(fetched.result(POLL_SECONDS))

    def _fetched(self, future: Future) -> Fetched[str]:
        """Its result, on the way here."""
        coming = self._client.gather(future, asynchronous=True)
        return asyncio.run_coroutine_threadsafe(coming, self._client.loop.asyncio_loop)

    def _explained(self, error: BaseException | None) -> SpikeGPTError:
        """What went wrong with a task beyond what :func:`carried_out` reports."""
        from distributed import KilledWorker

        if isinstance(error, KilledWorker):
            return WorkerFailed("a task ended every worker that tried it; has it enough memory?")
        if isinstance(error, ImportError):
            return MissingBackend(f"a worker of {self._address} lacks a package: {error}")
        return WorkerFailed(f"a worker failed: {type(error).__name__}: {error}")

    def _tell_if_alone(self) -> None:
        """Say once that nobody works for the scheduler."""
        if self._told or time.monotonic() - self._since < CONNECT_SECONDS:
            return
        self._told = True
        if not self._client.nthreads():
            remark(f"scheduler {self._address} has no workers yet; waiting for them")

    @contextmanager
    def _scheduler(self) -> Iterator[None]:
        """Whatever is asked of it, the scheduler may be gone."""
        from distributed.comm import CommClosedError

        try:
            if self._client.status != "running":
                raise CommClosedError
            yield
        except (CommClosedError, CancelledError) as error:
            raise WorkerFailed(
                f"scheduler {self._address} is gone; start it and run this again"
            ) from error


def _some(ahead: Iterator[Task | None], count: int) -> Iterator[Task]:
    """The next ``count`` at most, up to where none is to be had now."""
    for _ in range(count):
        if (found := next(ahead, None)) is None:
            return
        yield found


def _result_or_error(text: str) -> Any:
    try:
        return result_of(text)
    except SpikeGPTError as error:
        return error


def _as_it_is(content: bytes) -> bytes:
    """On a worker: what was uploaded."""
    return content


@contextmanager
def opened(place: Place, dashboard: bool = False) -> Iterator[Pool]:
    """The workers of ``place``; those started for it end with the context.

    ``dashboard``  show what they do on a page of this machine, where bokeh is installed.

    Raises :class:`MissingBackend` where Dask is not installed, :class:`UnsupportedInput` where no
    scheduler answers within 10 s, or a queue takes no such jobs.
    """
    try:
        import dask
        from distributed import LocalCluster
    except ImportError as error:
        raise MissingBackend(
            "Dask is not installed; pip install 'spikegpt-neuro[cluster]'"
        ) from error
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        if place.scheduler is not None:
            yield Pool(stack.enter_context(_client(place.scheduler)))
            return
        stack.enter_context(
            dask.config.set({"distributed.scheduler.allowed-failures": FAILURES_ALLOWED})
        )
        if place.cluster is not None:
            jobs = stack.enter_context(submitted(read_queue(place.cluster, place.workers)))
            yield Pool(stack.enter_context(_client(jobs.address)), jobs)
            return
        cluster = stack.enter_context(
            LocalCluster(
                n_workers=0,
                host="127.0.0.1",
                protocol="tcp",
                dashboard_address=DASHBOARD if dashboard and find_spec("bokeh") else None,
                silence_logs=logging.CRITICAL,
            )
        )
        crew = stack.enter_context(Crew(cluster.scheduler_address, place.workers or 1))
        yield Pool(stack.enter_context(_client(cluster.scheduler_address)), crew)


@contextmanager
def _client(address: str) -> Iterator[Client]:
    from distributed import Client

    _ask(address)
    client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    try:
        yield client
    finally:
        with suppress(Exception):  # of one whose scheduler is gone
            client.close(timeout=POLL_SECONDS)


def _ask(address: str) -> None:
    """Raise unless a scheduler of Dask answers in time.

    Asked before there is a client: one that never met its scheduler closes only with noise.
    """
    if not ADDRESS.fullmatch(address):
        raise UnsupportedInput(f"scheduler {address}: expected an address such as tcp://HOST:8786")
    try:
        kind = asyncio.run(asyncio.wait_for(_kind(address), CONNECT_SECONDS))
    except Exception as error:  # whatever listens there may say anything
        raise UnsupportedInput(
            f"scheduler {address}: no answer of a Dask scheduler within {CONNECT_SECONDS:g} s; "
            "is it running?"
        ) from error
    if kind != "Scheduler":
        raise UnsupportedInput(f"scheduler {address}: a {kind} of Dask is there, no scheduler")


async def _kind(address: str) -> str:
    """What a server of Dask says that it is."""
    from distributed.core import connect

    comm = await connect(address, timeout=CONNECT_SECONDS)
    try:
        await comm.write({"op": "identity", "reply": True})
        answer = await comm.read()
        return str(answer["type"])
    finally:
        comm.abort()


@contextmanager
def _quiet() -> Iterator[None]:
    """Dask's log stays out of the way of ours: what matters in it comes as an error."""
    log = logging.getLogger("distributed")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
