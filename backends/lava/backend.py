"""The Lava backend: the graph on Lava's CPU simulation of Loihi 2, bit for bit.

Two granularities give the same integers:

``population``  every projection a stock Dense, or Sparse where it is sparse, every LIF a stock LIF
                process, a custom process for each other population; pipelined, one token enters
                per time step. This is what would go onto a chip.
``block``       one process per SpikeGPT block, for speed on a CPU. The tokens of a run are known
                in advance, and one time step of Lava carries a *frame* of them through all
                blocks: a time step is then not a token, and its cost is shared by the frame.
                A session closes the loop by block, in frames of one token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.backends.lava.job import (
    Granularity,
    Job,
    job_directory,
    read_counts,
    read_events,
    write_job,
)
from spikegpt_neuro.backends.lava.limits import footprint
from spikegpt_neuro.backends.lava.machine import check_machine
from spikegpt_neuro.backends.lava.supervisor import Worker
from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.neurons.lif import LIF
from spikegpt_neuro.neurons.program import IntArray
from spikegpt_neuro.running import (
    Progress,
    ProjectionActivity,
    Record,
    Run,
    check_tokens,
    recorded_populations,
)

FRAME_TOKENS = 256
"""Measured on the example: half the speed of the reference's sequence mode; 64: a third."""


@dataclass
class LavaBackend:
    """Lava in a supervised child process.

    ``granularity``  ``"population"`` or ``"block"`` (a closed loop always runs by block).
    ``frame``        tokens per time step by block; None: ``FRAME_TOKENS``. The integers do not
                     depend on it. By population, and in a closed loop, it is always 1.
    ``time_limit``   seconds, start included, after which a run is ended; None: no limit. In a
                     closed loop it is the limit of the whole session.
    ``lava_python``  interpreter that has Lava and this package; None: the running one.
    ``artifact``     directory where the graph is already saved; None: it is saved for each run.
    """

    granularity: Granularity = "population"
    time_limit: float | None = None
    lava_python: str | None = None
    artifact: str | None = None
    frame: int | None = None
    name: str = field(default="lava", init=False)

    def __post_init__(self) -> None:
        if self.granularity not in get_args(Granularity):
            raise UsageError(
                f"granularity is {self.granularity!r}, expected one of {get_args(Granularity)}"
            )
        if self.frame is not None and self.frame < 1:
            raise UsageError(f"frame is {self.frame}: expected 1 token or more")
        if self.granularity == "population" and self.frame not in (None, 1):
            raise UsageError(
                f"a frame of {self.frame} tokens: by population a time step is one token; "
                "frames need granularity='block'"
            )

    @property
    def tokens_per_step(self) -> int:
        """Tokens that one time step of a run carries."""
        if self.granularity == "population":
            return 1
        return FRAME_TOKENS if self.frame is None else self.frame

    def run(
        self,
        graph: SpikingGraph,
        tokens: NDArray[np.int64],
        *,
        record: Record = "spikes",
        progress: Progress | None = None,
    ) -> Run:
        """Run ``tokens`` from the initial state; see :class:`spikegpt_neuro.running.Backend`."""
        tokens = check_tokens(graph, tokens)
        recorded = recorded_populations(graph, record)
        with self._job(graph, tokens, recorded=tuple(recorded)) as job, self._worker(job) as worker:
            worker.receive("ready")
            startup = worker.seconds
            message = worker.receive("progress", "done")
            while message["event"] == "progress":
                if progress is not None:
                    progress(message["done"], len(tokens))
                message = worker.receive("progress", "done")
            return self._result(job, graph, tokens, startup, message["seconds"])

    @contextmanager
    def session(self, graph: SpikingGraph) -> Iterator[LavaSession]:
        """A closed loop at block granularity, for generation."""
        none = np.zeros(0, np.int64)
        with self._job(graph, none, closed_loop=True) as job, self._worker(job) as worker:
            worker.receive("ready")
            yield LavaSession(graph, job, worker)

    @contextmanager
    def _job(
        self,
        graph: SpikingGraph,
        tokens: NDArray[np.int64],
        *,
        recorded: tuple[str, ...] = (),
        closed_loop: bool = False,
    ) -> Iterator[Job]:
        """A job directory that is removed whatever happens."""
        granularity: Granularity = "block" if closed_loop else self.granularity
        frame = 1 if closed_loop else min(self.tokens_per_step, max(1, len(tokens)))
        needs = footprint(graph, granularity, closed_loop=closed_loop, frame=frame)
        check_machine(needs, len(recorded), _remedy(granularity, frame))
        with job_directory("sgn-lava-") as directory:
            yield write_job(
                directory,
                graph,
                tokens,
                granularity=granularity,
                closed_loop=closed_loop,
                recorded=recorded,
                artifact=self.artifact,
                frame=frame,
            )

    def _worker(self, job: Job) -> Worker:
        return Worker(job.directory, self.lava_python, self.time_limit)

    def _result(
        self,
        job: Job,
        graph: SpikingGraph,
        tokens: NDArray[np.int64],
        startup: float,
        seconds: float,
    ) -> Run:
        stock = self.granularity == "population"
        counting = [p.name for p in graph.populations if not (stock and isinstance(p.program, LIF))]
        return Run(
            tokens=tokens,
            logits_int=np.array(job.logits),
            logit_scale=graph.logit_scale,
            events=read_events(job, graph),
            activity=activity_from(job, graph, len(tokens)),
            counts=read_counts(job, graph, counting),
            seconds=seconds,
            startup_seconds=startup,
        )


def _remedy(granularity: Granularity, frame: int) -> str:
    """What makes a run smaller."""
    if granularity == "population":
        return "use granularity='block'"
    return "use smaller frames (frame=...)" if frame > 1 else "use a smaller model"


class LavaSession:
    """A closed loop through Lava; see :class:`spikegpt_neuro.running.Session`."""

    def __init__(self, graph: SpikingGraph, job: Job, worker: Worker) -> None:
        self._graph = graph
        self._logits = job.logits
        self._worker = worker

    def step(self, token: int) -> IntArray:
        """Integer logits (V,) after ``token``."""
        (checked,) = check_tokens(self._graph, [token])
        self._worker.send(str(int(checked)))
        self._worker.receive("logits")
        logits: IntArray = np.array(self._logits[0])
        return logits


def activity_from(job: Job, graph: SpikingGraph, tokens: int) -> Mapping[str, ProjectionActivity]:
    """Activity from the events that the run itself counted, population by population."""
    sent = {p.name: job.sent(index) for index, p in enumerate(graph.populations)}
    return {q.name: ProjectionActivity.of(q, sent[q.source], tokens) for q in graph.projections}
