r"""Micro-operations: what a programmable core computes for one token of a neuron program.

.. math:: operations(n) = n \cdot per\_neuron + shared

One micro-operation is one of: an addition, subtraction or negation; a multiplication; a shift
(division by a power of two is one); a bitwise operation; a comparison with the choice that it
decides; a minimum, maximum or absolute value (a saturation takes two of them); the position of the
leading one; one reading of a function table (an interpolation takes two). Free are: operands in
the neuron's own memory, whatever depends on parameters alone (it is computed when the chip is set
up), loops, and the counting of saturations, which is the reference's instrument and no part of
the program.

Nothing is typed in: the program's own kernel runs, undecorated, on integers that count what is
done to them, in populations of one and of two neurons. Each array of parameters is stood for by
its largest element. Where the way through a program depends on the data, the longest that
:data:`LEVELS` lead through counts: the neurons of a core are given equal time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.neurons.program import Advance, Program, State, declared

if TYPE_CHECKING:
    from spikegpt_neuro.graph.graph import Population

LEVELS = tuple(sign << bits for bits in range(0, 21, 4) for sign in (1, 1, 1, -1, -1, -1))
"""What every port of every neuron receives, token after token; three times, for the state."""

OPERATORS = ("add", "sub", "mul", "floordiv", "lshift", "rshift", "and", "or", "xor")
COMPARISONS = ("lt", "le", "gt", "ge")

Function = Callable[..., Any]


def micro_operations(program: Program, size: int) -> int:
    """Micro-operations of a population of ``size`` neurons for one token.

    Sums over the population (LayerNorm's) and what is done once for all neurons are included.
    A stock neuron is counted like the others, although chips price it as one update.
    An embedding on the chip reads one entry of its table per neuron.
    """
    if program.lookup is not None:
        return size
    per_neuron, shared = _count(type(program), _typical_parameters(program))
    return size * per_neuron + shared


def update_of(population: Population) -> tuple[int, int]:
    """(updates of stock neurons, micro-operations) of the population for one token.

    A stock neuron (LIF): ``size`` updates and no micro-operation; all others the reverse.
    """
    if population.program.is_stock:
        return population.size, 0
    return 0, micro_operations(population.program, population.size)


def _typical_parameters(program: Program) -> tuple[tuple[str, int, bool], ...]:
    """(field, value, one per neuron) of every parameter."""
    return tuple(
        (parameter.name, int(np.max(value)), parameter.form in ("vector", "dead zone"))
        for parameter in declared(type(program))
        if (value := getattr(program, parameter.name)) is not None
    )


@cache
def _count(kind: type[Program], parameters: tuple[tuple[str, int, bool], ...]) -> tuple[int, int]:
    """(operations per neuron, operations shared by the population) of one token."""
    one, two = (_longest_token(kind, parameters, size) for size in (1, 2))
    return two - one, 2 * one - two


def _longest_token(
    kind: type[Program], parameters: tuple[tuple[str, int, bool], ...], size: int
) -> int:
    """Most operations that one of the :data:`LEVELS` takes ``size`` neurons."""
    tally = _Tally()
    program = kind(
        **{name: _objects([value] * size) if each else value for name, value, each in parameters}
    )
    state = tuple(_objects(map(tally.number, s.tolist())) for s in program.initial_state(size))
    longest = 0
    for level in LEVELS:
        before = tally.operations
        port = _objects([tally.number(level) for _ in range(size)]).reshape(1, size)
        state = tally.advance(program, state, *[port] * len(kind.ports)).state
        longest = max(longest, tally.operations - before)
    return longest


def _objects(values: Any) -> NDArray[Any]:
    """Python integers as they are: no element is turned into one of numpy's."""
    return np.array(list(values), dtype=object)


class _Tally:
    """Counts the operations on its numbers.

    ``number(x)`` makes an integer whose arithmetic is counted and gives such integers again;
    results of plain integers alone are plain: they do not depend on the data.
    """

    def __init__(self) -> None:
        self.operations = 0
        methods: dict[str, Function] = {}
        for name in OPERATORS:
            methods[f"__{name}__"] = self._operator(getattr(int, f"__{name}__"))
            methods[f"__r{name}__"] = self._operator(getattr(int, f"__r{name}__"))
        for name in COMPARISONS:
            methods[f"__{name}__"] = self._comparison(getattr(int, f"__{name}__"))
        methods["__neg__"] = self._function(lambda x: -x)
        self.number: type[int] = type("Number", (int,), methods)
        self._rebuilt: dict[int, Function] = {}
        self._replaced: dict[str, Function] = {
            "int": lambda x: x if isinstance(x, self.number) else int(x),
            "abs": self._function(abs),
            "max": self._function(max),
            "min": self._function(min),
            "bit_length": self._function(int.bit_length),
        }

    def advance(self, program: Program, state: State, *inputs: NDArray[Any]) -> Advance:
        """The program's ``advance`` on numbers of this tally."""
        kind = type(program)
        if kind.kernel is None:
            return cast(Advance, self.counting(kind.advance)(program, state, *inputs))
        return program.advance_with(self.counting, state, *inputs)

    def counting(self, function: Function) -> Function:
        """The function on numbers of this tally, with all kernels and tables that it uses."""
        source = cast(FunctionType, getattr(function, "py_func", function))
        if id(source) not in self._rebuilt:
            names: dict[str, Any] = {}
            rebuilt = FunctionType(
                source.__code__, names, source.__name__, source.__defaults__, source.__closure__
            )
            self._rebuilt[id(source)] = rebuilt
            for name, value in source.__globals__.items():
                names[name] = self._counted(value)
            names.update(self._replaced)
        return self._rebuilt[id(source)]

    def _counted(self, value: Any) -> Any:
        if hasattr(value, "py_func"):
            return self.counting(value)
        return _Table(value, self) if isinstance(value, np.ndarray) else value

    def _operator(self, operation: Function) -> Function:
        def counted(x: int, y: int) -> int:
            self.operations += 1
            return self.number(operation(int(x), int(y)))

        return counted

    def _comparison(self, operation: Function) -> Function:
        def counted(x: int, y: int) -> bool:
            self.operations += 1
            return bool(operation(int(x), int(y)))

        return counted

    def _function(self, function: Function) -> Function:
        def counted(*arguments: int) -> int:
            value = int(function(*map(int, arguments)))
            if not any(isinstance(x, self.number) for x in arguments):
                return value
            self.operations += 1
            return self.number(value)

        return counted


class _Table:
    """A function table: each reading is an operation."""

    def __init__(self, values: NDArray[Any], tally: _Tally) -> None:
        self.values = values
        self.tally = tally

    def __getitem__(self, index: int) -> int:
        self.tally.operations += 1
        return self.tally.number(self.values[int(index)])
