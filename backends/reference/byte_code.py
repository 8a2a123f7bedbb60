"""Vectors of bytes in the compiler's own language: what products of bytes are put together from.

Every function takes the builder of a kernel and values of it; addresses are 64-bit numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from spikegpt_neuro.backends.reference.instructions import Instructions, chosen

code: Any = cgutils
INT8, INT16, INT32, INT64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
LANE_BYTES = 16
"""Bytes among which an instruction can move bytes and words."""
LANE_WORDS = LANE_BYTES // 4
FOUR = ir.VectorType(INT32, 4)

OFFSET, OFFSET_PACKED = 128, 8
"""What makes signed weights unsigned."""
PAIRS = 4
"""Vectors of packed weights of which two products each are added in 16 bits: 8 x 15 x 255 fit."""


@dataclass(frozen=True)
class Vectors:
    """A builder, and the vectors of some instructions."""

    builder: ir.IRBuilder
    instructions: Instructions

    @property
    def size(self) -> int:
        return self.instructions.vector_bytes

    @property
    def bytes(self) -> Any:
        return ir.VectorType(INT8, self.size)

    @property
    def shorts(self) -> Any:
        return ir.VectorType(INT16, self.size // 2)

    @property
    def words(self) -> Any:
        return ir.VectorType(INT32, self.size // 4)

    def sums(self, count: int) -> list[Any]:
        """Places for ``count`` vectors of sums, set to 0 each time that they are passed."""
        zero = splat(self.words, 0)
        places = [code.alloca_once_value(self.builder, zero) for _ in range(count)]
        for place in places:
            self.builder.store(zero, place)
        return places

    def load(self, address: Any, kind: Any = None) -> Any:
        """The vector at ``address``: bytes, or of another ``kind``."""
        pointer = (kind or self.bytes).as_pointer()
        return self.builder.load(self.builder.inttoptr(address, pointer), align=1)

    def store(self, vector: Any, address: Any) -> None:
        self.builder.store(
            vector, self.builder.inttoptr(address, vector.type.as_pointer()), align=1
        )

    def moved(self, address: Any, count: Any, step: int = 1) -> Any:
        """``address + count step``."""
        if isinstance(count, int):
            return self.builder.add(address, number(count * step))
        return self.builder.add(address, self.builder.mul(count, number(step)))

    def halves(self, weights: Any) -> list[Any]:
        """The weights in the low and the high halves of bytes, each made unsigned: 0 to 15."""
        b = self.builder
        unsigned = b.xor(weights, splat(self.bytes, OFFSET_PACKED * 0x11))
        shifted = b.lshr(b.bitcast(unsigned, self.shorts), splat(self.shorts, 4))
        both = unsigned, b.bitcast(shifted, self.bytes)
        return [b.and_(half, splat(self.bytes, 15)) for half in both]

    def add_products(
        self,
        place: Any,
        weights: Sequence[Any],
        events: Sequence[Any],
        *,
        packed: bool,
        signed: bool,
    ) -> None:
        """Adds what pairs of vectors of ``weights`` and ``events`` give to the sums at ``place``.

        ``packed`` weights are those of :meth:`halves`, of at most :data:`PAIRS` vectors. Sums come
        out too large by the offset of weights made unsigned times the sum of the events.
        """
        sums, pairs = self.builder.load(place), zip(weights, events, strict=True)
        if packed:
            sides = [(w, e) if signed else (e, w) for w, e in pairs]
            sums = self._with_small(sums, sides)
        else:
            for w, e in pairs:
                sums = self._with_signed(sums, w, e) if signed else self._with_bytes(sums, e, w)
        self.builder.store(sums, place)

    def _with_small(self, sums: Any, sides: Sequence[tuple[Any, Any]]) -> Any:
        """Added: products of 12 bits, so that eight of them fit 16 bits."""
        if self.instructions.product is not None:
            for unsigned, signed in sides:
                sums = self._with_bytes(sums, unsigned, signed)
            return sums
        assert len(sides) <= PAIRS
        shorts = [self._pairs(unsigned, signed) for unsigned, signed in sides]
        return self.builder.add(sums, self._widened(reduce(self.builder.add, shorts)))

    def _with_signed(self, sums: Any, weights: Any, events: Any) -> Any:
        """Added: weights and events that both have signs.

        The unsigned side is that of the weights, made so, or of the events' magnitudes, two
        products of which fit 16 bits.
        """
        b = self.builder
        if self.instructions.product is not None:
            return self._with_bytes(sums, b.xor(weights, splat(self.bytes, OFFSET)), events)
        turned = call(b, "llvm.x86.avx2.psign.b", self.bytes, weights, events)
        negative = b.icmp_signed("<", events, splat(self.bytes, 0))
        magnitude = b.select(negative, b.neg(events), events)
        return b.add(sums, self._widened(self._pairs(magnitude, turned)))

    def _with_bytes(self, sums: Any, unsigned: Any, signed: Any) -> Any:
        """Added: any unsigned and any signed bytes."""
        b = self.builder
        if self.instructions.product is not None:
            words = [b.bitcast(side, self.words) for side in (unsigned, signed)]
            return call(b, self.instructions.product, self.words, sums, *words)
        for keep in ([-1, 0], [0, -1]):  # two products may not fit 16 bits: every other one
            some = b.and_(signed, ir.Constant(self.bytes, keep * (self.size // 2)))
            sums = b.add(sums, self._widened(self._pairs(unsigned, some)))
        return sums

    def with_tile(self, sums: Any, events: Any, weights: Any) -> Any:
        """Added: unsigned events by weights; without a product of bytes, both are of 16 bits."""
        if self.instructions.product is not None:
            return self._with_bytes(sums, events, weights)
        events = self.builder.bitcast(events, self.shorts)
        found = call(self.builder, "llvm.x86.avx2.pmadd.wd", self.words, events, weights)
        return self.builder.add(sums, found)

    def _pairs(self, unsigned: Any, signed: Any) -> Any:
        """Products of bytes, neighbours added; more than 16 bits hold would be cut off."""
        return call(self.builder, "llvm.x86.avx2.pmadd.ub.sw", self.shorts, unsigned, signed)

    def _widened(self, shorts: Any) -> Any:
        """Neighbours added, as words."""
        ones = splat(self.shorts, 1)
        return call(self.builder, "llvm.x86.avx2.pmadd.wd", self.words, shorts, ones)

    def prefetch(self, address: Any) -> None:
        """Bring the cache line at ``address`` into the second-level cache.

        Not nearer: an AMD Zen 4 has twice as many reads under way that end there.
        """
        hints = [ir.Constant(INT32, hint) for hint in (0, 2, 1)]  # to read, how near, data
        pointer = self.builder.inttoptr(address, INT8.as_pointer())
        call(self.builder, "llvm.prefetch.p0", ir.VoidType(), pointer, *hints)

    def added(self, four: Sequence[Any]) -> Any:
        """The sum of the words of each of four vectors, as a vector of four words."""
        pairs = [self._neighbours(four[k], four[k + 1], 1) for k in (0, 2)]
        found = self._neighbours(pairs[0], pairs[1], 2)
        width = self.instructions.lanes
        while width > LANE_WORDS:
            width //= 2
            halves = (
                self.builder.shuffle_vector(found, found, order(part))
                for part in (range(width), range(width, 2 * width))
            )
            found = self.builder.add(*halves)
        return found

    def _neighbours(self, first: Any, second: Any, step: int) -> Any:
        """In each lane, neighbouring groups of ``step`` words added: first's, then second's."""
        return self.builder.add(*self.interleaved(first, second, step))

    def interleaved(self, first: Any, second: Any, step: int) -> list[Any]:
        """Groups of ``step`` elements by turns, of the lower and of the upper half of each lane."""
        count = first.type.count
        lane = count * LANE_BYTES // self.size
        found = []
        for half in (0, lane // 2):
            places = [
                side + begin + half + group + k
                for begin in range(0, count, lane)
                for group in range(0, lane // 2, step)
                for side in (0, count)
                for k in range(step)
            ]
            found.append(self.builder.shuffle_vector(first, second, order(places)))
        return found


def _offset_typed(_: Any) -> Any:
    def generate(_context: Any, _builder: Any, _signature: Any, _arguments: Any) -> Any:
        instructions = chosen()
        return number(0 if instructions is None or instructions.product is None else OFFSET)

    return types.int64(), generate


offset_of_bytes: Any = intrinsic(_offset_typed)
"""What is added to 8-bit weights that meet signed events: 0 where they are multiplied as signed."""


def number(value: int) -> Any:
    """A 64-bit constant."""
    return ir.Constant(INT64, value)


def splat(kind: Any, value: int) -> Any:
    """``value`` in every element."""
    return ir.Constant(kind, [value] * kind.count)


def order(places: Sequence[int]) -> Any:
    """What a shuffle takes from where."""
    return ir.Constant(ir.VectorType(INT32, len(places)), list(places))


def spread(builder: ir.IRBuilder, word: Any, kind: Any) -> Any:
    """A 32-bit ``word`` in every element of a vector of words."""
    undefined = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(undefined, word, ir.Constant(INT32, 0))
    return builder.shuffle_vector(one, undefined, order([0] * kind.count))


def call(builder: ir.IRBuilder, name: str, result: Any, *arguments: Any) -> Any:
    """A function that the compiler has by itself."""
    kind = ir.FunctionType(result, [a.type for a in arguments])
    return builder.call(code.get_or_insert_function(builder.module, kind, name), arguments)
