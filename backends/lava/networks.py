"""From a graph to a network of Lava Processes. Imports Lava; only the worker uses this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.dense.process import Dense
from lava.proc.io.extractor import Extractor, PyLoihiExtractorModel
from lava.proc.io.injector import Injector, PyLoihiInjectorModel
from lava.proc.lif import process as stock
from lava.proc.sparse.process import Sparse
from scipy.sparse import csr_matrix

from spikegpt_neuro.backends.lava.job import Job
from spikegpt_neuro.backends.lava.limits import FRAME_SLOTS
from spikegpt_neuro.backends.lava.listening import listening_projections, unheard
from spikegpt_neuro.backends.lava.machine import SLOTS
from spikegpt_neuro.backends.lava.parts import parts
from spikegpt_neuro.backends.lava.processes.neurons import BY_PORTS, Neurons
from spikegpt_neuro.backends.lava.steps import (
    Inlet,
    InputStep,
    ListenerStep,
    PartStep,
    PopulationStep,
    Recorder,
    Step,
    Window,
)
from spikegpt_neuro.backends.reference.executor import TOKEN, Executor
from spikegpt_neuro.graph.graph import Population, Projection, SpikingGraph
from spikegpt_neuro.graph.pipeline import delays, depth, stages
from spikegpt_neuro.neurons.lif import LIF


@dataclass(frozen=True)
class Network:
    """Connected Lava Processes.

    ``entry``          any one of them: Lava finds the others.
    ``depth``          time steps that it needs beyond one per token.
    ``channel_slots``  arrays for which each channel between two processes has memory.
    """

    entry: Any
    depth: int = 0
    channel_slots: int = SLOTS
    injector: Any = None
    extractor: Any = None


def run_configuration() -> Any:
    """Stock fixed-point models; the two I/O processes have one model each."""
    return Loihi2SimCfg(
        select_tag="fixed_pt",
        exception_proc_model_map={
            Injector: PyLoihiInjectorModel,
            Extractor: PyLoihiExtractorModel,
        },
    )


def population_network(graph: SpikingGraph, job: Job) -> Network:
    """One process per population and per dense projection, pipelined."""
    recorders = recorders_of(graph, job)
    ports = _PopulationPorts(graph, recorders, job)
    for projection in graph.projections:
        source, target = ports.out[projection.source], ports.into(projection)
        if projection.is_dense:
            events = graph.by_name[projection.source].events
            synapses = stock_synapses(projection, 0 if events.is_binary else events.bits)
            source.connect(synapses.s_in)
            synapses.a_out.connect(target)
        else:
            source.connect(target)
    for name in unheard(graph):
        ports.out[name].connect(ports.listener(graph.by_name[name]).in_0)
    return Network(ports.processes[graph.input.name], depth(graph))


def block_network(graph: SpikingGraph, job: Job, *, closed_loop: bool) -> Network:
    """One process per part of the graph, in a chain that a frame passes in one time step."""
    frame = job.settings.frame
    recorders = {} if closed_loop else recorders_of(graph, job)
    tokens = None if closed_loop else job.tokens
    chain: list[Neurons] = []
    for part in parts(graph):
        own = {name: recorders[name] for name in part.populations if name in recorders}
        sizes = [graph.by_name[name].size for name in part.receives]
        if not sizes and closed_loop:
            sizes = [1]
        sends = sum(graph.by_name[name].size for name in part.sends)
        step = PartStep(graph, part, tokens, own, frame)
        process = _box(f"part {part.name}", step, (sum(sizes),) if sizes else (), sends, frame)
        if chain:
            chain[-1].out.connect(process.in_0)
        chain.append(process)
    if not closed_loop:
        return Network(chain[0], channel_slots=FRAME_SLOTS)
    injector, extractor = Injector(shape=(1, 1)), Extractor(shape=(1, graph.output.size))
    injector.out_port.connect(chain[0].in_0)
    chain[-1].out.connect(extractor.in_port)
    return Network(chain[0], injector=injector, extractor=extractor)


def compile_programs(graph: SpikingGraph) -> None:
    """Load the compiled code of all programs once, before Lava forks into many processes."""
    executor = Executor(graph)
    for tokens in (1, 2):  # a frame of one and of several tokens run other code
        executor.advance(executor.initial_state(), {TOKEN: np.zeros((tokens, 1), np.int32)}, ())


def stock_synapses(projection: Projection, message_bits: int, sources: slice = slice(None)) -> Any:
    """The stock Dense or Sparse with exactly these weights; ``message_bits`` 0: binary spikes.

    The fixed-point models of both drop the lowest bit of signed weights and shift the sum by
    ``weight_exp``: twice the weights, shifted right by one, loses nothing.
    """
    weights = projection.weights
    assert weights is not None
    form = {"weight_exp": -1, "num_message_bits": message_bits}
    if projection.is_sparse:
        existing = csr_matrix(weights[:, sources]).astype(np.int32)
        return Sparse(weights=existing * 2, **form)
    return Dense(weights=weights[:, sources].astype(np.int32) * 2, **form)


def stock_lif(population: Population) -> Any:
    """The stock LIF with the program's decays and threshold."""
    program = population.program
    assert isinstance(program, LIF)
    return stock.LIF(
        shape=(population.size,), du=program.du, dv=program.dv, vth=program.vth, bias_mant=0
    )


def recorders_of(graph: SpikingGraph, job: Job) -> dict[str, Recorder]:
    """Where the events of every population go."""
    tallies, logits = job.tallies, job.logits
    table: dict[str, Recorder] = {}
    for index, population in enumerate(graph.populations):
        events = job.events(index)
        arrays = [] if events is None else [events]
        if population is graph.output:
            arrays.append(logits)
        table[population.name] = Recorder(tallies[index], arrays, job.sent(index))
    return table


class _PopulationPorts:
    """The processes of all populations, and where their projections begin and end."""

    def __init__(self, graph: SpikingGraph, recorders: dict[str, Recorder], job: Job) -> None:
        self._graph = graph
        self._recorders = recorders
        self._tokens = job.tokens
        self._stages = stages(graph)
        self._delays = delays(graph)
        self._listening = listening_projections(graph)
        self.processes = {p.name: self._process(p) for p in graph.populations}
        self.out: dict[str, Any] = {
            name: process.s_out if isinstance(process, stock.LIF) else process.out
            for name, process in self.processes.items()
        }

    def into(self, projection: Projection) -> Any:
        """The Lava port at which ``projection`` ends."""
        process = self.processes[projection.target]
        if isinstance(process, stock.LIF):
            return process.a_in
        ports = self._graph.by_name[projection.target].program.ports
        return getattr(process, f"in_{ports.index(projection.port)}")

    def listener(self, population: Population) -> Neurons:
        """A process that only records ``population``."""
        step = ListenerStep(
            population.size, self._window(population), self._recorders[population.name]
        )
        return _box(f"listener of {population.name}", step, (population.size,), population.size)

    def _process(self, population: Population) -> Any:
        if isinstance(population.program, LIF):
            return stock_lif(population)
        recorder = self._recorders[population.name]
        label = f"population {population.name}"
        if population is self._graph.input:
            step: Step = InputStep(population, self._tokens, recorder)
            return _box(label, step, (), population.size)
        incoming = self._graph.incoming[population.name]
        inlets = [self._inlet(projection) for projection in incoming]
        step = PopulationStep(population, self._window(population), inlets, recorder)
        return _box(label, step, (population.size,) * len(incoming), population.size)

    def _inlet(self, projection: Projection) -> Inlet:
        size = self._graph.by_name[projection.target].size
        listens = self._listening.get(projection.source) is projection
        recorder = self._recorders[projection.source] if listens else None
        return Inlet(size, self._delays[projection.name], projection.shift, recorder)

    def _window(self, population: Population) -> Window:
        return Window(self._stages[population.name], len(self._tokens))


def _box(
    label: str, step: Step, sizes: tuple[int, ...], size: int, frame: int | None = None
) -> Neurons:
    return BY_PORTS[len(sizes)](label=label, step=step, sizes=sizes, size=size, frame=frame)
