"""A picture of a placement: how busy and how full every core is, and every link of the mesh.

A core is filled as high as its synaptic memory is, and coloured by how long it works for a token;
by its memory alone where the profile has no times. Lines between tiles show messages per token over
that link, both directions together, along XY routes. Resting on a core shows its populations.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.drawing import colour_at, framed, ramp_legend, text
from spikegpt_neuro.graph.layers import block_of, depth_of, layer_of
from spikegpt_neuro.hardware.mesh import EAST, NORTH, SOUTH, WEST, Mesh, add_messages
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.hardware.topology import Topology
from spikegpt_neuro.mapping.mapper import Mapped
from spikegpt_neuro.mapping.placement import Placement
from spikegpt_neuro.units import scaled

FILL = ((236, 243, 250), (107, 164, 214), (8, 48, 107))
TRAFFIC = ((250, 214, 165), (240, 120, 40), (150, 25, 30))
FAINT, EMPTY, PANEL = "#6b7683", "#f4f5f7", "#fbfcfd"
MARGIN, HEADER, CHIP_GAP, CHIP_LABEL, LEGEND = 28.0, 92.0, 26.0, 20.0, 62.0
WIDTH = 1180.0
NARROWEST = 600.0
TILE_SHARE = 0.74  # of the pitch; the rest is room for links
WIDEST_LINK = 0.1  # of the pitch

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MeshLoads:
    """Messages per token: ``east[y, x]`` between tiles x and x + 1 of row y; ``south[y, x]``
    between rows y and y + 1 of column x, on the mesh of the whole system.
    """  # noqa: D205

    east: Floats
    south: Floats

    @property
    def busiest(self) -> float:
        return float(max(self.east.max(initial=0), self.south.max(initial=0)))


def link_loads(mapped: Mapped) -> MeshLoads:
    """Messages per token over every link, along the row first and then along the column.

    Without a prediction, as if each core had a message of its own.
    """
    mesh, traffic = Mesh.of(mapped.topology, mapped.placement.slots), mapped.traffic
    if mapped.prediction is None:
        loads = np.zeros(mesh.links)
        source, target = mesh.router[traffic.source], mesh.router[traffic.target]
        add_messages(source, target, traffic.messages, mesh.rows, loads)
    else:
        loads = mapped.prediction.links
    along = loads.reshape(mesh.columns, mesh.rows, 4)
    east, south = along[:, :, EAST].copy(), along[:, :, SOUTH].copy()
    east[:-1] += along[1:, :, WEST]
    south[:, :-1] += along[:, 1:, NORTH]
    return MeshLoads(east.T, south.T)


@dataclass(frozen=True)
class Canvas:
    """Where things stand, in pixels."""

    topology: Topology
    pitch: float

    @staticmethod
    def of(topology: Topology) -> Canvas:
        columns = int(topology.chip_xy[0].max()) + 1
        free = WIDTH - 2 * MARGIN - (columns - 1) * CHIP_GAP
        return Canvas(topology, min(46.0, free / (columns * topology.columns)))

    def tile(self, x: int, y: int) -> tuple[float, float]:
        """Centre of a tile of the whole mesh."""
        chip_x, chip_y = x // self.topology.columns, y // self.topology.rows
        left = MARGIN + chip_x * CHIP_GAP + (x + 0.5) * self.pitch
        top = HEADER + CHIP_LABEL + chip_y * (CHIP_GAP + CHIP_LABEL) + (y + 0.5) * self.pitch
        return left, top

    def chip(self, chip: int) -> tuple[float, float, float, float]:
        """Left, top, width and height of a chip's panel."""
        X, Y = (int(axis[chip]) for axis in self.topology.chip_xy)
        x, y = self.tile(X * self.topology.columns, Y * self.topology.rows)
        half = self.pitch / 2
        return (
            x - half,
            y - half,
            self.topology.columns * self.pitch,
            self.topology.rows * self.pitch,
        )

    @property
    def size(self) -> tuple[float, float]:
        panels = [self.chip(chip) for chip in range(self.topology.chips)]
        right = max(left + width for left, _, width, _ in panels)
        bottom = max(top + height for _, top, _, height in panels)
        return max(NARROWEST, right + MARGIN), bottom + LEGEND + MARGIN


def draw(mapped: Mapped, profile: Profile, title: str) -> str:
    """The picture as SVG text."""
    canvas = Canvas.of(mapped.topology)
    links = link_loads(mapped)
    parts = [
        *_heading(mapped, profile, title),
        *chip_panels(canvas),
        *drawn_links(links, canvas),
        *chip_labels(mapped.placement, canvas),
        *_cores(mapped, profile, canvas),
        *_legend(mapped, links, canvas),
    ]
    return framed(parts, canvas.size, title)


def _heading(mapped: Mapped, profile: Profile, title: str) -> list[str]:
    used = int(mapped.usage.synaptic_memory.sum())
    share = used / (mapped.cores * profile.limits.synaptic_memory)
    size = (
        f"{many(mapped.topology.chips, 'chip')}, {many(mapped.cores, 'core')}, "
        f"{mapped.load.neurons:,} neurons, {mapped.load.dense_synapses:,} synapses"
    )
    load = f"synaptic memory {share:.0%} full, {mapped.hops.placed:,.0f} message hops per token"
    return [
        text(MARGIN, 36, title, size=20, style="font-weight='600'"),
        text(MARGIN, 58, size, colour=FAINT),
        text(MARGIN, 75, load, colour=FAINT),
    ]


def many(count: int, thing: str) -> str:
    """A count and its thing, in the plural where it is not one."""
    return f"{count:,} {thing}{'s' * (count != 1)}"


def chip_panels(canvas: Canvas) -> list[str]:
    """A panel for every chip, behind everything else."""
    panels = (canvas.chip(chip) for chip in range(canvas.topology.chips))
    return [
        f"<rect class='panel' x='{left - 3:.1f}' y='{top - 3:.1f}' width='{width + 6:.1f}' "
        f"height='{height + 6:.1f}' rx='6' fill='{PANEL}' stroke='#d5dbe1'/>"
        for left, top, width, height in panels
    ]


def chip_labels(placement: Placement, canvas: Canvas) -> list[str]:
    """Names above the chips, on a white edge that links pass behind."""
    edge = "stroke='#ffffff' stroke-width='4' paint-order='stroke' xml:space='preserve'"
    parts = []
    for chip in range(canvas.topology.chips):
        left, top, _, _ = canvas.chip(chip)
        label = f"chip {chip}   {chip_contents(placement, chip)}"
        parts.append(text(left, top - 9, label, size=11, colour=FAINT, style=edge))
    return parts


def chip_contents(placement: Placement, chip: int) -> str:
    """What a chip holds, in the order data flows: its first and its last part of the model.

    Parts with few cores on it (a tenth of the part with most) are not counted.
    """
    cores: dict[str, set[int]] = {}
    for piece in sorted(placement.pieces, key=lambda piece: depth_of(piece.population)):
        if placement.sites[piece.core][0] == chip:
            cores.setdefault(_part(piece.population), set()).add(piece.core)
    if not cores:
        return "empty"
    most = max(map(len, cores.values()))
    parts = [part for part, held in cores.items() if 10 * len(held) > most]
    return parts[0] if len(parts) == 1 else f"{parts[0]} to {parts[-1]}"


def _part(population: str) -> str:
    """``block 3``, or the layer's own name outside blocks."""
    block = block_of(population)
    return layer_of(population) if block is None else f"block {block}"


def drawn_links(links: MeshLoads, canvas: Canvas) -> list[str]:
    """Lines between tiles, the busiest on top."""
    drawn = []
    for loads, dx, dy in ((links.east, 1, 0), (links.south, 0, 1)):
        for y, x in np.argwhere(loads > 0).tolist():
            drawn.append((float(loads[y, x]), canvas.tile(x, y), canvas.tile(x + dx, y + dy)))
    parts = ["<g stroke-linecap='round'>"]
    for load, (x0, y0), (x1, y1) in sorted(drawn):
        level = load / links.busiest
        width = canvas.pitch * WIDEST_LINK * max(0.08, level**0.5)
        parts.append(
            f"<line x1='{x0:.1f}' y1='{y0:.1f}' x2='{x1:.1f}' y2='{y1:.1f}' "
            f"stroke='{colour_at(TRAFFIC, level**0.5)}' stroke-width='{width:.2f}'>"
            f"<title>{load:,.1f} messages per token</title></line>"
        )
    return [*parts, "</g>"]


def _cores(mapped: Mapped, profile: Profile, canvas: Canvas) -> list[str]:
    topology, placement = mapped.topology, mapped.placement
    inside = populations_by_core(placement)
    of_site = {site: k for k, site in enumerate(placement.sites)}
    busy = None if mapped.prediction is None else mapped.prediction.busy
    parts = []
    for slot, (x, y, _, _) in enumerate(topology.coordinates.tolist()):
        site = divmod(slot, topology.usable)
        box = cell(canvas, x, y, site[1] % topology.cores_per_tile)
        core = of_site.get(site)
        if core is None:
            parts.append(f"<rect {box} fill='{EMPTY}' stroke='#e3e7eb' stroke-width='0.5'/>")
            continue
        fill = mapped.usage.synaptic_memory[core] / profile.limits.synaptic_memory
        level, took = fill, ""
        if busy is not None:
            level, took = busy[core] / busy.max(), f", {scaled(busy[core], 's')} per token"
            box, full = cell(canvas, x, y, site[1] % topology.cores_per_tile, fill), box
            parts.append(f"<rect {full} fill='{EMPTY}' stroke='#c9d1d9' stroke-width='0.5'/>")
        hint = f"chip {site[0]}, core {site[1]}: {fill:.0%} full{took}\n{inside[core]}"
        parts.append(
            f"<rect {box} fill='{colour_at(FILL, level)}' stroke='#ffffff' stroke-width='0.5'>"
            f"<title>{escape(hint)}</title></rect>"
        )
    return parts


def populations_by_core(placement: Placement) -> list[str]:
    """What each core holds, a line for each population."""
    inside: list[list[str]] = [[] for _ in placement.sites]
    for piece in placement.pieces:
        inside[piece.core].append(f"{piece.population} {piece.start}..{piece.stop - 1}")
    return ["\n".join(names) for names in inside]


def cell(canvas: Canvas, x: int, y: int, core: int, share: float = 1.0) -> str:
    """Position and size of a core within its tile, a square of squares; or its lowest share."""
    across = int(np.ceil(np.sqrt(canvas.topology.cores_per_tile)))
    side = canvas.pitch * TILE_SHARE / across
    centre_x, centre_y = canvas.tile(x, y)
    left = centre_x + (core % across - across / 2) * side
    top = centre_y + (core // across - across / 2) * side
    height = side * min(1.0, share)
    top += side - height
    return f"x='{left:.1f}' y='{top:.1f}' width='{side:.1f}' height='{height:.1f}' rx='1.5'"


def _legend(mapped: Mapped, links: MeshLoads, canvas: Canvas) -> list[str]:
    top = canvas.size[1] - LEGEND
    meaning, most = "synaptic memory in use", "100 %"
    if mapped.prediction is not None:
        most = scaled(float(mapped.prediction.busy.max()), "s")
        meaning = "core's time per token (height: its memory)"
    return [
        *ramp_legend(MARGIN, top, FILL, meaning, most, FAINT),
        *ramp_legend(
            MARGIN + 300,
            top,
            TRAFFIC,
            "messages per token on a link",
            f"{links.busiest:,.0f}",
            FAINT,
        ),
    ]
