"""What every neuron program is: integer state, integer inputs, integer events.

A program is a frozen dataclass of integers (the parameters of one population) with one
pure function, :meth:`Program.advance`. A backend needs nothing else to run it, and the
artifact stores nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int32]
State = tuple[IntArray, ...]

PAYLOAD_BITS_MAX = 24
STATE_BITS_MAX = 24


@dataclass(frozen=True)
class EventFormat:
    """What travels on an axon: a binary spike (1 bit, unsigned) or a graded payload.

    The largest payload is ``2**bits - 1`` unsigned, ``2**(bits-1) - 1`` signed; signed
    payloads are symmetric. A payload of 0 is no event: nothing is sent.
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


class Program(ABC):
    """Base of the neuron programs.

    ``kind``        name in artifacts and tables.
    ``ports``       names of the inputs, in the order :meth:`advance` takes them.
    ``state_names`` names of the state vectors, in the order of the state tuple.
    ``population_wide``  True where a neuron needs a sum over its whole population
                    (LayerNorm): all its neurons must be reachable from one place.
    """

    kind: ClassVar[str]
    ports: ClassVar[tuple[str, ...]]
    state_names: ClassVar[tuple[str, ...]] = ()
    population_wide: ClassVar[bool] = False

    @property
    @abstractmethod
    def events(self) -> EventFormat:
        """Format of the events that this population sends."""

    def initial_state(self, size: int) -> State:
        """State before the first token: zeros, unless the program says otherwise."""
        return tuple(np.zeros(size, np.int32) for _ in self.state_names)

    @abstractmethod
    def advance(self, state: State, *inputs: IntArray) -> Advance:
        """Run T tokens.

        ``inputs`` holds one ``(T, n)`` int32 array per port: what the synapses of that
        port accumulated for each token. Neither ``state`` nor ``inputs`` is changed.
        Advancing T tokens at once or one by one gives the same integers.
        """

    def problems(self, size: int) -> list[str]:
        """What is wrong with the parameters for a population of ``size`` neurons."""
        return [
            problem
            for field in fields(self)  # type: ignore[arg-type]
            if isinstance(array := getattr(self, field.name), np.ndarray)
            for problem in self._array_problems(field.name, array, size)
        ]

    def _array_problems(self, name: str, array: IntArray, size: int) -> list[str]:
        if array.dtype != np.int32:
            return [f"{name} is {array.dtype}, expected int32"]
        if array.shape != (size,):
            return [f"{name} has shape {array.shape}, expected {(size,)}"]
        return []
