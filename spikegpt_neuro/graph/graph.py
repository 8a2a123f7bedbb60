"""The all-integer spiking graph: populations of neurons joined by projections.

One token is one time step. Per token, a population receives on each port the sum over
its projections' synapses, advances its program, and sends events. The graph has one
meaning, defined by :mod:`spikegpt_neuro.backends.reference`; every backend gives the same
integers or refuses.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.packing import PACKED_BITS, pack
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.graph import writer
from spikegpt_neuro.graph.weights import (
    PackedWeights,
    SparseWeights,
    WeightsField,
    given_weights,
    is_by_source,
    release_weights,
    sparse_below,
)
from spikegpt_neuro.model.spikegpt import LIFOrigin, ModelShape
from spikegpt_neuro.neurons.embedding import Embedding
from spikegpt_neuro.neurons.program import (
    PAYLOAD_BITS_MAX,
    EventFormat,
    IntArray,
    Program,
    declared,
)
from spikegpt_neuro.units import scaled
from spikegpt_neuro.vocabulary import Vocabulary

WEIGHT_BITS_MIN, WEIGHT_BITS_MAX = 2, 8
ACCUMULATOR_BITS = 32  # what a stock Dense process accumulates in before its receiver reads it


@dataclass(frozen=True)
class Population:
    """``size`` neurons that run the same program."""

    name: str
    size: int
    program: Program

    @property
    def events(self) -> EventFormat:
        return self.program.events

    def __repr__(self) -> str:
        return f"Population({self.name}, {self.size} neurons of {self.program.kind})"


@dataclass(frozen=True)
class Projection:
    r"""Synapses from one population to one port of another.

    Dense, with signed integer weights of shape (target size, source size):

    .. math:: a_j[t] = \sum_i w_{ji} e_i[t]

    (Lava's stock Dense). One-to-one where ``weights`` is None:

    .. math:: a_j[t] = e_j[t] \cdot 2^{shift}

    Weights of 4 bits may be given as :class:`PackedWeights`, those of which many are 0 as
    :class:`SparseWeights`: its synapses are then only those whose weight is not 0. Reading
    ``weights`` unpacks either anew: read it once, and ask the properties below for the rest. A
    projection that is given plain or packed weights keeps all its synapses, whatever they weigh.
    """

    name: str
    source: str
    target: str
    port: str
    weights: WeightsField = WeightsField()  # noqa: RUF009
    shift: int = 0

    @property
    def packed(self) -> PackedWeights | None:
        """The weights, where they are packed."""
        given = given_weights(self)
        return given if isinstance(given, PackedWeights) else None

    @property
    def sparse(self) -> SparseWeights | None:
        """The weights, where they are sparse."""
        given = given_weights(self)
        return given if isinstance(given, SparseWeights) else None

    @property
    def by_source(self) -> bool:
        """True if the weights lie source by source in memory (Fortran order).

        Only speed depends on it: with few events, most of such weights are never read.
        """
        given = given_weights(self)
        if given is None or isinstance(given, PackedWeights | SparseWeights):
            return given is not None and given.by_source
        return is_by_source(given)

    @property
    def is_dense(self) -> bool:
        """True where weights join the two, of which some may be missing (``is_sparse``).

        False where it is one-to-one.
        """
        return given_weights(self) is not None

    @property
    def is_sparse(self) -> bool:
        """True where synapses whose weight is 0 do not exist."""
        return self.sparse is not None

    @property
    def shape(self) -> tuple[int, ...] | None:
        """(target size, source size) of the weights; None where one-to-one."""
        given = given_weights(self)
        return None if given is None else given.shape

    @property
    def synapses(self) -> int:
        """Number of synapses that exist (one-to-one connections count none here)."""
        return self.possible_synapses if self.sparse is None else self.sparse.synapses

    @property
    def possible_synapses(self) -> int:
        """Number of synapses if none were missing."""
        return 0 if self.shape is None else math.prod(self.shape)

    @property
    def fan_out(self) -> int | NDArray[np.int64]:
        """Synapses that one event meets: (sources,) where sparse, else the same for each source."""
        return self.dense_fan_out if self.sparse is None else self.sparse.fan_out

    def operations(self, events: NDArray[np.integer]) -> int:
        """Synapses that ``events`` (sources,) of each source meet in all."""
        return int((events * self.fan_out).sum())

    @property
    def dense_fan_out(self) -> int:
        """Synapses that one event would meet if none were missing."""
        return 1 if self.shape is None else self.shape[0]

    @property
    def existing(self) -> NDArray[np.uint8] | None:
        """Which synapses a sparse projection has, as an artifact holds it; see SparseWeights."""
        return None if self.sparse is None else self.sparse.existing

    def stored(self, bits: int) -> NDArray[np.int8]:
        """The weights as they lie in an artifact: :meth:`rows`, or those that exist in one row."""
        if self.sparse is not None:
            return self.sparse.stored_values(packed=bits == PACKED_BITS)
        return self.rows(bits)

    def rows(self, bits: int) -> NDArray[np.int8]:
        """All weights: a row per target, or per source where ``by_source``; packed if 4 bits."""
        if self.packed is not None and bits == PACKED_BITS:
            return self.packed.rows
        weights = self.weights
        assert weights is not None
        matrix = np.ascontiguousarray(weights.T if self.by_source else weights)
        return pack(matrix) if bits == PACKED_BITS else matrix

    def __repr__(self) -> str:
        what = f"one-to-one, shift {self.shift}"
        if self.shape is not None:
            what = f"{' x '.join(map(str, self.shape))} synapses"
        if self.is_sparse:
            what = f"{self.synapses} of {what}"
        ends = f"{self.source} -> {self.target}.{self.port}"
        return f"Projection({ends if self.name == ends else f'{self.name}, {ends}'}, {what})"


@dataclass(frozen=True)
class SpikingGraph:
    """A whole SpikeGPT as integers.

    ``populations`` are in an order in which data flows; the first is the embedding (its
    port receives the token id), the last sends the logits as 24-bit payloads whose unit is
    ``logit_scale``. ``provenance`` holds what ``config.json`` tells about the origin,
    ``lif_origin`` what of ``shape.lif`` was stated and where (None: not known), ``remarks`` what a
    user should know of the conversion.
    """

    shape: ModelShape
    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    logit_scale: float
    weight_bits: int = 8
    activation_bits: int = 8
    vocabulary: Vocabulary | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    lif_origin: LIFOrigin | None = None
    remarks: tuple[str, ...] = ()

    @cached_property
    def by_name(self) -> Mapping[str, Population]:
        return {population.name: population for population in self.populations}

    @cached_property
    def incoming(self) -> Mapping[str, tuple[Projection, ...]]:
        """Population -> its projections, one per port, in the order of the program's ports."""
        table: dict[str, dict[str, Projection]] = {p.name: {} for p in self.populations}
        for projection in self.projections:
            table[projection.target][projection.port] = projection
        return {
            p.name: tuple(table[p.name][port] for port in p.program.ports)
            for p in self.populations[1:]
        } | {self.populations[0].name: ()}

    @property
    def input(self) -> Population:
        return self.populations[0]

    @property
    def output(self) -> Population:
        return self.populations[-1]

    def spiking(self) -> Iterator[Population]:
        """The populations that send binary spikes, embedding first."""
        return (p for p in self.populations if p.events.is_binary)

    def with_dead_zones(self, zones: Mapping[str, IntArray | None]) -> SpikingGraph:
        """The same graph where the populations named have these dead zones, None: none.

        ``zones[name]`` is (n,), in units of the payload: what is at or below it in magnitude is no
        event. Raises :class:`UnsupportedInput` for a population that is unknown or cannot have one.
        """
        if unknown := zones.keys() - self.by_name.keys():
            raise UnsupportedInput(f"dead zones: no population {min(unknown)}")
        return replace(
            self,
            populations=tuple(
                _with_dead_zone(p, zones[p.name]) if p.name in zones else p
                for p in self.populations
            ),
        ).validate()

    @property
    def weight_density(self) -> float:
        """Synapses that exist, of those that would if no projection were sparse."""
        possible = sum(q.possible_synapses for q in self.projections)
        return sum(q.synapses for q in self.projections) / possible if possible else 1.0

    def with_sparse_weights(self) -> SpikingGraph:
        """The same integers, without the synapses that weigh 0 wherever that takes fewer bytes.

        That is below a density of 7/8, and of 3/4 where weights have 4 bits; see
        :class:`~spikegpt_neuro.graph.weights.SparseWeights`.
        """
        return replace(
            self, projections=tuple(_thinned(q, self.weight_bits) for q in self.projections)
        )

    def validate(self) -> SpikingGraph:
        """Raise :class:`UnsupportedInput` naming the first thing that breaks the contract."""
        for problem in _problems(self):
            raise UnsupportedInput(f"spiking graph: {problem}")
        return self

    def save(self, path: str, *, force: bool = False) -> None:
        """Write the artifact directory; see :mod:`spikegpt_neuro.graph.artifact`."""
        writer.save(self, path, force=force)

    def __repr__(self) -> str:
        shape, synapses = self.shape, sum(q.synapses for q in self.projections)
        return (
            f"SpikingGraph({shape.layers} layer{'s' * (shape.layers != 1)}, width {shape.width}, "
            f"{shape.vocab_size} token ids, {self.weight_bits}-bit weights, "
            f"{len(self.populations)} populations, {scaled(synapses)} synapses)"
        )

    def _repr_html_(self) -> str:
        """A small table, which notebooks show."""
        rows = (("spiking graph", ""), *writer.facts(self))
        cells = "".join(f"<tr><td>{what}</td><td>{figure}</td></tr>" for what, figure in rows)
        return f"<table>{cells}</table>"


def _with_dead_zone(population: Population, zone: IntArray | None) -> Population:
    program = population.program
    if not any(parameter.optional for parameter in declared(type(program))):
        raise UnsupportedInput(
            f"dead zones: {population.name} is a {program.kind}, which sends all of its events"
        )
    given = None if zone is None or not np.any(zone) else np.ascontiguousarray(zone, np.int32)
    return replace(population, program=replace(cast(Any, program), dead_zone=given))


def _thinned(projection: Projection, bits: int) -> Projection:
    """The projection without its synapses that weigh 0, if that is smaller."""
    weights = None if projection.is_sparse else projection.weights
    if weights is None:
        return projection
    sparse = SparseWeights.of(weights, packed=bits == PACKED_BITS)
    smaller = sparse.synapses < sparse_below(bits) * projection.possible_synapses
    return replace(projection, weights=sparse) if smaller else projection


def _problems(graph: SpikingGraph) -> Iterator[str]:
    names = [p.name for p in graph.populations]
    if not names:
        yield "has no populations"
        return
    for what, used in (("population", names), ("projection", [q.name for q in graph.projections])):
        if twice := sorted(name for name, count in Counter(used).items() if count > 1):
            yield f"{what} name used twice: {twice[0]}"
    for population in graph.populations:  # first: everything else asks for the events' range
        if (bits := population.events.bits) > PAYLOAD_BITS_MAX:
            yield f"population {population.name}: payload of {bits} bits exceeds {PAYLOAD_BITS_MAX}"
        elif bits < 1:
            yield f"population {population.name}: payload of {bits} bits, expected at least 1"
    yield from _shape_problems(graph)
    for population in graph.populations:  # first: event formats follow from parameters
        yield from _parameter_problems(population)
    for projection in graph.projections:
        yield from _endpoint_problems(graph, projection)
        release_weights(projection)  # looked at, they need not stay in memory until all are
    fed = Counter((q.target, q.port) for q in graph.projections)
    for population in graph.populations:
        yield from _port_problems(graph, population, fed)
    yield from _order_problems(graph)


def _shape_problems(graph: SpikingGraph) -> Iterator[str]:
    program, tokens = graph.input.program, graph.shape.vocab_size
    if not isinstance(program, Embedding):
        yield f"first population {graph.input.name} is not an embedding"
    elif len(program.table) != tokens:
        yield f"embedding has {len(program.table)} rows, expected {tokens}"
    layers, width = graph.shape.layers, graph.shape.width
    if not 0 < layers <= len(graph.populations):
        yield f"shape of {layers} layers, there are {len(graph.populations)} populations"
    if width != graph.input.size:
        yield f"shape of width {width}, the embedding has {graph.input.size} neurons"
    if graph.output.size != tokens:
        yield f"last population {graph.output.name} has {graph.output.size} neurons, not {tokens}"
    if not WEIGHT_BITS_MIN <= graph.weight_bits <= WEIGHT_BITS_MAX:
        yield f"weights of {graph.weight_bits} bits, not {WEIGHT_BITS_MIN} to {WEIGHT_BITS_MAX}"
    if not 0 < graph.logit_scale < float("inf"):
        yield f"logit scale {graph.logit_scale} is not a positive number"


def _endpoint_problems(graph: SpikingGraph, projection: Projection) -> Iterator[str]:
    where = f"projection {projection.name}"
    for end in (projection.source, projection.target):
        if end not in graph.by_name:
            yield f"{where}: no population {end}"
            return
    source, target = graph.by_name[projection.source], graph.by_name[projection.target]
    if projection.port not in target.program.ports:
        yield f"{where}: {target.program.kind} has no port {projection.port}"
    if projection.shape is None:
        if source.size != target.size:
            yield f"{where}: one-to-one between {source.size} and {target.size} neurons"
        if not 0 <= projection.shift < PAYLOAD_BITS_MAX:
            yield f"{where}: shift {projection.shift} is outside 0..{PAYLOAD_BITS_MAX - 1}"
        return
    if projection.shape != (target.size, source.size):
        yield f"{where}: weights {projection.shape}, expected {(target.size, source.size)}"
    yield from _weight_problems(graph, projection, source)


def _weight_problems(
    graph: SpikingGraph, projection: Projection, source: Population
) -> Iterator[str]:
    where = f"projection {projection.name}"
    given = given_weights(projection)
    assert given is not None
    if isinstance(given, SparseWeights):
        for problem in given.problems():
            yield f"{where}: {problem}"
            return
    if isinstance(given, PackedWeights | SparseWeights):
        largest = given.largest
    elif given.dtype != np.int8:
        yield f"{where}: weights are {given.dtype}, expected int8"
        return
    else:
        largest = max(-int(given.min()), int(given.max()))
    limit = (1 << (graph.weight_bits - 1)) - 1
    if largest > limit:
        yield f"{where}: weight {largest} exceeds {graph.weight_bits} bits (+-{limit})"
    if source.size * limit * source.events.high >= 1 << (ACCUMULATOR_BITS - 1):
        yield f"{where}: {source.size} inputs of {source.events.bits} bits overflow int32"


def _parameter_problems(population: Population) -> Iterator[str]:
    where = f"population {population.name}"
    if population.size < 1:
        yield f"{where} has {population.size} neurons"
    for problem in population.program.problems(population.size):
        yield f"{where}: {problem}"


def _port_problems(
    graph: SpikingGraph, population: Population, fed: Mapping[tuple[str, str], int]
) -> Iterator[str]:
    where = f"population {population.name}"
    if population is graph.input:
        return
    for port in population.program.ports:
        if (count := fed.get((population.name, port), 0)) != 1:
            yield f"{where}: port {port} is fed by {count} projections, expected 1"


def _order_problems(graph: SpikingGraph) -> Iterator[str]:
    position = {p.name: index for index, p in enumerate(graph.populations)}
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for projection in graph.projections:
        if projection.source in position and projection.target in position:
            sorter.add(projection.target, projection.source)
            if position[projection.source] >= position[projection.target]:
                yield f"projection {projection.name} runs against the order of populations"
    try:
        sorter.prepare()
    except CycleError as error:
        yield f"cycle through {' -> '.join(error.args[1])}"
