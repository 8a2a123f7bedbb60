"""Names of cores and links, as a person looks for them on a chip."""

from __future__ import annotations

import numpy as np

from spikegpt_neuro.hardware.mesh import DIRECTIONS, Mesh
from spikegpt_neuro.hardware.topology import Topology
from spikegpt_neuro.mapping.placement import Placement


def core_names(placement: Placement) -> tuple[str, ...]:
    """``chip 1 core 37 (blocks.3.ffn.squared_relu)``: the population with most neurons there."""
    held: list[dict[str, int]] = [{} for _ in placement.sites]
    for piece in placement.pieces:
        here = held[piece.core]
        here[piece.population] = here.get(piece.population, 0) + piece.size
    return tuple(
        f"chip {chip} core {core} ({max(inside, key=inside.__getitem__)})"
        for (chip, core), inside in zip(placement.sites, held, strict=True)
    )


def link_names(mesh: Mesh, topology: Topology) -> tuple[str, ...]:
    """``chip 0 router (3,2) -> east`` of every link; the router counts within its chip."""
    numbers = {(int(x), int(y)): chip for chip, (x, y) in enumerate(np.transpose(topology.chip_xy))}
    names = []
    for router in range(mesh.routers):
        x, y = divmod(router, mesh.rows)
        (chip_x, column), (chip_y, row) = divmod(x, mesh.chip_columns), divmod(y, mesh.chip_rows)
        chip = numbers.get((chip_x, chip_y))
        place = f"chip {chip}" if chip is not None else "unused chip"
        names += [f"{place} router ({column},{row}) -> {way}" for way in DIRECTIONS]
    return tuple(names)
