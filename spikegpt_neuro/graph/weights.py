"""Weights of 4 bits as a graph holds them: two to a byte, unpacked when they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.packing import largest_magnitude, unpack

Weights = NDArray[np.int8]


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


class WeightsField:
    """The field ``weights`` of a projection: it takes packed weights too, and gives plain ones.

    Nothing unpacked is kept: the reader of the field holds the only copy.
    """

    @overload
    def __get__(self, projection: None, owner: type[Any]) -> None: ...
    @overload
    def __get__(self, projection: object, owner: type[Any]) -> Weights | None: ...
    def __get__(self, projection: object, owner: type[Any]) -> Weights | None:
        given = None if projection is None else given_weights(projection)
        return given.unpack() if isinstance(given, PackedWeights) else given

    def __set__(self, projection: object, given: Weights | PackedWeights | None) -> None:
        vars(projection)["weights"] = given


def given_weights(projection: object) -> Weights | PackedWeights | None:
    """The weights as the projection was given them."""
    given: Weights | PackedWeights | None = vars(projection)["weights"]
    return given
