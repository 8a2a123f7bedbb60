"""Limits: of the stock processes' arithmetic, and of the machine that runs the processes."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spikegpt_neuro.backends.lava.job import Granularity
from spikegpt_neuro.backends.lava.listening import unheard
from spikegpt_neuro.backends.lava.parts import parts
from spikegpt_neuro.errors import DoesNotFit, UnsupportedInput
from spikegpt_neuro.graph.graph import ACCUMULATOR_BITS, Projection, SpikingGraph
from spikegpt_neuro.neurons.lif import CURRENT_LIMIT, DECAY_ONE, LIF

PORTS_MAX = 3
# Measured: 7 and 95 processes, widths 128 and 512.
DESCRIPTORS_PER_PROCESS = 10
DESCRIPTORS_PER_CHANNEL = 2
DESCRIPTORS_BESIDE = 32
MEGABYTES_PER_PROCESS = 15
BYTES_PER_SYNAPSE = 20


def check_stock_arithmetic(graph: SpikingGraph) -> None:
    """Raise :class:`UnsupportedInput` naming what the stock processes would compute otherwise."""
    for problem in _stock_problems(graph):
        raise UnsupportedInput(
            f"Lava at population granularity: {problem}; granularity='block' can run it"
        )


def _stock_problems(graph: SpikingGraph) -> Iterator[str]:
    for projection in graph.projections:
        if projection.is_dense:
            doubled = 2 * _largest_sum(graph, projection)
            if doubled >= 1 << (ACCUMULATOR_BITS - 1):
                yield f"projection {projection.name}: sums up to {doubled} overflow a stock Dense"
    for population in graph.populations:
        if isinstance(population.program, LIF):
            yield from lif_problems(graph, population.name, population.program)
        elif len(population.program.ports) > PORTS_MAX:
            yield f"population {population.name} has more than {PORTS_MAX} ports"


def lif_problems(graph: SpikingGraph, name: str, program: LIF) -> Iterator[str]:
    """What a stock LIF would compute otherwise than the population ``name``."""
    (projection,) = graph.incoming[name]
    if projection.shift:
        yield f"population {name}: a stock LIF cannot shift its input by {projection.shift}"
    largest = _largest_sum(graph, projection)
    if program.du != DECAY_ONE - 1 or largest > CURRENT_LIMIT:
        yield (
            f"population {name}: its current may wrap (du {program.du}, inputs up to {largest}; "
            f"the stock LIF wraps elsewhere, limits: du {DECAY_ONE - 1}, {CURRENT_LIMIT})"
        )


def _largest_sum(graph: SpikingGraph, projection: Projection) -> int:
    """Largest magnitude that can arrive over ``projection``."""
    high = graph.by_name[projection.source].events.high
    weights = projection.weights
    if weights is None:
        return high << projection.shift
    return int(np.abs(weights.astype(np.int64)).sum(axis=1).max()) * high


@dataclass(frozen=True)
class Footprint:
    """``processes``: of the operating system; ``channels`` between them; ``synapses`` stored."""

    processes: int
    channels: int
    synapses: int = 0

    @property
    def descriptors(self) -> int:
        """Open files of the process that starts all others."""
        return (
            DESCRIPTORS_BESIDE
            + DESCRIPTORS_PER_PROCESS * self.processes
            + DESCRIPTORS_PER_CHANNEL * self.channels
        )

    @property
    def megabytes(self) -> int:
        return MEGABYTES_PER_PROCESS * self.processes + (
            self.synapses * BYTES_PER_SYNAPSE // 1_000_000
        )


def footprint(graph: SpikingGraph, granularity: Granularity, *, closed_loop: bool) -> Footprint:
    """What the network of ``graph`` will take; one process is Lava's runtime service."""
    if granularity == "block":
        boxes = len(parts(graph)) + 2 * closed_loop
        return Footprint(boxes + 1, boxes - 1)
    dense = [q for q in graph.projections if q.is_dense]
    listeners = len(unheard(graph))
    return Footprint(
        processes=len(graph.populations) + len(dense) + listeners + 1,
        channels=len(graph.projections) + len(dense) + listeners,
        synapses=sum(q.synapses for q in dense),
    )


def check_machine(needs: Footprint, recorded: int, remedy: str = "use granularity='block'") -> None:
    """Raise :class:`DoesNotFit` if the processes cannot fit; ``remedy`` says what would help.

    ``recorded``: number of files that hold events. Raises the soft limit on open files to
    the hard one first.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    descriptors = needs.descriptors + recorded
    if hard != resource.RLIM_INFINITY and descriptors > hard:
        raise DoesNotFit(
            f"{needs.processes} Lava processes need about {descriptors} open files, the limit "
            f"is {hard}: raise it (ulimit -Hn) or {remedy}"
        )
    available = available_megabytes()
    if available is not None and needs.megabytes > available:
        raise DoesNotFit(
            f"{needs.processes} Lava processes need about {needs.megabytes} MB, {available} MB "
            f"are available: {remedy}"
        )


def available_megabytes() -> int | None:
    """Memory that can be had without swapping; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    return None
