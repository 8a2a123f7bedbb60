r"""The mesh that messages travel: routers, links by number, XY routes and what lies between places.

A message goes along the row first, then along the column. A link is named by the router that it
leaves and its direction, ``4 router + direction``, with router ``x rows + y``; x grows to the east,
y to the south. Chips stand in the mesh side by side: a link between two of them is a link that
crosses a multiple of a chip's columns or rows. Several of these may share one *port* of their chip.

A message for several cores of another chip enters it at one router, the *gate*, and its copies go
on from there (:func:`gate`).

This module holds all that others need to know of ways: arrays for many pairs at once
(:meth:`Mesh.ways`, :func:`~spikegpt_neuro.hardware.topology.ways_between`), and compiled functions
that other kernels call.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.hardware.topology import Indices, Topology, Ways, ways_between

DIRECTIONS = ("east", "west", "north", "south")
EAST, WEST, NORTH, SOUTH = range(4)
ARRIVED = -1
NOWHERE = -1
HOST = -1
"""Where a message comes from or goes to that is no core: it has no way on the mesh."""


@dataclass(frozen=True)
class Mesh:
    """Routers of the whole system, all chips in one mesh; see the module.

    ``columns``, ``rows``            routers of the system.
    ``chip_columns``, ``chip_rows``  routers of one chip.
    ``x``, ``y``  (C,) router of each core in use.
    ``ports``     of a chip, dealt out evenly over the links that leave it, one on each side at
                  least; None: every link is its own.
    """

    columns: int
    rows: int
    chip_columns: int
    chip_rows: int
    x: NDArray[np.int32]
    y: NDArray[np.int32]
    ports: int | None = None

    @staticmethod
    def of(topology: Topology, slots: Indices) -> Mesh:
        """The mesh of all chips, with the cores that stand at ``slots``."""
        x, y = topology.coordinates[slots, :2].T.astype(np.int32)
        chip_x, chip_y = topology.chip_xy
        return Mesh(
            columns=topology.columns * (int(chip_x.max()) + 1),
            rows=topology.rows * (int(chip_y.max()) + 1),
            chip_columns=topology.columns,
            chip_rows=topology.rows,
            x=x,
            y=y,
            ports=topology.ports,
        )

    @property
    def cores(self) -> int:
        return len(self.x)

    @property
    def routers(self) -> int:
        return self.columns * self.rows

    @property
    def links(self) -> int:
        return 4 * self.routers

    @cached_property
    def router(self) -> NDArray[np.int32]:
        """(C,) router of each core in use."""
        return (self.x * self.rows + self.y).astype(np.int32)

    @cached_property
    def coordinates(self) -> Indices:
        """(C, 4): x and y of each core in use, X and Y of its chip."""
        x, y = self.x.astype(np.int64), self.y.astype(np.int64)
        return np.stack([x, y, x // self.chip_columns, y // self.chip_rows], axis=1)

    @cached_property
    def ends(self) -> Indices:
        """(L,) router where each link ends; :data:`NOWHERE` where it would leave the mesh."""
        router = np.arange(self.routers)
        column, row = np.divmod(router, self.rows)
        end = np.full((self.routers, 4), NOWHERE)
        for direction, step, inside in (
            (EAST, self.rows, column < self.columns - 1),
            (WEST, -self.rows, column > 0),
            (NORTH, -1, row > 0),
            (SOUTH, 1, row < self.rows - 1),
        ):
            end[inside, direction] = router[inside] + step
        return end.reshape(-1)

    @cached_property
    def port(self) -> Indices:
        """(L,) what each link shares its time with, as a number: the first link of its port."""
        port = np.arange(self.links)
        if self.ports is None:
            return port
        x, y = np.divmod(np.arange(self.routers), self.rows)
        total = 2 * (self.chip_columns + self.chip_rows)
        for direction, along, count, step in (
            (EAST, y % self.chip_rows, self.chip_rows, 1),
            (WEST, y % self.chip_rows, self.chip_rows, 1),
            (NORTH, x % self.chip_columns, self.chip_columns, self.rows),
            (SOUTH, x % self.chip_columns, self.chip_columns, self.rows),
        ):
            links = 4 * np.arange(self.routers) + direction
            crosses = crosses_chips(self)[links]
            here = min(count, max(1, self.ports * count // total))
            of_place = np.arange(count) * here // count
            first = np.searchsorted(of_place, of_place)
            port[links[crosses]] -= (4 * step * (along - first[along]))[crosses]
        return port

    def by_port(self, loads: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., L) loads of links summed over those that share a port."""
        shared = np.flatnonzero(self.port != np.arange(self.links))
        found = loads.astype(float)
        found[..., shared] = 0.0
        np.add.at(found.T, self.port[shared], loads[..., shared].T)
        return found

    def ways(self, a: NDArray[np.integer], b: NDArray[np.integer]) -> Ways:
        """What lies between cores ``a`` and ``b``, index by index."""
        return ways_between(self.coordinates[a], self.coordinates[b])

    def gates(self, a: NDArray[np.integer], b: NDArray[np.integer]) -> NDArray[np.int64]:
        """Router at which a message from cores ``a`` enters the chip of cores ``b``."""
        found = np.empty(len(a), np.int64)
        begin, end = self.router[a].astype(np.int64), self.router[b].astype(np.int64)
        _gates(begin, end, self.rows, self.chip_columns, self.chip_rows, found)
        return found

    def ways_from(self, router: NDArray[np.integer], b: NDArray[np.integer]) -> Ways:
        """What lies between routers and cores ``b``, index by index."""
        x, y = np.divmod(router, self.rows)
        begin = np.stack([x, y, x // self.chip_columns, y // self.chip_rows], axis=1)
        return ways_between(begin, self.coordinates[b])


def crosses_chips(mesh: Mesh) -> NDArray[np.bool_]:
    """(L,) True where a link leads from one chip to another."""
    x, y = np.divmod(np.arange(mesh.routers), mesh.rows)
    crosses = np.empty((mesh.routers, 4), bool)
    crosses[:, EAST] = (x + 1) % mesh.chip_columns == 0
    crosses[:, WEST] = x % mesh.chip_columns == 0
    crosses[:, SOUTH] = (y + 1) % mesh.chip_rows == 0
    crosses[:, NORTH] = y % mesh.chip_rows == 0
    return crosses.ravel()


# For kernels.


@kernel
def towards(x: int, y: int, last_x: int, last_y: int) -> int:
    """The direction of the next hop from router (x, y), or :data:`ARRIVED`: XY routing."""
    row = WEST if last_x < x else EAST
    column = NORTH if last_y < y else SOUTH
    across = ARRIVED if last_y == y else column
    return across if last_x == x else row


@kernel
def route(begin: int, end: int, rows: int, links: Indices) -> int:
    """Write the links from router ``begin`` to ``end`` into ``links``; returns how many."""
    x, y = begin // rows, begin % rows
    last_x, last_y = end // rows, end % rows
    hops = 0
    while x != last_x:
        links[hops] = 4 * (x * rows + y) + (EAST if last_x > x else WEST)
        x += 1 if last_x > x else -1
        hops += 1
    while y != last_y:
        links[hops] = 4 * (x * rows + y) + (SOUTH if last_y > y else NORTH)
        y += 1 if last_y > y else -1
        hops += 1
    return hops


@kernel
def hops_between(
    begin: int, end: int, rows: int, chip_columns: int, chip_rows: int
) -> tuple[int, int, int]:
    """Hops along the row and the column between two routers, and chip borders crossed."""
    x, y = begin // rows, begin % rows
    last_x, last_y = end // rows, end % rows
    crossed = abs(x // chip_columns - last_x // chip_columns)
    crossed += abs(y // chip_rows - last_y // chip_rows)
    return abs(x - last_x), abs(y - last_y), crossed


@kernel
def gate(begin: int, end: int, rows: int, chip_columns: int, chip_rows: int) -> int:
    """The first router on the XY route from ``begin`` to ``end`` that is of the chip of ``end``."""
    x, y = begin // rows, begin % rows
    last_x, last_y = end // rows, end % rows
    if y // chip_rows != last_y // chip_rows:
        first = last_y - last_y % chip_rows
        return last_x * rows + (first if last_y > y else first + chip_rows - 1)
    if x // chip_columns != last_x // chip_columns:
        first = last_x - last_x % chip_columns
        return (first if last_x > x else first + chip_columns - 1) * rows + y
    return begin


@kernel
def _gates(
    begin: Indices, end: Indices, rows: int, chip_columns: int, chip_rows: int, found: Indices
) -> None:
    for k in range(len(begin)):
        found[k] = gate(begin[k], end[k], rows, chip_columns, chip_rows)


@kernel
def weighted_hops(at: Indices, a: int, b: int, crossing: float) -> float:
    """Hops between slots a and b of ``at`` (slots, 4), a chip border counting ``crossing``."""
    mesh: float = abs(at[a, 0] - at[b, 0]) + abs(at[a, 1] - at[b, 1])
    chips: float = abs(at[a, 2] - at[b, 2]) + abs(at[a, 3] - at[b, 3])
    return mesh + crossing * chips


@kernel
def add_messages(
    begin: NDArray[np.integer],
    end: NDArray[np.integer],
    messages: NDArray[np.float64],
    rows: int,
    loads: NDArray[np.float64],
) -> None:
    """Add ``messages[k]`` to every link from router ``begin[k]`` to ``end[k]``; ``loads`` (L,)."""
    links = np.empty(len(loads), np.int64)
    for k in range(len(begin)):
        for hop in range(route(begin[k], end[k], rows, links)):
            loads[links[hop]] += messages[k]
