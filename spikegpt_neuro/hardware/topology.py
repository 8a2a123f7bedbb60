r"""Where cores are: one mesh over all chips, and the distance between two of its cores.

Chips stand in columns of ``system.chip_rows``; numbers run down one column and up the next, so
that consecutive chips are neighbours. Within a chip, core k stands at tile t = k // cores per
tile, column t // rows, row t % rows. Messages go along the row, then along the column (XY):

.. math:: hops = |\Delta x| + |\Delta y| + crossing \, (|\Delta X| + |\Delta Y|)

with x, y the tile on the mesh of the whole system and X, Y the chip.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.hardware.profile import Profile

Indices = NDArray[np.int64]


class Ways(NamedTuple):
    """What lies between pairs of places: hops along rows and columns, and chip borders crossed."""

    east_west: Indices
    north_south: Indices
    borders: Indices

    def weighted(self, crossing: float) -> NDArray[np.float64]:
        """Hops, a chip border counting ``crossing`` more; see the module."""
        hops: NDArray[np.float64] = self.east_west + self.north_south + crossing * self.borders
        return hops


def ways_between(a: Indices, b: Indices) -> Ways:
    """What lies between places (..., 4): x and y on the whole mesh, X and Y of the chip."""
    apart = np.abs(a - b)
    return Ways(apart[..., 0], apart[..., 1], apart[..., 2] + apart[..., 3])


@dataclass(frozen=True)
class Topology:
    """The mesh of ``chips`` chips of a profile. A slot is chip * usable cores + core."""

    columns: int
    rows: int
    cores_per_tile: int
    usable: int
    chip_rows: int
    crossing: float
    chips: int
    ports: int | None = None
    """Of a chip, to the chips around it; None: each link over its border is one."""

    @staticmethod
    def of(profile: Profile, chips: int) -> Topology:
        """Topology of the first ``chips`` chips of a system."""
        return Topology(
            columns=profile.count("chip.tile_columns"),
            rows=profile.count("chip.tile_rows"),
            cores_per_tile=profile.count("chip.cores_per_tile"),
            usable=profile.count("chip.usable_cores"),
            chip_rows=profile.count("system.chip_rows"),
            crossing=profile["system.chip_crossing"].base,
            chips=chips,
            ports=profile.count("system.ports") if "system.ports" in profile else None,
        )

    @property
    def slots(self) -> int:
        return self.chips * self.usable

    @cached_property
    def chip_xy(self) -> tuple[Indices, Indices]:
        """Column and row of every chip."""
        column, row = np.divmod(np.arange(self.chips), self.chip_rows)
        return column, np.where(column % 2 == 1, self.chip_rows - 1 - row, row)

    @cached_property
    def coordinates(self) -> Indices:
        """(slots, 4): x and y on the whole mesh, X and Y of the chip."""
        chip, core = np.divmod(np.arange(self.slots), self.usable)
        x, y = np.divmod(core // self.cores_per_tile, self.rows)
        X, Y = (axis[chip] for axis in self.chip_xy)
        return np.stack([X * self.columns + x, Y * self.rows + y, X, Y], axis=1)

    def hops(self, a: Indices, b: Indices) -> NDArray[np.float64]:
        """Weighted hops between slots ``a`` and ``b``."""
        return ways_between(self.coordinates[a], self.coordinates[b]).weighted(self.crossing)

    def serpentine(self) -> Indices:
        """Slots in the order of a walk that never leaves the neighbourhood of the last core.

        Down one column of tiles and up the next, chip by chip; a chip whose chip column is odd is
        walked from its other end.
        """
        chip, core = np.divmod(np.arange(self.slots), self.usable)
        x, y = np.divmod(core // self.cores_per_tile, self.rows)
        upward = np.where(x % 2 == 1, self.rows - 1 - y, y)
        return np.lexsort((core, upward, x, chip))
