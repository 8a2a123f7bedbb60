"""The Loihi backend: weights and LIFs on the chip, everything else on the host, bit for bit.

The same network runs on the CPU (``rehearse``) and on Loihi 2; see :mod:`.platforms` for the one
difference. A run on hardware needs Lava's Loihi extension, which is not public.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.backends.lava.backend import activity_from
from spikegpt_neuro.backends.lava.job import (
    Job,
    job_directory,
    read_counts,
    read_events,
    write_job,
)
from spikegpt_neuro.backends.lava.supervisor import Worker
from spikegpt_neuro.backends.loihi.access import require_extension
from spikegpt_neuro.backends.loihi.connection import find_connection
from spikegpt_neuro.backends.loihi.deployment import Crossing, Deployment, deploy
from spikegpt_neuro.backends.loihi.job import LoihiSettings, Probe, read_measured
from spikegpt_neuro.backends.loihi.limits import check_rehearsal
from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.running import (
    Progress,
    Record,
    Run,
    Session,
    check_tokens,
    recorded_populations,
)

WORKER = "spikegpt_neuro.backends.loihi.worker"
GRACE_SECONDS = 8.0
"""More than the worker takes to release a system, or to give up trying."""


@dataclass
class LoihiBackend:
    """Loihi 2, or its rehearsal on the CPU, in a supervised child process.

    ``rehearse``         run the same network on the CPU; without it, a run needs hardware.
    ``slurm``, ``host``, ``chip_generation``, ``config``  which system;
                         see :mod:`spikegpt_neuro.backends.loihi.connection`.
    ``layers``, ``only_projection``  what goes onto the chip: some layers (``"0-3"``), or
                         projections by name; the whole model where neither is given.
    ``adapter_steps``    time steps of the adapters (to the chip, to the host).
    ``time_limit``       seconds, start included, after which a run is ended; None: no limit.
    ``lava_python``      interpreter that has Lava and this package; None: the running one.
    ``artifact``         directory where the graph is already saved; None: it is saved for each run.
    """

    rehearse: bool = False
    slurm: str | None = None
    host: str | None = None
    chip_generation: str | None = None
    config: str | None = None
    layers: str | None = None
    only_projection: Sequence[str] = ()
    adapter_steps: tuple[int, int] = (0, 0)
    time_limit: float | None = None
    lava_python: str | None = None
    artifact: str | None = None
    name: str = field(default="loihi", init=False)

    def run(
        self,
        graph: SpikingGraph,
        tokens: NDArray[np.int64],
        *,
        record: Record = "spikes",
        progress: Progress | None = None,
    ) -> Run:
        """Run ``tokens`` from the initial state; see :class:`spikegpt_neuro.running.Backend`.

        Raises :class:`spikegpt_neuro.errors.MissingBackend` where Lava, or without ``rehearse``
        its Loihi extension, is missing.
        """
        return self._run(graph, tokens, recorded_populations(graph, record), None, progress)[0]

    def measure(
        self, graph: SpikingGraph, tokens: NDArray[np.int64], probe: Probe
    ) -> tuple[Run, dict[str, Any]]:
        """One run on hardware with one probe: logits, and what the probe said (raw)."""
        if self.rehearse:
            raise UsageError(
                "a rehearsal on the CPU measures nothing of a chip; leave out rehearse=True"
            )
        return self._run(graph, tokens, [], probe, None)

    def session(self, graph: SpikingGraph) -> AbstractContextManager[Session]:
        """Always raises: a token takes many steps between host and chip, so no loop is closed."""
        if not self.rehearse:
            require_extension()
        raise UsageError(
            "loihi has no closed loop: between host and chip one token takes "
            f"{self.deployment(graph).depth + 1} time steps; generate with backend='lava'"
        )

    def deployment(self, graph: SpikingGraph) -> Deployment:
        """What of ``graph`` goes onto the chip."""
        crossing = Crossing(*self.adapter_steps)
        return deploy(graph, self.layers, tuple(self.only_projection), crossing)

    def settings(self, probe: Probe | None = None) -> LoihiSettings:
        """What the worker is told; raises :class:`UsageError` for contradictory options."""
        options = {
            "slurm": self.slurm,
            "host": self.host,
            "chip_generation": self.chip_generation,
        }
        connection = None
        if not self.rehearse:
            connection = find_connection(options, os.environ, self.config)
        crossing = Crossing(*self.adapter_steps)
        only = tuple(self.only_projection)
        return LoihiSettings(self.rehearse, self.layers, only, crossing, connection, probe)

    def _run(
        self,
        graph: SpikingGraph,
        tokens: NDArray[np.int64],
        recorded: Sequence[str],
        probe: Probe | None,
        progress: Progress | None,
    ) -> tuple[Run, dict[str, Any]]:
        tokens = check_tokens(graph, tokens)
        deployment = self.deployment(graph)
        with (
            self._job(graph, tokens, recorded, probe) as job,
            self._worker(job) as worker,
        ):
            worker.receive("ready")
            startup = worker.seconds
            message = worker.receive("progress", "done")
            while message["event"] == "progress":
                if progress is not None:
                    progress(message["done"], len(tokens))
                message = worker.receive("progress", "done")
            run = _result(job, deployment, tokens)
            run = replace(run, seconds=message["seconds"], startup_seconds=startup)
            return run, {} if probe is None else read_measured(job.directory)

    @contextmanager
    def _job(
        self,
        graph: SpikingGraph,
        tokens: NDArray[np.int64],
        recorded: Sequence[str],
        probe: Probe | None,
    ) -> Iterator[Job]:
        """A job directory that is removed whatever happens."""
        settings = self.settings(probe)
        if self.rehearse:
            check_rehearsal(self.deployment(graph), len(recorded))
        with job_directory("sgn-loihi-") as directory:
            settings.write(directory)
            yield write_job(
                directory,
                graph,
                tokens,
                granularity="population",
                closed_loop=False,
                recorded=recorded,
                artifact=self.artifact,
            )

    def _worker(self, job: Job) -> Worker:
        grace = 0.0 if self.rehearse else GRACE_SECONDS
        return Worker(job.directory, self.lava_python, self.time_limit, module=WORKER, grace=grace)


def _result(job: Job, deployment: Deployment, tokens: NDArray[np.int64]) -> Run:
    graph = deployment.graph
    on_host = [p.name for p in graph.populations if p.name not in deployment.lifs]
    return Run(
        tokens=tokens,
        logits_int=np.array(job.logits),
        logit_scale=graph.logit_scale,
        events=read_events(job, graph),
        activity=activity_from(job, graph, len(tokens)),
        counts=read_counts(job, graph, on_host),
    )
