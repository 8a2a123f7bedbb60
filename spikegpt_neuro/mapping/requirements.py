r"""What populations ask of cores: synapses, axons and memory, and whether a chip can run them.

A core keeps one list of synapses for every projection and source neuron that reaches it. For n
neurons of a population, with b bits per weight, header h and word w:

.. math::
    bytes(n) = \sum_{dense} F \, w \lceil (h + \lceil n b / 8 \rceil) / w \rceil
             + \sum_{one-to-one} n \, w \lceil (h + \lceil b / 8 \rceil) / w \rceil

F is the fan-in. A one-to-one connection is a list of one weight. A sparse projection has a list
for each source that has synapses there, k of them, and it is dense or has an index of x bits at
every weight, whichever is smaller:

.. math:: w \lceil (h + \lceil \min(n b, k (b + x)) / 8 \rceil) / w \rceil
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

from spikegpt_neuro.graph.graph import Population, Projection, SpikingGraph
from spikegpt_neuro.graph.pipeline import ON_CHIP, delays, stages, within_a_step
from spikegpt_neuro.hardware.profile import CoreLimits, Encoding, Profile, Support
from spikegpt_neuro.mapping.objectives import Steps
from spikegpt_neuro.mapping.sparse_lists import SparseLists
from spikegpt_neuro.neurons import Embedding

Where = Literal["chip", "host"]

TOKENS = "token ids"
"""The source of an embedding on the chip: one axon from the host per token id."""


@dataclass(frozen=True)
class Input:
    """One projection as its target stores it: at most ``fan_in`` synapses of ``bits`` per neuron.

    ``dense`` is False for a one-to-one connection, where neuron i hears source neuron i only.
    ``sparse`` tells which synapses exist, where not all do.
    """

    source: str
    fan_in: int
    bits: int
    dense: bool
    sparse: SparseLists | None = None

    @property
    def sources(self) -> int:
        """Neurons that one of the target can hear."""
        return self.fan_in if self.sparse is None else self.sparse.sources

    def synapses(self, neurons: int) -> int:
        """Synapses into all ``neurons`` of the target."""
        return neurons * self.fan_in if self.sparse is None else self.sparse.synapses

    def bytes(self, neurons: int, encoding: Encoding, start: int) -> int:
        """Synaptic memory of ``neurons`` from ``start`` on, on one core."""
        if self.sparse is not None:
            return self.sparse.bytes(start, neurons, self.bits, encoding)
        if self.dense:
            return self.fan_in * list_bytes(neurons, self.bits, encoding)
        return neurons * list_bytes(1, self.bits, encoding)


class Reader(NamedTuple):
    """A population that hears a source: densely or one-to-one, and which synapses if not all."""

    target: str
    dense: bool
    sparse: SparseLists | None = None


@dataclass(frozen=True)
class Demand:
    """What one population needs.

    ``neuron_bytes``  memory per neuron: state, parameters, an accumulator per port and step of
                      delay. ``shared_bytes``: once per core: population parameters and tables.
    ``whole``         all neurons on one core, since the program sums over the population.
    """

    name: str
    size: int
    program: str
    inputs: tuple[Input, ...]
    neuron_bytes: int
    shared_bytes: int
    whole: bool

    @property
    def fan_in(self) -> int:
        """Synapses into one neuron."""
        return sum(i.fan_in for i in self.inputs)

    @property
    def is_heavy(self) -> bool:
        """True where synapses are dense, so that synaptic memory decides."""
        return any(i.dense for i in self.inputs)

    def synaptic_bytes(self, neurons: int, encoding: Encoding, start: int = 0) -> int:
        """Synaptic memory for ``neurons`` from ``start`` on, on one core; see the module."""
        return sum(i.bytes(neurons, encoding, start) for i in self.inputs)

    def largest_bytes(self, encoding: Encoding) -> int:
        """Synaptic memory that one of its neurons takes at most."""
        return sum(i.fan_in * list_bytes(1, i.bits, encoding) for i in self.inputs)


@dataclass(frozen=True)
class Unit:
    """Populations of one size of which a core holds the same neurons."""

    members: tuple[Demand, ...]

    @property
    def name(self) -> str:
        """That of its first population."""
        return self.members[0].name

    @property
    def size(self) -> int:
        return self.members[0].size

    @cached_property
    def inputs(self) -> tuple[Input, ...]:
        return tuple(i for member in self.members for i in member.inputs)

    @cached_property
    def dense_sources(self) -> Mapping[str, int]:
        """Source -> its neurons, each an axon on every core, whatever stands there."""
        return {i.source: i.sources for i in self.inputs if i.dense}

    @cached_property
    def single_sources(self) -> frozenset[str]:
        """Sources of which a core hears the neurons that stand there, one axon for each."""
        single = (i.source for i in self.inputs if not i.dense)
        return frozenset(source for source in single if source not in self.dense_sources)

    @cached_property
    def heard(self) -> tuple[tuple[str, int], ...]:
        """Sources and their axons on a core that holds some of the unit; 0: one per neuron."""
        return (*self.dense_sources.items(), *((s, 0) for s in sorted(self.single_sources)))

    @cached_property
    def neuron_bytes(self) -> int:
        """Memory of one neuron of each population."""
        return sum(member.neuron_bytes for member in self.members)

    @cached_property
    def shared_bytes(self) -> int:
        return sum(member.shared_bytes for member in self.members)

    @cached_property
    def is_heavy(self) -> bool:
        return any(member.is_heavy for member in self.members)

    @cached_property
    def whole(self) -> bool:
        return any(member.whole for member in self.members)

    def share_of_core(
        self, neurons: int, outputs: int, limits: CoreLimits, encoding: Encoding, start: int = 0
    ) -> float:
        """The largest share of an empty core's limits that ``neurons`` of each population take.

        ``outputs``  output axons of one neuron of all populations.
        """
        axons = sum(self.dense_sources.values()) + neurons * len(self.single_sources)
        return max(
            neurons * len(self.members) / limits.neurons,
            self.synaptic_bytes(neurons, encoding, start) / limits.synaptic_memory,
            (self.shared_bytes + neurons * self.neuron_bytes) / limits.neuron_memory,
            axons / limits.input_axons,
            neurons * outputs / limits.output_axons,
        )

    def longest(self, limits: CoreLimits, encoding: Encoding, outputs: int = 0) -> int:
        """Most neurons of each population that an empty core holds; 0 where not one has room."""
        low, high = 0, self.size
        while low < high:
            middle = (low + high + 1) // 2
            fits = self.share_of_core(middle, outputs, limits, encoding) <= 1.0
            low, high = (middle, high) if fits else (low, middle - 1)
        return low

    def synaptic_bytes(self, neurons: int, encoding: Encoding, start: int = 0) -> int:
        """Synaptic memory for ``neurons`` of each population from ``start`` on, on one core."""
        return sum(member.synaptic_bytes(neurons, encoding, start) for member in self.members)


@dataclass(frozen=True)
class Workload:
    """What is on the chip, in the order data flows.

    ``sizes``    neurons of every source of events, those on the host included.
    ``readers``  source -> the populations on the chip that hear it by messages.
    ``to_host``  populations whose events the host hears.
    ``chains``   populations whose neurons i stand on one core, whatever i, since they answer
                 within one step, in their order; what is in none stands alone.
    ``stages``   stage of every population (:mod:`spikegpt_neuro.graph.pipeline`).
    """

    demands: tuple[Demand, ...]
    sizes: Mapping[str, int]
    readers: Mapping[str, tuple[Reader, ...]]
    to_host: frozenset[str]
    chains: tuple[tuple[str, ...], ...] = ()
    stages: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        """What is placed together, in the order data flows."""
        chain_of = {name: chain for chain in self.chains for name in chain}
        by_name = {d.name: d for d in self.demands}
        chains = dict.fromkeys(chain_of.get(d.name, (d.name,)) for d in self.demands)
        return tuple(Unit(tuple(by_name[name] for name in chain)) for chain in chains)

    @cached_property
    def handed_on(self) -> frozenset[str]:
        """Populations whose events are read within the step alone, from the core's memory."""
        first = {name for chain in self.chains for name in chain[:-1]}
        return frozenset(n for n in first - self.to_host if not self.readers.get(n))

    @property
    def neurons(self) -> int:
        return sum(d.size for d in self.demands)

    @property
    def dense_synapses(self) -> int:
        """Synapses of all projections but those that are one-to-one."""
        return sum(i.synapses(d.size) for d in self.demands for i in d.inputs if i.dense)

    @property
    def weight_bytes(self) -> int:
        """Their weights alone, without any overhead: the lower bound of synaptic memory."""
        return (
            sum(i.synapses(d.size) * i.bits for d in self.demands for i in d.inputs if i.dense) // 8
        )


@dataclass(frozen=True)
class Violation:
    """A limit that does not hold: where, which, by how much, and what would help."""

    where: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}; {self.remedy}"


def list_bytes(synapses: int, bits: int, encoding: Encoding) -> int:
    """Bytes of one list of synapses, padded to whole words."""
    content = encoding.list_header + -(-synapses * bits // 8)
    return -(-content // encoding.list_word) * encoding.list_word


def workload(
    graph: SpikingGraph,
    profile: Profile,
    embedding: Where = "host",
    head: Where = "chip",
    weight_bits: int | None = None,
    steps: Steps = "separate",
) -> Workload:
    """What of ``graph`` the chip has to hold; ``weight_bits`` asks for another width."""
    away = on_host(graph, embedding, head)
    within = answered_within(graph, steps, embedding, head)
    stage, wait = stages(graph, ON_CHIP, within), delays(graph, ON_CHIP, within)
    bits = stored_bits(weight_bits or graph.weight_bits, profile.support)
    demands: list[Demand] = []
    readers: dict[str, list[Reader]] = {p.name: [] for p in graph.populations}
    to_host = {graph.output.name} - away
    for population in graph.populations:
        projections = graph.incoming[population.name]
        if population.name in away:
            to_host |= {q.source for q in projections} - away
            continue
        inputs = tuple(_input(q, graph, bits) for q in projections if q.name not in within)
        if population is graph.input:
            inputs = (_tokens(population, profile.support),)
        for i in inputs:
            readers.setdefault(i.source, []).append(Reader(population.name, i.dense, i.sparse))
        waits = [wait[q.name] for q in projections]
        demands.append(_demand(population, inputs, waits, profile.encoding.state_word))
    sizes = {p.name: p.size for p in graph.populations}
    sizes |= {i.source: i.fan_in for d in demands for i in d.inputs if i.source == TOKENS}
    if within:  # a chain stands where its stage is: its readers come later, whatever their names
        demands.sort(key=lambda demand: stage[demand.name])
    return Workload(
        tuple(demands),
        sizes,
        {name: tuple(targets) for name, targets in readers.items()},
        frozenset(to_host),
        _chains(graph, within),
        stage,
    )


def answered_within(
    graph: SpikingGraph, steps: Steps, embedding: Where = "host", head: Where = "chip"
) -> frozenset[str]:
    """Projections that take no message and no step; none where steps are separate."""
    if steps == "separate":
        return frozenset()
    return within_a_step(graph, on_host(graph, embedding, head))


def chains_of(
    graph: SpikingGraph, steps: Steps, embedding: Where = "host", head: Where = "chip"
) -> tuple[tuple[str, ...], ...]:
    """Populations whose neurons have to stand together; see :attr:`Workload.chains`."""
    return _chains(graph, answered_within(graph, steps, embedding, head))


def _chains(graph: SpikingGraph, within: frozenset[str]) -> tuple[tuple[str, ...], ...]:
    """Populations that ``within`` joins, each chain in the order data flows."""
    chain_of: dict[str, list[str]] = {}
    for population in graph.populations:
        for projection in graph.incoming[population.name]:
            if projection.name in within:
                chain = chain_of.setdefault(projection.source, [projection.source])
                chain.append(population.name)
                chain_of[population.name] = chain
    return tuple(dict.fromkeys(map(tuple, chain_of.values())))


def on_host(graph: SpikingGraph, embedding: Where, head: Where) -> set[str]:
    """Names of the populations that are not on the chip."""
    away = {graph.input.name} if embedding == "host" else set()
    return away | ({graph.output.name} if head == "host" else set())


def _input(projection: Projection, graph: SpikingGraph, bits: int) -> Input:
    dense = projection.is_dense
    if projection.sparse is not None:
        sparse = SparseLists.of(projection.sparse)
        return Input(projection.source, sparse.fan_in, bits, dense, sparse)
    fan_in = graph.by_name[projection.source].size if dense else 1
    return Input(projection.source, fan_in, bits, dense)


def _tokens(population: Population, support: Support) -> Input:
    table = population.program.lookup  # its entries are synapses
    assert table is not None
    bits = stored_bits(population.events.bits, support)
    return Input(TOKENS, len(table), bits, dense=True)


def _demand(
    population: Population, inputs: tuple[Input, ...], waits: list[int], word: int
) -> Demand:
    program = population.program
    accumulators = sum(1 + wait for wait in waits) or 1
    return Demand(
        name=population.name,
        size=population.size,
        program=program.kind,
        inputs=inputs,
        neuron_bytes=word * (program.words_per_neuron() + accumulators),
        shared_bytes=word * program.words_per_core(),
        whole=program.population_wide,
    )


def stored_bits(bits: int, support: Support) -> int:
    """The narrowest storable width that holds ``bits``; the widest where none does."""
    return min((b for b in support.weight_bits if b >= bits), default=support.weight_bits[-1])


# Whether the chip can run it at all.


def refusals(
    graph: SpikingGraph,
    profile: Profile,
    embedding: Where = "host",
    head: Where = "chip",
    steps: Steps = "separate",
) -> list[Violation]:
    """Why no number of chips of this kind would do; populations of one reason are named once."""
    away = on_host(graph, embedding, head)
    within = answered_within(graph, steps, embedding, head)
    found: dict[tuple[str, str], list[str]] = {}
    for population in graph.populations:
        for problem, remedy in _population_refusals(population, graph, profile, away, within):
            found.setdefault((problem, remedy), []).append(population.name)
    load = workload(graph, profile, embedding, head, steps=steps)
    for demand in load.demands:
        for problem, remedy in _neuron_refusals(demand, profile):
            found.setdefault((problem, remedy), []).append(demand.name)
    return [Violation(_names(names), *reason) for reason, names in found.items()]


def _names(names: list[str]) -> str:
    if len(names) == 1:
        return f"population {names[0]}"
    return f"population {names[0]} and {len(names) - 1} more"


def _population_refusals(
    population: Population,
    graph: SpikingGraph,
    profile: Profile,
    away: set[str],
    within: frozenset[str],
) -> Iterator[tuple[str, str]]:
    support, name = profile.support, profile.name
    sends = population.name not in away or population is graph.input
    if sends and population.events.bits > support.payload_bits:
        problem = f"sends graded events, cores of {name} carry binary spikes only"
        if support.payload_bits > 1:
            bits = population.events.bits
            problem = f"sends events of {bits} bits, cores of {name} carry {support.payload_bits}"
        yield problem, "map to a chip with graded events, for example hw='loihi2'"
    if population.name in away:
        return
    if population.program.kind not in support.programs:
        known = ", ".join(sorted(support.programs))
        problem = f"runs the program {population.program.kind}, cores of {name} run {known}"
        yield problem, "map to a programmable chip, for example hw='loihi2'"
    if population.program.lookup is not None:
        bits = population.events.bits
        if bits > support.weight_bits[-1]:
            problem = f"its table has {bits} bits, cores of {name} store {support.weight_bits[-1]}"
            yield problem, "keep the embedding on the host (embedding='host')"
        return
    yield from _projection_refusals(population, graph, profile, within)


def _projection_refusals(
    population: Population, graph: SpikingGraph, profile: Profile, within: frozenset[str]
) -> Iterator[tuple[str, str]]:
    support, wait = profile.support, delays(graph, ON_CHIP, within)
    for projection in graph.incoming[population.name]:
        if projection.is_dense and graph.weight_bits > support.weight_bits[-1]:
            widest = support.weight_bits[-1]
            problem = (
                f"its weights have {graph.weight_bits} bits, cores of {profile.name} store {widest}"
            )
            yield problem, f"convert with weight_bits={widest} or fewer"
        if wait[projection.name] > support.delay:
            problem = (
                f"its port {projection.port} waits {wait[projection.name]} steps, synapses of "
                f"{profile.name} at most {support.delay}"
            )
            yield problem, "map to a chip with longer delays"


def _neuron_refusals(demand: Demand, profile: Profile) -> Iterator[tuple[str, str]]:
    """What does not fit an empty core: one neuron, or all where the program needs them together."""
    limits, n = profile.limits, demand.size if demand.whole else 1
    axons = sum(i.sources if i.dense else n for i in demand.inputs)  # as the partition counts them
    memory = demand.shared_bytes + n * demand.neuron_bytes
    needs = {
        "neurons": (n, limits.neurons, "neurons"),
        "fan-in": (demand.fan_in, limits.fan_in, "synapses per neuron"),
        "input axons": (axons, limits.input_axons, "input axons"),
        "synaptic memory": (
            demand.synaptic_bytes(n, profile.encoding)
            if demand.whole
            else demand.largest_bytes(profile.encoding),
            limits.synaptic_memory,
            "bytes of synaptic memory",
        ),
        "neuron memory": (memory, limits.neuron_memory, "bytes of neuron memory"),
    }
    what = f"all {n} neurons of a {demand.program} together" if demand.whole else "one neuron"
    for limit, (needed, available, unit) in needs.items():
        if needed > available:
            yield over(what, needed, available, unit, profile), _remedy(demand, limit)


def over(what: str, needed: int, available: int, unit: str, profile: Profile) -> str:
    """How far a need exceeds what a core has."""
    return (
        f"{what} need{'s' * what.startswith('one')} {needed:,} {unit}, a core of {profile.name} "
        f"has {available:,} ({needed - available:,} missing)"
    )


def _remedy(demand: Demand, limit: str) -> str:
    if demand.program == Embedding.kind:
        return "keep the embedding on the host (embedding='host')"
    if limit == "synaptic memory":
        return "convert with fewer weight_bits=..., or map to a chip with larger cores"
    return "a narrower model or a chip with larger cores would fit"
