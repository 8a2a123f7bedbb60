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
A sparse one is read in whichever form of
:mod:`~spikegpt_neuro.backends.reference.sparse_products` is the quickest, or densely where none is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Thread
from time import perf_counter
from typing import Any
from weakref import finalize

import numpy as np
from numba import njit
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.arithmetic.packing import PACKED_BITS
from spikegpt_neuro.arithmetic.threads import most_threads
from spikegpt_neuro.backends.reference import (
    byte_products,
    byte_rows,
    orders,
    products,
    sparse_products,
)
from spikegpt_neuro.backends.reference.instructions import EVENT_BITS, chosen
from spikegpt_neuro.backends.reference.pace import MOST, Pace
from spikegpt_neuro.backends.reference.team import (
    Board,
    await_call,
    call_helpers,
    dissolve,
    meet,
    new_board,
)
from spikegpt_neuro.graph.graph import Population, Projection, SpikingGraph
from spikegpt_neuro.graph.tensors import release
from spikegpt_neuro.neurons import PROGRAMS
from spikegpt_neuro.neurons.program import (
    PORTS_MAX,
    EventFormat,
    IntArray,
    Kernel,
    Program,
    silence,
)

# Columns of the table of operations.
KIND, SHARED, SIZE, EVENTS, PORT_0, PORT_1, PORT_2 = range(7)
STATE, STATES, PARAMETERS, VECTORS, DEAD_ZONE, SCALAR = range(7, 13)

MATRIX, ROWS, ROW_BYTES, UNSIGNED = range(SCALAR, SCALAR + 4)
"""Of a product: where its matrix begins, its shape, and whether its events are unsigned."""

# Kinds of operation. SHIFT has its shift as SCALAR. Programs follow.
BY_TARGET, BY_SOURCE, BY_TARGET_PACKED, BY_SOURCE_PACKED = range(4)
BY_TARGET_BYTES, BY_SOURCE_BYTES, BY_TARGET_PACKED_BYTES, BY_SOURCE_PACKED_BYTES = range(4, 8)
EXISTING, SHIFT = range(8, 10)
TURNED = BY_SOURCE ^ BY_TARGET
"""From a kind by target to that by source, and back."""
OF_BYTES = BY_TARGET_BYTES - BY_TARGET
"""From a kind to that which takes events of a byte each, where the processor multiplies bytes."""
FIRST_PROGRAM = SHIFT + 1

KERNELS: dict[type[Program], Kernel] = {
    program: program.kernel for program in PROGRAMS.values() if program.kernel is not None
}
"""The programs that can be stepped; others (from outside this package) the executor runs."""

KINDS = {program: kind for kind, program in enumerate(KERNELS, FIRST_PROGRAM)}

SATURATED, CLIPPED, EVENTS_SENT = range(3)
"""Columns of the tallies: what programs lost, and events that are not 0 at a product."""

CACHE_LINE = 64
LINE_SUMS = CACHE_LINE // 4
LARGE_BYTES = 1 << 16  # sharing a smaller product costs more than it gains
NARROW_LIMIT = 1 << 15  # events must fit 16 bits
NONE = -1
NO_ROWS = (0, 0, 0, 0, NONE)
WHOLE_SUMS = sparse_products.LANES  # packed sums come in pairs, those of slots in eights


def obstacle(graph: SpikingGraph) -> str | None:
    """Why the graph cannot be stepped, in a few words; None if it can."""
    for population in graph.populations[1:]:
        if type(population.program) not in KINDS:
            return f"program {population.program.kind} ({population.name}) has no compiled step"
    for projection in graph.projections:
        events = graph.by_name[projection.source].events
        if projection.is_dense and events.high >= NARROW_LIMIT:
            return f"{projection.source} sends events of {events.bits} bits to synapses"
    return None


def can_step(graph: SpikingGraph) -> bool:
    """True if every program has a compiled step and every dense projection gets narrow events."""
    return obstacle(graph) is None


class Stepper:
    """A graph in its buffers, with the state of one stream of tokens.

    ``losses`` (operations, 2): saturations and clipped payloads so far. ``by_source``: the
    projections whose weights are now read by source. ``break_even``: the share of events that are
    not 0 below which they are; None where matrices keep the order in which they are stored,
    since numba knows no product of bytes here. ``weight_bytes``: the weights in memory, in the
    forms in which they are read. ``threads``: how many may share the large products; no more than
    can run at the same time, and one where no product is large. Without a number as many work as
    are quickest, token by token (:mod:`~spikegpt_neuro.backends.reference.pace`). Close a stepper
    of several threads, or drop it: its helpers then end.
    """

    def __init__(self, graph: SpikingGraph, threads: int | None = 1) -> None:
        self._graph = graph
        plan = _Plan(graph, min(threads or MOST, most_threads()))
        shared = any(operation[SHARED] for operation in plan.operations)
        table = graph.input.program.lookup
        assert table is not None
        self._table = table
        self._size = graph.input.size
        output = plan.events[graph.output.name]
        self._output = slice(output, output + graph.output.size)
        self._words = np.zeros(plan.words, np.int32)
        self._tallies = np.zeros((len(plan.operations), 3), np.int64)
        self.losses = self._tallies[:, :2]
        self._tokens = 0
        self.weight_bytes = sum(matrix.nbytes for matrix in plan.matrices)
        self.threads = plan.threads if shared else 1
        self._pace = Pace(self.threads) if threads is None and self.threads > 1 else None
        self._board = new_board(self.threads)
        self._memory = _in_one_piece(plan)
        self._buffers = (
            plan.table(),
            self._words,
            np.concatenate([np.zeros(0, np.int32), *plan.state]),
            np.concatenate([np.zeros(0, np.int32), *plan.parameters]),
            self._memory,
            np.zeros((self.threads, plan.widest + 1), np.int16),
            np.zeros((self.threads, byte_rows.room(plan.widest, plan.longest)), np.int32),
            self._tallies,
        )
        self._turnable, self._waiting = plan.turnable, list[_Turnable]()
        self._packed = graph.weight_bits == PACKED_BITS
        self.break_even = (
            orders.break_even(self._memory, packed=self._packed) if plan.turnable else None
        )
        self._dissolve = finalize(self, dissolve, self._board, self.threads)
        self._waits = self.threads > 1  # helpers, to be started
        if self._pace is None:
            self._start_helpers()

    def _start_helpers(self) -> None:
        """Start them once: threads of their own, in one call of compiled code each.

        They hold the buffers, not this object. What they run is compiled before: a thread that
        compiles when the interpreter ends could take it down.
        """
        if not self._waits:
            return
        self._waits = False
        ended = new_board(2)
        dissolve(ended, 2)
        _help(ended, 1, *self._buffers)
        for helper in range(1, self.threads):
            arguments = (self._board, helper, *self._buffers)
            Thread(target=_help, args=arguments, daemon=True).start()

    def step(self, token: int) -> IntArray:
        """Advance by one (valid) token; the logits (V,) are a view until the next step."""
        self._words[: self._size] = self._table[token]
        working = self.working
        if working > 1:
            self._start_helpers()
        begin = perf_counter()
        try:
            _walk(self._board, working, 0, *self._buffers)
        except BaseException:
            self.close()
            raise
        if self._pace is not None:
            self._pace.took(perf_counter() - begin)
        self._tokens += 1
        if self._tokens in orders.LOOKS:
            self._waiting = [t for t in self._turnable if self._should_turn(t)]
        if self._waiting:
            self._turn_some()
        return self._words[self._output]

    @property
    def working(self) -> int:
        """Threads that take the next token."""
        return self.threads if self._pace is None else self._pace.threads

    @property
    def by_source(self) -> frozenset[str]:
        kept = {q.name for q in self._graph.projections if q.by_source}
        turnable = {t.projection.name for t in self._turnable}
        turned = {t.projection.name for t in self._turnable if self._kind(t) % 2 == BY_SOURCE}
        return frozenset(kept - turnable | turned)

    def _kind(self, turnable: _Turnable) -> int:
        return int(self._buffers[0][turnable.operation, KIND])

    def _should_turn(self, turnable: _Turnable) -> bool:
        """True if the other order is the quicker one for the events so far."""
        assert self.break_even is not None
        operation = turnable.operation
        possible = self._tokens * self._buffers[0][operation, SIZE]
        density = self._tallies[operation, EVENTS_SENT] / possible
        if self._kind(turnable) % 2 == BY_SOURCE:
            return bool(density > self.break_even)
        return bool(density < orders.HYSTERESIS * self.break_even)

    def _turn_some(self) -> None:
        """Lay out matrices in the other order, as many as one token may wait for."""
        done = 0
        while self._waiting and done < orders.TURNED_BYTES:
            turnable = self._waiting.pop()
            operation = self._buffers[0][turnable.operation]
            shape = turnable.projection.shape
            assert shape is not None
            columns = shape[1 - self._kind(turnable) % 2]
            matrix = _matrix(operation, self._memory)
            rows = orders.turned(matrix, columns, packed=self._packed)
            begin = operation[MATRIX]
            self._memory[begin : begin + rows.size] = rows.reshape(-1)
            operation[ROWS : ROW_BYTES + 1] = rows.shape
            operation[KIND] ^= TURNED
            done += rows.nbytes

    def close(self) -> None:
        """End the helpers; further tokens are the leader's alone."""
        self._dissolve()
        self.threads, self._pace = 1, None


@dataclass(frozen=True)
class _Turnable:
    """An operation whose matrix may be read in either order."""

    operation: int
    projection: Projection


@dataclass
class _Plan:
    """Offsets and tables under construction."""

    graph: SpikingGraph
    threads: int
    words: int = 0
    widest: int = 0
    longest: int = 0
    events: dict[str, int] = field(default_factory=dict)
    state: list[IntArray] = field(default_factory=list)
    parameters: list[IntArray] = field(default_factory=list)
    operations: list[list[int]] = field(default_factory=list)
    matrices: list[NDArray[np.int8]] = field(default_factory=list)
    products: list[int] = field(default_factory=list)
    turnable: list[_Turnable] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.events[self.graph.input.name] = self._words(self.graph.input.size)
        for population in self.graph.populations[1:]:
            self._population(population)

    def table(self) -> NDArray[np.int64]:
        """The operations, one per row."""
        width = max(map(len, self.operations), default=0)
        return np.array([row + [0] * (width - len(row)) for row in self.operations], np.int64)

    def _words(self, size: int) -> int:
        begin = self.words
        self.words += -(-size // WHOLE_SUMS) * WHOLE_SUMS
        return begin

    def _population(self, population: Population) -> None:
        program = population.program
        ports = [self._projection(q) for q in self.graph.incoming[population.name]]
        self.events[population.name] = self._words(population.size)
        initial, vectors = program.initial_state(population.size), program.vectors()
        begin = _total(self.parameters)
        self.parameters += vectors
        dead_zone = NONE if program.dead_zone is None else _total(self.parameters)
        rows = (_total(self.state), len(initial), begin, len(vectors), dead_zone)
        self.state += initial
        self.parameters += () if program.dead_zone is None else (program.dead_zone,)
        self._operation(
            KINDS[type(program)],
            population.size,
            self.events[population.name],
            ports,
            rows,
            program.scalars(),
        )

    def _projection(self, projection: Projection) -> int:
        """Offset of what the projection delivers; a plain one-to-one is the source itself."""
        source, target = (self.graph.by_name[n] for n in (projection.source, projection.target))
        begin = self.events[projection.source]
        if not projection.is_dense:
            if projection.shift == 0:
                return begin
            sums = self._words(target.size)
            self._operation(SHIFT, target.size, sums, [begin], NO_ROWS, (projection.shift,))
            return sums
        kind, matrix = self._matrix(projection, source.events)
        self.matrices.append(matrix)
        self.products.append(len(self.operations))
        if BY_TARGET_BYTES <= kind <= BY_SOURCE_PACKED_BYTES:
            self.turnable.append(_Turnable(len(self.operations), projection))
        self.widest = max(self.widest, source.size)
        self.longest = max(self.longest, target.size)
        sums = self._words(target.size)
        scalars = (NONE, *matrix.shape, int(not source.events.signed))
        self._operation(kind, source.size, sums, [begin], NO_ROWS, scalars)
        return sums

    def _matrix(self, projection: Projection, events: EventFormat) -> tuple[int, NDArray[np.int8]]:
        """How the weights are read, and their bytes."""
        weights = projection.weights if projection.is_sparse else None
        if weights is not None:
            layers = sparse_products.layers_of(
                weights,
                events,
                by_source=projection.by_source,
                packed=self.graph.weight_bits == PACKED_BITS,
            )
            if layers is not None:
                memory = sparse_products.encoded(weights, layers, events, self.threads)
                return EXISTING, memory[None]
        kind = BY_SOURCE if projection.by_source else BY_TARGET
        if self.graph.weight_bits == PACKED_BITS:
            kind += BY_TARGET_PACKED - BY_TARGET
        if events.bits <= EVENT_BITS and chosen() is not None:
            kind += OF_BYTES
        return kind, projection.rows(self.graph.weight_bits)

    def _operation(
        self,
        kind: int,
        size: int,
        events: int,
        ports: list[int],
        rows: tuple[int, int, int, int, int],
        scalars: tuple[int, ...],
    ) -> None:
        """``rows``: begin and number of state rows, of vectors; begin of the dead zone."""
        ports = [*ports, *ports[:1] * PORTS_MAX][:PORTS_MAX]
        shared = int(kind < SHIFT and self.matrices[-1].nbytes >= LARGE_BYTES)
        self.operations.append([kind, shared, size, events, *ports, *rows, *scalars])


def _total(arrays: list[IntArray]) -> int:
    return sum(len(array) for array in arrays)


def _in_one_piece(plan: _Plan) -> NDArray[np.int8]:
    """The memory of all matrices; the operations are told where in it theirs begin.

    One allocation, each matrix at a cache line: numpy asks for huge pages where an allocation is
    large, and a token that streams through all weights then meets few misses of the address
    translation (measured: a fifth faster). There is room for each in either order.
    """
    turnable = {each.operation for each in plan.turnable}
    sizes = [matrix.size for matrix in plan.matrices]
    for number, (matrix, operation) in enumerate(zip(plan.matrices, plan.products, strict=True)):
        if operation in turnable:
            rows, columns = matrix.shape
            sizes[number] += max(rows, 2 * columns)  # packed, an odd row has half a byte to spare
    lines = [-(-size // CACHE_LINE) for size in sizes]
    longest = max((max(each.projection.shape or ()) for each in plan.turnable), default=0)
    behind = -(-byte_products.room_behind(longest) // CACHE_LINE)
    memory = np.empty((sum(lines) + behind, CACHE_LINE), np.int8).reshape(-1)
    begin = 0
    for matrix, operation, count in zip(plan.matrices, plan.products, lines, strict=True):
        memory[begin : begin + matrix.size].reshape(matrix.shape)[:] = matrix
        release(matrix)
        plan.operations[operation][MATRIX] = begin
        begin += count * CACHE_LINE
    memory[begin:] = 0
    return memory


@kernel
def _help(
    board: Board,
    thread: int,
    operations: NDArray[np.int64],
    words: IntArray,
    state: IntArray,
    parameters: IntArray,
    memory: NDArray[np.int8],
    narrow: NDArray[np.int16],
    active: IntArray,
    tallies: NDArray[np.int64],
) -> None:
    """All tokens until the team is dissolved."""
    while True:
        threads = await_call(board, thread)
        if threads == 0:
            return
        _walk(
            board,
            threads,
            thread,
            operations,
            words,
            state,
            parameters,
            memory,
            narrow,
            active,
            tallies,
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
    memory: NDArray[np.int8],
    narrow: NDArray[np.int16],
    active: IntArray,
    tallies: NDArray[np.int64],
) -> None:
    """What ``thread`` does for one token: its share of large products; the leader, all the rest.

    The leader's walk begins with its call. What is inlined is compiled here alone: with each
    level of calls, the compiler would begin anew with all that lies below.
    """
    if thread == 0:
        call_helpers(board, threads)
    crew = 1
    for index in range(len(operations)):
        o = operations[index]
        before, crew = crew, threads if o[SHARED] else 1
        if crew != before:
            meet(board, threads)
        if thread >= crew:
            continue
        if o[KIND] < SHIFT:
            matrix = _matrix(o, memory)
            sent = _project(o, words, matrix, narrow[thread], active[thread], thread, crew)
            if thread == 0:
                tallies[index, EVENTS_SENT] += sent
        else:
            saturations, clipped = _advance(o, words, state, parameters)
            tallies[index, SATURATED] += saturations
            tallies[index, CLIPPED] += clipped
    if crew > 1:
        meet(board, threads)


@kernel
def _matrix(o: NDArray[np.int64], memory: NDArray[np.int8]) -> NDArray[np.int8]:
    """The matrix of a product (rows, bytes of a row)."""
    rows, row_bytes = o[ROWS], o[ROW_BYTES]
    return memory[o[MATRIX] : o[MATRIX] + rows * row_bytes].reshape(rows, row_bytes)


@njit(inline="always")
def _project(
    o: NDArray[np.int64],
    words: IntArray,
    matrix: NDArray[np.int8],
    narrow: NDArray[np.int16],
    active: IntArray,
    thread: int,
    threads: int,
) -> int:
    """The share of ``thread`` in a product; how many events are not 0."""
    size, sent = o[SIZE], 0
    for i in range(size):
        event = words[o[PORT_0] + i]
        narrow[i] = event
        sent += event != 0
    narrow[size] = 0  # the pad of an odd packed row
    sums, bytes_ = words[o[EVENTS] :], active.view(np.int8)
    if o[KIND] == EXISTING:
        sparse_products.by_existing(matrix[0], narrow, bytes_, sums, thread, threads)
        return sent
    by_source = o[KIND] % 2  # of every two kinds the second
    lines, unsigned = matrix.shape[by_source], o[UNSIGNED]
    begin, end = _share(lines, thread, threads), _share(lines, thread + 1, threads)
    if o[KIND] == BY_TARGET_BYTES:
        byte_products.by_target_bytes(matrix, narrow, bytes_, unsigned, sums, begin, end)
    elif o[KIND] == BY_TARGET_PACKED_BYTES:
        byte_products.by_target_packed_bytes(matrix, narrow, bytes_, unsigned, sums, begin, end)
    elif o[KIND] == BY_SOURCE_BYTES:
        byte_rows.by_source_bytes(matrix, narrow, active, unsigned, sums, begin, end)
    elif o[KIND] == BY_SOURCE_PACKED_BYTES:
        byte_rows.by_source_packed_bytes(matrix, narrow, active, unsigned, sums, begin, end)
    elif o[KIND] == BY_TARGET:
        products.by_target(matrix, narrow, sums, begin, end)
    elif o[KIND] == BY_SOURCE:
        products.by_source(matrix, narrow, active, sums, begin, end)
    elif o[KIND] == BY_TARGET_PACKED:
        products.by_target_packed(matrix, narrow, sums, begin, end)
    else:
        products.by_source_packed(matrix, narrow, active, sums, begin, end)
    return sent


@kernel
def _share(lines: int, thread: int, threads: int) -> int:
    """Where the share of ``thread`` begins: at whole cache lines of sums."""
    if thread == threads:
        return lines
    return lines * thread // threads // LINE_SUMS * LINE_SUMS


@njit(inline="always")
def _rows(words: IntArray, begin: int, rows: int, size: int) -> IntArray:
    return words[begin : begin + rows * size].reshape(rows, size)


def _chain(kinds: list[int], kernels: list[Kernel]) -> Any:
    """A compiled function: of ``kernels``, the one whose number of ``kinds`` is given.

    A chain of comparisons, inlined into the kernel that uses it and cached with it: calls through
    pointers, or from link to link, would hand seven arrays on each time.
    """
    (here, *kinds), (run, *kernels) = kinds, kernels
    if not kinds:
        return njit(inline="always")(lambda _kind, x, y, z, s, v, c, e: run(x, y, z, s, v, c, e))
    rest = _chain(kinds, kernels)

    @njit(inline="always")
    def link(kind: int, x: Any, y: Any, z: Any, s: Any, v: Any, c: Any, e: Any) -> Any:
        if kind == here:
            return run(x, y, z, s, v, c, e)
        return rest(kind, x, y, z, s, v, c, e)

    return link


_run = _chain(list(KINDS.values()), list(KERNELS.values()))


@njit(inline="always")
def _advance(
    o: NDArray[np.int64], words: IntArray, state: IntArray, parameters: IntArray
) -> tuple[int, int]:
    """Advance one population by one token; (saturations, clipped)."""
    n, x = o[SIZE], o[PORT_0]
    events = _rows(words, o[EVENTS], 1, n)
    if o[KIND] == SHIFT:
        for i in range(n):
            events[0, i] = words[x + i] << o[SCALAR]
        return 0, 0
    lost: tuple[int, int] = _run(
        o[KIND],
        _rows(words, x, 1, n),
        _rows(words, o[PORT_1], 1, n),
        _rows(words, o[PORT_2], 1, n),
        _rows(state, o[STATE], o[STATES], n),
        _rows(parameters, o[PARAMETERS], o[VECTORS], n),
        o[SCALAR:],
        events,
    )
    if o[DEAD_ZONE] != NONE:
        silence(events, parameters[o[DEAD_ZONE] : o[DEAD_ZONE] + n])
    return lost
