"""Token mode at the speed of memory: the whole graph as one compiled walk over operations.

A graph is laid out once into flat buffers: *words* (events and sums of every population, one
token), *state*, *parameters*, and the weight matrices. A token then is one call of compiled
code that walks a table of operations and allocates nothing. The arithmetic is that of the
neuron programs' own kernels and of :mod:`~spikegpt_neuro.backends.reference.products`, so the
integers are those of every other mode.

A dense projection is read by target (C order of its weights) or by source (Fortran order):
the lowering chooses by the share of events that calibration saw. Weights of 4 bits are packed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba import get_num_threads, int8, set_num_threads
from numba.typed import List
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.arithmetic.packing import PACKED_BITS, pack
from spikegpt_neuro.backends.reference import products
from spikegpt_neuro.graph.graph import Population, Projection, SpikingGraph
from spikegpt_neuro.neurons.embedding import Embedding
from spikegpt_neuro.neurons.gate import Gate, advance_gate
from spikegpt_neuro.neurons.layer_norm import NORMALIZED_FRACTION, LayerNorm, advance_layer_norm
from spikegpt_neuro.neurons.lif import LIF, advance_lif
from spikegpt_neuro.neurons.program import IntArray, Program
from spikegpt_neuro.neurons.requantize import Requantize, advance_requantize
from spikegpt_neuro.neurons.residual import Residual, advance_residual
from spikegpt_neuro.neurons.squared_relu import SquaredReLU, advance_squared_relu
from spikegpt_neuro.neurons.token_mix import TokenMix, advance_token_mix
from spikegpt_neuro.neurons.wkv import WKV, advance_wkv

# Columns of the table of operations.
KIND, SIZE, EVENTS, PORT_0, PORT_1, PORT_2, STATE, PARAMETERS, SCALAR = range(9)
SCALARS = 7

# Kinds of operation; a projection's SCALAR is its matrix, or the shift.
BY_TARGET, BY_SOURCE, BY_TARGET_PACKED, BY_SOURCE_PACKED, SHIFT = range(5)
NORM, MIX, TIME_MIX, REQUANTIZE, FIRE, JOIN, HIDDEN, GATE = range(5, 13)

CACHE_LINE = 64
LARGE_BYTES = 1 << 20  # sharing a smaller product costs more than it gains
NARROW_LIMIT = 1 << 15  # events must fit 16 bits


@dataclass(frozen=True)
class _Layout:
    """How a program becomes an operation: its kind, parameter vectors and scalars."""

    kind: int
    vectors: Callable[[Any], tuple[IntArray, ...]]
    scalars: Callable[[Any], tuple[int, ...]]


LAYOUTS: dict[type[Program], _Layout] = {
    LayerNorm: _Layout(
        NORM,
        lambda p: (p.weight, p.bias),
        lambda p: (
            NORMALIZED_FRACTION + p.weight_fraction - p.output_fraction,
            p.mean_mantissa,
            p.mean_shift,
            p.root_mantissa,
            p.root_shift,
            p.epsilon,
        ),
    ),
    TokenMix: _Layout(
        MIX, lambda p: (p.coefficient, p.mantissa, p.shift), lambda p: (p.events.high,)
    ),
    WKV: _Layout(
        TIME_MIX,
        lambda p: (
            p.decay,
            p.first,
            p.key_mantissa,
            p.key_shift,
            p.value_mantissa,
            p.value_shift,
            p.receptance_mantissa,
            p.receptance_shift,
            p.output_mantissa,
            p.output_shift,
        ),
        lambda p: (p.events.high,),
    ),
    Requantize: _Layout(
        REQUANTIZE, lambda p: (p.mantissa, p.shift), lambda p: (p.events.high, int(p.quantizer))
    ),
    LIF: _Layout(FIRE, lambda _: (), lambda p: (p.du, p.dv, p.vth)),
    Residual: _Layout(JOIN, lambda _: (), lambda p: (p.halve,)),
    SquaredReLU: _Layout(
        HIDDEN,
        lambda p: (p.mantissa, p.shift),
        lambda p: (p.square_mantissa, p.square_shift, p.events.high),
    ),
    Gate: _Layout(
        GATE,
        lambda p: (p.value_mantissa, p.value_shift, p.receptance_mantissa, p.receptance_shift),
        lambda p: (p.events.high,),
    ),
}


def can_step(graph: SpikingGraph) -> bool:
    """True if every program has a layout and every dense projection gets narrow events."""
    return all(type(p.program) in LAYOUTS for p in graph.populations[1:]) and all(
        graph.by_name[q.source].events.high < NARROW_LIMIT for q in graph.projections if q.is_dense
    )


class Stepper:
    """A graph in its buffers, with the state of one stream of tokens.

    ``losses`` (operations, 2): saturations and clipped payloads so far. ``shared``: operations
    whose product is shared out to ``threads``, at most as many as numba has.
    """

    def __init__(self, graph: SpikingGraph, threads: int = 1) -> None:
        plan = _Plan(graph, packed=graph.weight_bits == PACKED_BITS)
        self._table = plan.embedding.table
        self._size = graph.input.size
        output = plan.events[graph.output.name]
        self._output = slice(output, output + graph.output.size)
        self._words = np.zeros(plan.words, np.int32)
        self._state = np.concatenate([np.zeros(0, np.int32), *plan.state])
        self._parameters = np.concatenate([np.zeros(0, np.int32), *plan.parameters])
        self._operations = np.array(plan.operations, np.int64)
        self._matrices = _in_one_piece(plan.matrices)
        self._narrow = np.zeros(plan.widest + 1, np.int16)
        self._active = np.zeros(plan.widest + 1, np.int32)
        self.losses = np.zeros((len(plan.operations), 2), np.int64)
        self._threads = min(threads, get_num_threads())
        self.shared = plan.large_products if threads > 1 else []

    def step(self, token: int) -> IntArray:
        """Advance by one (valid) token; the logits (V,) are a view until the next step."""
        self._words[: self._size] = self._table[token]
        begin = 0
        for large in self.shared:
            self._walk(begin, large)
            self._share(large)
            begin = large + 1
        self._walk(begin, len(self._operations))
        return self._words[self._output]

    def _walk(self, begin: int, end: int) -> None:
        _walk(
            self._operations,
            begin,
            end,
            self._words,
            self._state,
            self._parameters,
            self._matrices,
            self._narrow,
            self._active,
            self.losses,
        )

    def _share(self, index: int) -> None:
        """A large product on several threads."""
        operation = self._operations[index]
        size, sums, source = (int(operation[c]) for c in (SIZE, EVENTS, PORT_0))
        matrix = self._matrices[int(operation[SCALAR])]
        self._narrow[:size] = self._words[source : source + size]
        targets = self._words[sums : sums + len(matrix)]
        set_num_threads(self._threads)
        products.by_target_on_threads(matrix, self._narrow, targets)


@dataclass
class _Plan:
    """Offsets and tables under construction."""

    graph: SpikingGraph
    packed: bool
    words: int = 0
    widest: int = 0
    events: dict[str, int] = field(default_factory=dict)
    state: list[IntArray] = field(default_factory=list)
    parameters: list[IntArray] = field(default_factory=list)
    operations: list[list[int]] = field(default_factory=list)
    matrices: list[NDArray[np.int8]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.events[self.graph.input.name] = self._words(self.graph.input.size)
        for population in self.graph.populations[1:]:
            self._population(population)

    @property
    def embedding(self) -> Embedding:
        program = self.graph.input.program
        assert isinstance(program, Embedding)
        return program

    @property
    def large_products(self) -> list[int]:
        """Operations whose product is worth sharing out."""
        return [
            index
            for index, operation in enumerate(self.operations)
            if operation[KIND] == BY_TARGET
            and self.matrices[operation[SCALAR]].nbytes >= LARGE_BYTES
        ]

    def _words(self, size: int) -> int:
        begin = self.words
        self.words += size + size % 2  # packed sums come in pairs
        return begin

    def _population(self, population: Population) -> None:
        program, layout = population.program, LAYOUTS[type(population.program)]
        ports = [self._projection(q) for q in self.graph.incoming[population.name]]
        self.events[population.name] = self._words(population.size)
        state = _total(self.state)
        self.state += program.initial_state(population.size)
        parameters = _total(self.parameters)
        self.parameters += layout.vectors(program)
        self._operation(
            layout.kind,
            population.size,
            self.events[population.name],
            [*ports, 0, 0][:3],
            state,
            parameters,
            layout.scalars(program),
        )

    def _projection(self, projection: Projection) -> int:
        """Offset of what the projection delivers; a plain one-to-one is the source itself."""
        source, target = (self.graph.by_name[n] for n in (projection.source, projection.target))
        begin = self.events[projection.source]
        if projection.weights is None:
            if projection.shift == 0:
                return begin
            sums = self._words(target.size)
            self._operation(SHIFT, target.size, sums, [begin, 0, 0], 0, 0, (projection.shift,))
            return sums
        matrix = projection.weights.T if projection.by_source else projection.weights
        kind = BY_SOURCE if projection.by_source else BY_TARGET
        if self.packed:
            kind += BY_TARGET_PACKED - BY_TARGET
        self.matrices.append(pack(matrix) if self.packed else matrix)
        self.widest = max(self.widest, source.size)
        sums = self._words(target.size)
        matrix_index = len(self.matrices) - 1
        self._operation(kind, source.size, sums, [begin, 0, 0], 0, 0, (matrix_index,))
        return sums

    def _operation(
        self,
        kind: int,
        size: int,
        events: int,
        ports: list[int],
        state: int,
        parameters: int,
        scalars: tuple[int, ...],
    ) -> None:
        padding = [0] * (SCALARS - len(scalars))
        self.operations.append([kind, size, events, *ports, state, parameters, *scalars, *padding])


def _total(arrays: list[IntArray]) -> int:
    return sum(len(array) for array in arrays)


def _in_one_piece(matrices: list[NDArray[np.int8]]) -> Any:
    """The matrices copied into one allocation, each at a cache line.

    numpy asks for huge pages where an allocation is large: a token that streams through all
    weights then meets few misses of the address translation (measured: a fifth faster).
    """
    lines = [-(-matrix.size // CACHE_LINE) for matrix in matrices]
    memory = np.empty((sum(lines), CACHE_LINE), np.int8).reshape(-1)
    placed, begin = List.empty_list(int8[:, ::1]), 0
    for matrix, count in zip(matrices, lines, strict=True):
        view = memory[begin : begin + matrix.size].reshape(matrix.shape)
        view[:] = matrix
        placed.append(view)
        begin += count * CACHE_LINE
    return placed


@kernel
def _walk(
    operations: NDArray[np.int64],
    begin: int,
    end: int,
    words: IntArray,
    state: IntArray,
    parameters: IntArray,
    matrices: Any,
    narrow: NDArray[np.int16],
    active: IntArray,
    losses: NDArray[np.int64],
) -> None:
    """One token through the operations from ``begin`` to ``end``."""
    for index in range(begin, end):
        o = operations[index]
        if o[KIND] < SHIFT:
            _project(o, words, matrices[o[SCALAR]], narrow, active)
        else:
            saturations, clipped = _advance(o, words, state, parameters)
            losses[index, 0] += saturations
            losses[index, 1] += clipped


@kernel
def _project(
    o: NDArray[np.int64],
    words: IntArray,
    matrix: NDArray[np.int8],
    narrow: NDArray[np.int16],
    active: IntArray,
) -> None:
    size = o[SIZE]
    for i in range(size):
        narrow[i] = words[o[PORT_0] + i]
    narrow[size] = 0  # the pad of an odd packed row
    sums = words[o[EVENTS] :]
    if o[KIND] == BY_TARGET:
        products.by_target(matrix, narrow, sums)
    elif o[KIND] == BY_SOURCE:
        products.by_source(matrix, narrow, active, sums)
    elif o[KIND] == BY_TARGET_PACKED:
        products.by_target_packed(matrix, narrow, sums)
    else:
        products.by_source_packed(matrix, narrow, active, sums)


@kernel
def _row(words: IntArray, begin: int, size: int) -> IntArray:
    return words[begin : begin + size].reshape(1, size)


@kernel
def _advance(
    o: NDArray[np.int64], words: IntArray, state: IntArray, parameters: IntArray
) -> tuple[int, int]:
    """Advance one population by one token; (saturations, clipped)."""
    n = o[SIZE]
    events = _row(words, o[EVENTS], n)
    x = _row(words, o[PORT_0], n)
    q = parameters[o[PARAMETERS] :]
    s = o[SCALAR:]
    if o[KIND] == SHIFT:
        for i in range(n):
            events[0, i] = x[0, i] << s[0]
        return 0, 0
    if o[KIND] == NORM:
        lost = advance_layer_norm(
            x, q[:n], q[n : 2 * n], s[0], s[1], s[2], s[3], s[4], s[5], events
        )
        return lost, 0
    if o[KIND] == MIX:
        previous = state[o[STATE] : o[STATE] + n]
        return advance_token_mix(previous, x, q[:n], q[n : 2 * n], q[2 * n : 3 * n], s[0], events)
    if o[KIND] == REQUANTIZE:
        lost, beyond = advance_requantize(x, q[:n], q[n : 2 * n], s[0], events)
        return (lost, beyond) if s[1] else (lost + beyond, 0)
    if o[KIND] == HIDDEN:
        return advance_squared_relu(x, q[:n], q[n : 2 * n], s[0], s[1], s[2], events)
    if o[KIND] == FIRE:
        u, v = state[o[STATE] : o[STATE] + n], state[o[STATE] + n : o[STATE] + 2 * n]
        return advance_lif(u, v, x, s[0], s[1], s[2], events), 0
    y = _row(words, o[PORT_1], n)
    if o[KIND] == JOIN:
        return advance_residual(x, y, s[0], events), 0
    v4 = q[: 4 * n].reshape(4, n)
    if o[KIND] == GATE:
        return advance_gate(x, y, v4[0], v4[1], v4[2], v4[3], s[0], events), 0
    v10 = q[: 10 * n].reshape(10, n)
    abp = state[o[STATE] : o[STATE] + 3 * n].reshape(3, n)
    return advance_wkv(
        abp[0],
        abp[1],
        abp[2],
        x,
        y,
        _row(words, o[PORT_2], n),
        v10[0],
        v10[1],
        v10[2],
        v10[3],
        v10[4],
        v10[5],
        v10[6],
        v10[7],
        v10[8],
        v10[9],
        s[0],
        events,
    )
