"""What every neuron program is: integer state, integer inputs, integer events.

A program is a frozen dataclass of integers (the parameters of one population), each field
declared with its range by :func:`vector`, :func:`scalar`, :func:`flag` or :func:`lookup_table`,
and one kernel (:func:`kernel_of`). Whatever else needs to know about a program (the artifact,
the checks, the compiled walk of the reference backend, the mapper's memory) follows from the
declaration.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass
from functools import cache
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic import jit

IntArray = NDArray[np.int32]
State = tuple[IntArray, ...]
Kernel = Callable[
    [IntArray, IntArray, IntArray, IntArray, IntArray, NDArray[np.int64], IntArray],
    tuple[int, int],
]
"""``(x, y, z, state, vectors, scalars, events) -> (saturations, clipped)``; see kernel_of."""

PAYLOAD_BITS_MAX = 24
STATE_BITS_MAX = 24


@dataclass(frozen=True)
class EventFormat:
    """What travels on an axon: a binary spike (1 bit, unsigned) or a graded payload.

    The largest payload is ``2**bits - 1`` unsigned, ``2**(bits-1) - 1`` signed; signed
    payloads are symmetric. A payload of 0 is no event: nothing is sent (see :func:`dead_zone`).
    """

    bits: int
    signed: bool

    @property
    def is_binary(self) -> bool:
        return self.bits == 1 and not self.signed

    @property
    def high(self) -> int:
        return (1 << (self.bits - self.signed)) - 1

    @property
    def low(self) -> int:
        return -self.high if self.signed else 0


BINARY = EventFormat(bits=1, signed=False)


class Counts(NamedTuple):
    """What a program lost to its number formats.

    ``saturations``  values of state, accumulators or intermediates that met their limit:
                     the model was given less range than it needed.
    ``clipped``      payloads beyond the quantizer's chosen range: intended, but counted.
    """

    saturations: int = 0
    clipped: int = 0

    def __add__(self, other: object) -> Counts:
        if not isinstance(other, Counts):
            return NotImplemented
        return Counts(self.saturations + other.saturations, self.clipped + other.clipped)


class Advance(NamedTuple):
    """Result of :meth:`Program.advance`: next state, events (T, n), losses."""

    state: State
    events: IntArray
    counts: Counts


Function = TypeVar("Function", bound=Callable[..., object])
Form = Literal["scalar", "flag", "vector", "table", "dead zone"]
DECLARATION = "declaration"
PORTS_MAX = 3


@dataclass(frozen=True)
class Parameter:
    """One declared field of a program.

    ``form``    a scalar or flag of the population, a vector with an entry per neuron, or a
                table of rows that the input picks from; a dead zone is a vector or None.
    ``ranges``  smallest and largest value, by the name of the array's dtype; scalars and flags
                have one range, under ``""``.
    """

    name: str
    form: Form
    ranges: Mapping[str, tuple[int, int]]

    @property
    def optional(self) -> bool:
        """True where the value may be None: the population then does not have it."""
        return self.form == "dead zone"

    @property
    def type(self) -> type:
        """The Python type of a value: int, bool or numpy.ndarray."""
        return {"scalar": int, "flag": bool}.get(self.form, np.ndarray)

    def problem(self, value: Any, size: int) -> str | None:
        """What is wrong with ``value`` in a population of ``size`` neurons, in one line."""
        if self.optional and value is None:
            return None
        if self.form == "flag":
            plain = isinstance(value, (bool, np.bool_))
            return None if plain else f"{self.name} is {value!r}, expected True or False"
        if self.form == "scalar":
            low, high = self.ranges[""]
            whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
            if whole and low <= value <= high:
                return None
            return f"{self.name} is {value!r}, expected {low}..{high}"
        return self._array_problem(value, size)

    def _array_problem(self, value: Any, size: int) -> str | None:
        found = value.dtype.name if isinstance(value, np.ndarray) else type(value).__name__
        if found not in self.ranges:
            return f"{self.name} is {found}, expected {' or '.join(self.ranges)}"
        table = self.form == "table"
        shape = (value.shape[:1] or (0,)) + (size,) if table else (size,)
        if value.shape != shape:
            expected = f"(V, {size})" if table else shape
            return f"{self.name} has shape {value.shape}, expected {expected}"
        low, high = self.ranges[found]
        if not value.size or (low <= value.min() and value.max() <= high):
            return None
        index = np.argwhere((value < low) | (value > high))[0].tolist()
        return f"{self.name}{index} is {value[tuple(index)]}, expected {low}..{high}"


def vector(low: int, high: int) -> Any:
    """Declare an int32 array with one entry in ``low .. high`` per neuron."""
    return _declare("vector", {"int32": (low, high)})


def scalar(low: int, high: int, default: Any = MISSING) -> Any:
    """Declare an integer in ``low .. high``, one for the population."""
    return _declare("scalar", {"": (low, high)}, default)


def flag(default: Any = MISSING) -> Any:
    """Declare a bool, one for the population."""
    return _declare("flag", {"": (0, 1)}, default)


def lookup_table(**ranges: tuple[int, int]) -> Any:
    """Declare an array (V, n) whose rows the input picks, with a range for each dtype it may have.

    On a chip its entries are synapses and not memory of the neurons.
    """
    return _declare("table", ranges)


def dead_zone() -> Any:
    r"""Declare the field ``dead_zone``: an int32 array (n,), or None (the default) for none.

    .. math:: event_i = 0 \text{ where } |payload_i| \le zone_i

    :func:`silence` applies it after the kernel, which knows nothing of it; a program that overrides
    :meth:`Program.advance` calls it itself. Where there is none, it takes no memory and no
    micro-operation.
    """
    return _declare("dead zone", {"int32": (0, (1 << PAYLOAD_BITS_MAX) - 1)}, None)


def _declare(form: Form, ranges: Mapping[str, tuple[int, int]], default: Any = MISSING) -> Any:
    return dataclasses.field(default=default, metadata={DECLARATION: (form, ranges)})


@cache
def declared(program: type[Program]) -> tuple[Parameter, ...]:
    """The parameters of a program in the order of its fields.

    Raises :class:`TypeError` naming a field that declares no range.
    """
    found = []
    for field in dataclasses.fields(program):  # type: ignore[arg-type]
        if DECLARATION not in field.metadata:
            raise TypeError(
                f"{program.__name__}.{field.name} declares no range; "
                "use vector(), scalar(), flag() or lookup_table()"
            )
        found.append(Parameter(field.name, *field.metadata[DECLARATION]))
    return tuple(found)


class Program(ABC):
    """Base of the neuron programs.

    ``kind``        name in artifacts and tables.
    ``ports``       names of the inputs, in the order :meth:`advance` takes them.
    ``state_names`` names of the state vectors, in the order of the state tuple.
    ``tables``      function tables that a core holds once for each population.
    ``population_wide``  True where a neuron needs a sum over its whole population
                    (LayerNorm): all its neurons must be reachable from one place.
    ``is_stock``    True where chips have this neuron in hardware: advancing it is one update,
                    whatever its equations take.
    ``kernel``      the compiled kernel, set by :func:`kernel_of`; None where the program
                    overrides :meth:`advance` instead.
    """

    kind: ClassVar[str]
    ports: ClassVar[tuple[str, ...]]
    state_names: ClassVar[tuple[str, ...]] = ()
    tables: ClassVar[tuple[IntArray, ...]] = ()
    population_wide: ClassVar[bool] = False
    is_stock: ClassVar[bool] = False
    kernel: ClassVar[Kernel | None] = None
    dead_zone: IntArray | None = None  # a field of programs that send payloads to synapses

    @property
    @abstractmethod
    def events(self) -> EventFormat:
        """Format of the events that this population sends."""

    @property
    def lookup(self) -> NDArray[np.integer] | None:
        """The table (V, n) whose rows the input picks; None where nothing is looked up."""
        tables = [getattr(self, p.name) for p in declared(type(self)) if p.form == "table"]
        return tables[0] if tables else None

    def vectors(self) -> tuple[IntArray, ...]:
        """The parameters that every neuron has, in the order the kernel takes them."""
        return tuple(getattr(self, p.name) for p in declared(type(self)) if p.form == "vector")

    def scalars(self) -> tuple[int, ...]:
        """The population's integers in the order the kernel takes them.

        Those declared, unless the program derives others from them.
        """
        shared = [p.name for p in declared(type(self)) if p.form in ("scalar", "flag")]
        return tuple(int(getattr(self, name)) for name in shared)

    def words_per_neuron(self) -> int:
        """State variables and parameters that every neuron keeps."""
        kept = len(self.state_names) + len(self.vectors())
        return kept + (self.dead_zone is not None)

    @classmethod
    def words_per_core(cls) -> int:
        """Parameters and table entries that a core keeps once for its share of a population."""
        shared = sum(p.form in ("scalar", "flag") for p in declared(cls))
        return shared + sum(map(len, cls.tables))

    def initial_state(self, size: int) -> State:
        """State before the first token: zeros, unless the program says otherwise."""
        return tuple(np.zeros(size, np.int32) for _ in self.state_names)

    def advance(self, state: State, *inputs: IntArray) -> Advance:
        """Run T tokens.

        ``inputs`` holds one ``(T, n)`` int32 array per port: what the synapses of that
        port accumulated for each token. Neither ``state`` nor ``inputs`` is changed.
        Advancing T tokens at once or one by one gives the same integers.
        """
        kernel = type(self).kernel
        if kernel is None:
            raise NotImplementedError(f"program {self.kind} has neither a kernel nor advance()")
        return self.advance_with(lambda compiled: compiled, state, *inputs)

    def advance_with(self, form: Callable[[Any], Any], state: State, *inputs: IntArray) -> Advance:
        """:meth:`advance` by another form of its compiled functions, such as their Python code.

        Arrays of Python's integers (dtype object) stay such: undecorated functions then
        compute without bounds.
        """
        kernel = type(self).kernel
        assert kernel is not None
        x = inputs[0]
        plain = x.dtype == object
        following = _rows(state, x)
        events = np.empty_like(x)
        scalars = np.array(self.scalars(), object if plain else np.int64)
        y, z = (*inputs, x, x)[1:PORTS_MAX]
        lost = form(kernel)(x, y, z, following, _rows(self.vectors(), x), scalars, events)
        if self.dead_zone is not None:
            form(silence)(events, _rows((self.dead_zone,), x)[0])
        return Advance(tuple(following), events, Counts(*lost))

    def problems(self, size: int) -> list[str]:
        """What is wrong with the parameters for a population of ``size`` neurons."""
        return list(self._problems(size))

    def _problems(self, size: int) -> Iterator[str]:
        for parameter in declared(type(self)):
            problem = parameter.problem(getattr(self, parameter.name), size)
            if problem is not None:
                yield problem


def _rows(vectors: tuple[IntArray, ...], like: IntArray) -> IntArray:
    """Vectors (n,) copied into the rows of one array (len, n) of the dtype of ``like`` (T, n)."""
    rows = np.empty((len(vectors), like.shape[1]), like.dtype)
    for row, values in zip(rows, vectors, strict=True):
        row[:] = values
    return rows


@jit.kernel
def silence(events: IntArray, dead_zone: IntArray) -> None:
    """Set ``events`` (T, n) of magnitude at or below ``dead_zone`` (n,) to 0: nothing is sent."""
    for t in range(events.shape[0]):
        for i in range(events.shape[1]):
            payload = int(events[t, i])
            events[t, i] = 0 if abs(payload) <= dead_zone[i] else payload


def kernel_of(program: type[Program]) -> Callable[[Function], Function]:
    """Compile the decorated function and make it the kernel of ``program``.

    It is called as ``kernel(x, y, z, state, vectors, scalars, events)``: the sums (T, n) of up
    to three ports (a port that the program lacks repeats another), the rows (k, n) of state,
    which it steps in place, the rows of :meth:`Program.vectors`, the int64 values of
    :meth:`Program.scalars`, and ``events`` (T, n) to fill. It returns the numbers of
    :class:`Counts`. Integers only: within the declared ranges nothing may exceed int64.
    """

    def compiled(function: Function) -> Function:
        made = jit.kernel(function)
        program.kernel = made  # type: ignore[assignment]
        return made

    return compiled
