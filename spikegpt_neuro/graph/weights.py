"""Weights as a graph holds them where not every weight is a byte: packed, sparse, or both.

Either is unpacked when it is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.packing import PACKED_BITS, largest_magnitude, pack, unpack
from spikegpt_neuro.graph.tensors import release

Weights = NDArray[np.int8]
Bits = NDArray[np.uint8]

BITS_IN = np.array([byte.bit_count() for byte in range(256)], np.uint8)
"""Byte -> how many of its bits are set."""


def sparse_below(bits: int) -> float:
    """The share of synapses below which a bit for each and the values that exist take fewer bytes.

    7/8, or 3/4 where two values of 4 bits share a byte.
    """
    return 1 - (1 / 8) / (1 / 2 if bits == PACKED_BITS else 1)


@dataclass(frozen=True, eq=False)
class PackedWeights:
    """Weights (targets, sources) in packed rows, usually mapped from an artifact's file.

    ``rows``       (targets, ceil(sources / 2)) bytes, or (sources, ceil(targets / 2)) where
                   ``by_source``; see :func:`~spikegpt_neuro.arithmetic.packing.pack`.
    ``columns``    weights in a row.
    """

    rows: Weights
    columns: int
    by_source: bool

    @property
    def shape(self) -> tuple[int, int]:
        """(targets, sources)."""
        rows = len(self.rows)
        return (self.columns, rows) if self.by_source else (rows, self.columns)

    @property
    def largest(self) -> int:
        """Largest magnitude of a weight."""
        return largest_magnitude(self.rows)

    def unpack(self) -> Weights:
        """The weights (targets, sources), in Fortran order where ``by_source``."""
        weights = unpack(self.rows, self.columns)
        return weights.T if self.by_source else weights


@dataclass(frozen=True, eq=False)
class SparseWeights:
    r"""Weights (targets, sources) of which those that are 0 do not exist and take no byte.

    A bit for every possible synapse and a byte (or half of one) for every existing one: at density
    d less than the dense weights where :math:`1/8 + d < 1`, packed where :math:`1/8 + d/2 < 1/2`.

    ``existing``   (targets, ceil(sources / 8)) bytes, or (sources, ceil(targets / 8)) where
                   ``by_source``: bit k of byte i tells of column 8 i + k.
    ``values``     the weights that exist, row by row, none of them 0; where ``packed``, two to a
                   byte as one row of :func:`~spikegpt_neuro.arithmetic.packing.pack`.
    ``columns``    possible synapses in a row.
    """

    existing: Bits
    values: Weights
    columns: int
    by_source: bool
    packed: bool = False

    @classmethod
    def of(cls, weights: Weights, packed: bool = False) -> SparseWeights:
        """Those of ``weights`` (targets, sources) that are not 0, in the order of its memory."""
        by_source = is_by_source(weights)
        rows = weights.T if by_source else weights
        exist = rows != 0
        values = np.ascontiguousarray(rows[exist], np.int8)
        return cls(
            existing=np.packbits(exist, axis=1, bitorder="little"),
            values=pack(values[None])[0] if packed else values,
            columns=rows.shape[1],
            by_source=by_source,
            packed=packed,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(targets, sources)."""
        rows = len(self.existing)
        return (self.columns, rows) if self.by_source else (rows, self.columns)

    @property
    def nbytes(self) -> int:
        """Bytes in memory and on disk."""
        return self.existing.nbytes + self.values.nbytes

    @cached_property
    def per_row(self) -> NDArray[np.int64]:
        """(rows,) synapses that exist."""
        counts: NDArray[np.int64] = BITS_IN[self.existing].sum(axis=1, dtype=np.int64)
        return counts

    @cached_property
    def per_column(self) -> NDArray[np.int64]:
        """(columns,) synapses that exist."""
        counts: NDArray[np.int64] = self.exist().sum(axis=0, dtype=np.int64)
        return counts

    @property
    def synapses(self) -> int:
        """Synapses that exist."""
        return int(self.per_row.sum())

    @property
    def fan_out(self) -> NDArray[np.int64]:
        """(sources,) synapses of each source."""
        return self.per_row if self.by_source else self.per_column

    @property
    def fan_in(self) -> NDArray[np.int64]:
        """(targets,) synapses of each target."""
        return self.per_column if self.by_source else self.per_row

    @property
    def largest(self) -> int:
        """Largest magnitude of a weight."""
        if self.packed:
            return largest_magnitude(self.values[None])
        return max(-int(self.values.min(initial=0)), int(self.values.max(initial=0)))

    def exist(self) -> NDArray[np.bool_]:
        """(rows, columns) whether the synapse exists."""
        bits = np.unpackbits(self.existing, axis=1, count=self.columns, bitorder="little")
        return bits.view(np.bool_)

    def plain_values(self) -> Weights:
        """The weights that exist, each in a byte."""
        return unpack(self.values[None], self.synapses)[0] if self.packed else self.values

    def stored_values(self, packed: bool) -> Weights:
        """The weights that exist as an artifact holds them."""
        if packed == self.packed:
            return self.values
        return pack(self.values[None])[0] if packed else self.plain_values()

    def unpack(self) -> Weights:
        """The weights (targets, sources), in Fortran order where ``by_source``."""
        rows = np.zeros((len(self.existing), self.columns), np.int8)
        rows[self.exist()] = self.plain_values()
        return rows.T if self.by_source else rows

    def problems(self) -> Iterator[str]:
        """What contradicts itself; nothing else may be asked of such weights."""
        width = -(-self.columns // 8)
        if self.existing.dtype != np.uint8 or self.existing.shape[1:] != (width,):
            yield (
                f"its synapses are {self.existing.dtype} {self.existing.shape}, "
                f"expected uint8 ({len(self.existing)}, {width})"
            )
            return
        if self.columns % 8 and (self.existing[:, -1] >> self.columns % 8).any():
            yield f"synapses exist beyond the {self.columns} of a row"
            return
        count = self.synapses
        expected = (-(-count // 2) if self.packed else count,)
        if self.values.dtype != np.int8 or self.values.shape != expected:
            yield (
                f"its weights are {self.values.dtype} {self.values.shape}, expected "
                f"int8 {expected} for {count} synapses that exist"
            )
        elif not self.plain_values().all():
            yield "a synapse that exists has the weight 0"
        elif self.packed and count % 2 and self.values[-1] >> 4:
            yield "the last half of a byte has a weight, expected 0"


def is_by_source(weights: Weights) -> bool:
    """True if plain weights (targets, sources) lie source by source in memory."""
    return weights.flags.f_contiguous and not weights.flags.c_contiguous


Given = Weights | PackedWeights | SparseWeights
"""What a projection may be given as its weights."""


class WeightsField:
    """The field ``weights`` of a projection: it takes all forms, and gives plain ones.

    Nothing unpacked is kept: the reader of the field holds the only copy.
    """

    @overload
    def __get__(self, projection: None, owner: type[Any]) -> None: ...
    @overload
    def __get__(self, projection: object, owner: type[Any]) -> Weights | None: ...
    def __get__(self, projection: object, owner: type[Any]) -> Weights | None:
        given = None if projection is None else given_weights(projection)
        return given.unpack() if isinstance(given, PackedWeights | SparseWeights) else given

    def __set__(self, projection: object, given: Given | None) -> None:
        vars(projection)["weights"] = given


def given_weights(projection: object) -> Given | None:
    """The weights as the projection was given them."""
    given: Given | None = vars(projection)["weights"]
    return given


def release_weights(projection: object) -> None:
    """Give back the memory of weights mapped from a file; they are read again when used."""
    given = given_weights(projection)
    if isinstance(given, PackedWeights):
        release(given.rows)
    elif isinstance(given, SparseWeights):
        release(given.existing)
        release(given.values)
    elif given is not None:
        release(given)
