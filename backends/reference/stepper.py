"""Token mode at the speed of memory: the whole graph as one compiled walk over operations.

A graph is laid out once into flat buffers: *words* (events and sums of every population, one
token), *state*, *parameters*, and the weight matrices. A token then is one call of compiled
code that walks a table of operations and allocates nothing. The arithmetic is that of the
neuron programs' own kernels and of :mod:`~spikegpt_neuro.backends.reference.products`, so the
integers are those of every other mode.

With several threads, all walk the table: each computes its share of every large product, the
first does the rest, and they wait for each other where one needs what another wrote
(:mod:`~spikegpt_neuro.backends.reference.team`).

A dense projection is read by target (C order of its weights) or by source (Fortran order):
the lowering chooses by the share of events that calibration saw. Weights of 4 bits are packed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Thread
from typing import Any
from weakref import finalize

import numpy as np
from numba import int8
from numba.typed import List
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.arithmetic.packing import PACKED_BITS
from spikegpt_neuro.backends.reference import products
from spikegpt_neuro.backends.reference.team import (
    Board,
    await_call,
    call_helpers,
    dissolve,
    meet,
    most_threads,
    new_board,
)
from spikegpt_neuro.graph.graph import Population, Projection, SpikingGraph
from spikegpt_neuro.graph.tensors import let_go
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
KIND, SHARED, SIZE, EVENTS, PORT_0, PORT_1, PORT_2, STATE, PARAMETERS, SCALAR = range(10)
SCALARS = 7

# Kinds of operation; a projection's SCALAR is its matrix, or the shift.
BY_TARGET, BY_SOURCE, BY_TARGET_PACKED, BY_SOURCE_PACKED, SHIFT = range(5)
NORM, MIX, TIME_MIX, REQUANTIZE, FIRE, JOIN, HIDDEN, GATE = range(5, 13)

CACHE_LINE = 64
LINE_SUMS = CACHE_LINE // 4
LARGE_BYTES = 1 << 16  # sharing a smaller product costs more than it gains
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

    ``losses`` (operations, 2): saturations and clipped payloads so far. ``threads``: how many
    share the large products; no more than can run at the same time, and one where no product
    is large. Close a stepper of several threads, or let go of it: its helpers then end.
    """

    def __init__(self, graph: SpikingGraph, threads: int = 1) -> None:
        plan = _Plan(graph)
        shared = any(operation[SHARED] for operation in plan.operations)
        self._table = plan.embedding.table
        self._size = graph.input.size
        output = plan.events[graph.output.name]
        self._output = slice(output, output + graph.output.size)
        self._words = np.zeros(plan.words, np.int32)
        self.losses = np.zeros((len(plan.operations), 2), np.int64)
        self.threads = min(threads, most_threads()) if shared else 1
        self._board = new_board(self.threads)
        self._buffers = (
            np.array(plan.operations, np.int64),
            self._words,
            np.concatenate([np.zeros(0, np.int32), *plan.state]),
            np.concatenate([np.zeros(0, np.int32), *plan.parameters]),
            _in_one_piece(plan.matrices),
            np.zeros((self.threads, plan.widest + 1), np.int16),
            np.zeros((self.threads, plan.widest + 1), np.int32),
            self.losses,
        )
        self._dissolve = finalize(self, dissolve, self._board, self.threads)
        for helper in range(1, self.threads):  # they hold the buffers, not this object
            arguments = (self._board, self.threads, helper, *self._buffers)
            Thread(target=_help, args=arguments, daemon=True).start()

    def step(self, token: int) -> IntArray:
        """Advance by one (valid) token; the logits (V,) are a view until the next step."""
        self._words[: self._size] = self._table[token]
        try:
            _lead(self._board, self.threads, *self._buffers)
        except BaseException:
            self.close()
            raise
        return self._words[self._output]

    def close(self) -> None:
        """End the helpers; further tokens are the leader's alone."""
        self._dissolve()
        self.threads = 1


@dataclass
class _Plan:
    """Offsets and tables under construction."""

    graph: SpikingGraph
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
        if not projection.is_dense:
            if projection.shift == 0:
                return begin
            sums = self._words(target.size)
            self._operation(SHIFT, target.size, sums, [begin, 0, 0], 0, 0, (projection.shift,))
            return sums
        kind = BY_SOURCE if projection.by_source else BY_TARGET
        if self.graph.weight_bits == PACKED_BITS:
            kind += BY_TARGET_PACKED - BY_TARGET
        self.matrices.append(projection.stored(self.graph.weight_bits))
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
        shared = int(kind < SHIFT and self.matrices[-1].nbytes >= LARGE_BYTES)
        self.operations.append(
            [kind, shared, size, events, *ports, state, parameters, *scalars, *padding]
        )


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
        let_go(matrix)
        placed.append(view)
        begin += count * CACHE_LINE
    return placed


@kernel
def _lead(
    board: Board,
    threads: int,
    operations: NDArray[np.int64],
    words: IntArray,
    state: IntArray,
    parameters: IntArray,
    matrices: Any,
    narrow: NDArray[np.int16],
    active: IntArray,
    losses: NDArray[np.int64],
) -> None:
    """One token."""
    call_helpers(board, threads)
    _walk(board, threads, 0, operations, words, state, parameters, matrices, narrow, active, losses)


@kernel
def _help(
    board: Board,
    threads: int,
    thread: int,
    operations: NDArray[np.int64],
    words: IntArray,
    state: IntArray,
    parameters: IntArray,
    matrices: Any,
    narrow: NDArray[np.int16],
    active: IntArray,
    losses: NDArray[np.int64],
) -> None:
    """All tokens until the team is dissolved."""
    while await_call(board, thread):
        _walk(
            board,
            threads,
            thread,
            operations,
            words,
            state,
            parameters,
            matrices,
            narrow,
            active,
            losses,
        )


@kernel
def _walk(
    board: Board,
    threads: int,
    thread: int,
    operations: NDArray[np.int64],
    words: IntArray,
    state: IntArray,
    parameters: IntArray,
    matrices: Any,
    narrow: NDArray[np.int16],
    active: IntArray,
    losses: NDArray[np.int64],
) -> None:
    """What ``thread`` does for one token: its share of large products; the leader, all the rest."""
    crew = 1
    for index in range(len(operations)):
        o = operations[index]
        before, crew = crew, threads if o[SHARED] else 1
        if crew != before:
            meet(board, threads)
        if thread >= crew:
            continue
        if o[KIND] < SHIFT:
            _project(o, words, matrices[o[SCALAR]], narrow[thread], active[thread], thread, crew)
        else:
            saturations, clipped = _advance(o, words, state, parameters)
            losses[index, 0] += saturations
            losses[index, 1] += clipped
    if crew > 1:
        meet(board, threads)


@kernel
def _project(
    o: NDArray[np.int64],
    words: IntArray,
    matrix: NDArray[np.int8],
    narrow: NDArray[np.int16],
    active: IntArray,
    thread: int,
    threads: int,
) -> None:
    """The share of ``thread`` in a product."""
    size = o[SIZE]
    for i in range(size):
        narrow[i] = words[o[PORT_0] + i]
    narrow[size] = 0  # the pad of an odd packed row
    by_target = o[KIND] == BY_TARGET or o[KIND] == BY_TARGET_PACKED
    lines = matrix.shape[0] if by_target else matrix.shape[1]
    begin, end = _share(lines, thread, threads), _share(lines, thread + 1, threads)
    sums = words[o[EVENTS] :]
    if o[KIND] == BY_TARGET:
        products.by_target(matrix, narrow, sums, begin, end)
    elif o[KIND] == BY_SOURCE:
        products.by_source(matrix, narrow, active, sums, begin, end)
    elif o[KIND] == BY_TARGET_PACKED:
        products.by_target_packed(matrix, narrow, sums, begin, end)
    else:
        products.by_source_packed(matrix, narrow, active, sums, begin, end)


@kernel
def _share(lines: int, thread: int, threads: int) -> int:
    """Where the share of ``thread`` begins: at whole cache lines of sums."""
    if thread == threads:
        return lines
    return lines * thread // threads // LINE_SUMS * LINE_SUMS


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
