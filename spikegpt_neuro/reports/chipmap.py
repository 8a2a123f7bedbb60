"""The cores of a placement on the page, coloured by layer, by load or by memory.

Every core carries its three colours; the page's style chooses one, so that switching needs no
script. Links between tiles show messages per token, as in :mod:`spikegpt_neuro.mapping.picture`.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.drawing import PAPER, Ramp, colour_at, text
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.mapping.mapper import Mapped
from spikegpt_neuro.mapping.picture import (
    CHIP_GAP,
    FILL,
    Canvas,
    cell,
    chip_panels,
    drawn_links,
    link_loads,
    populations_by_core,
)
from spikegpt_neuro.reports.content import Colouring, Map, Sheet, Table
from spikegpt_neuro.reports.numbers import percent

LAYERS: Ramp = ((68, 45, 132), (42, 120, 142), (53, 183, 121), (240, 200, 40))
LOAD: Ramp = ((253, 236, 214), (240, 120, 40), (130, 20, 25))
LABEL = 16.0
COLOURINGS = ("layer", "load", "memory")
NAME = "Cores and chips"


def map_of(mapped: Mapped, profile: Profile, part_of: Mapping[str, str]) -> Map:
    """The map; ``part_of``: population -> part of the model, in the order data flows."""
    canvas = Canvas.of(mapped.topology)
    links = link_loads(mapped)
    parts, of_core = list(dict.fromkeys(part_of.values())), _main_parts(mapped, part_of)
    loads = _messages(mapped)
    memory = mapped.usage.synaptic_memory / profile.limits.synaptic_memory
    levels = {
        "layer": np.array([parts.index(p) for p in of_core]) / max(1, len(parts) - 1),
        "load": loads / max(1.0, float(loads.max(initial=0))),
        "memory": memory,
    }
    drawn = [*chip_panels(canvas), *drawn_links(links, canvas), *_labels(mapped, canvas)]
    drawn += _cores(mapped, canvas, levels, of_core)
    colourings = (
        Colouring("layer", "Part of the model", _scale(LAYERS), (parts[0], parts[-1])),
        Colouring(
            "load",
            "Messages in and out, per token",
            _scale(LOAD),
            ("0", f"{loads.max(initial=0):,.0f}"),
        ),
        Colouring("memory", "Synaptic memory in use", _scale(FILL), ("0 %", "100 %")),
    )
    busiest = f"{links.busiest:,.0f}"
    caption = (
        "Squares are cores, lines are links between tiles: the busiest carries "
        f"{busiest} messages per token. Resting on a core shows what it holds."
    )
    return Map(
        _svg(canvas, drawn),
        caption,
        "cores",
        _sheet(mapped, of_core, levels["memory"], loads),
        colourings,
    )


def holdings(mapped: Mapped, part_of: Mapping[str, str]) -> Table:
    """What stands on each chip."""
    of_chip: dict[int, list[str]] = {}
    for (chip, _), part in zip(mapped.placement.sites, _main_parts(mapped, part_of), strict=True):
        of_chip.setdefault(chip, []).append(part)
    rows = tuple(
        (f"chip {chip}", f"{len(parts):,}", ", ".join(dict.fromkeys(parts)))
        for chip, parts in sorted(of_chip.items())
    )
    return Table(
        ("", "cores", "holds"),
        rows,
        "Chips as numbered on the map; of each core the part that most of its neurons belong to.",
        numbers=(1,),
    )


def _svg(canvas: Canvas, parts: list[str]) -> str:
    """As wide as the chips; ``--px`` is what a pixel of a wide page is here."""
    panels = [canvas.chip(chip) for chip in range(canvas.topology.chips)]
    left = min(x for x, _, _, _ in panels) - 5
    top = min(y for _, y, _, _ in panels) - LABEL - 6
    width = max(x + w for x, _, w, _ in panels) + 5 - left
    height = max(y + h for _, y, _, h in panels) + 5 - top
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='{left:.1f} {top:.1f} {width:.1f} "
        f"{height:.1f}' width='{width:.0f}' role='img' aria-label='{NAME}' class='cores' "
        f"style='--px:{width / 1040:.4f}px'>{''.join(parts)}</svg>"
    )


def _labels(mapped: Mapped, canvas: Canvas) -> list[str]:
    labels = []
    for chip in range(mapped.topology.chips):
        left, top, _, _ = canvas.chip(chip)
        label = f"chip {chip}"
        labels.append(text(left, top - 7, label, size=min(11.0, CHIP_GAP / 2)))
    return labels


def _cores(
    mapped: Mapped, canvas: Canvas, levels: Mapping[str, NDArray[np.float64]], of_core: list[str]
) -> list[str]:
    topology, placement = mapped.topology, mapped.placement
    inside = populations_by_core(placement)
    of_site = {site: k for k, site in enumerate(placement.sites)}
    ramps = dict(zip(COLOURINGS, (LAYERS, LOAD, FILL), strict=True))
    drawn = []
    for slot, (x, y, _, _) in enumerate(topology.coordinates.tolist()):
        site = divmod(slot, topology.usable)
        where = cell(canvas, x, y, site[1] % topology.cores_per_tile)
        core = of_site.get(site)
        if core is None:
            drawn.append(f"<rect class='empty' {where} fill='{PAPER}'/>")
            continue
        colours = {name: colour_at(ramps[name], float(levels[name][core])) for name in COLOURINGS}
        style = ";".join(f"--{name}:{colour}" for name, colour in colours.items())
        hint = (
            f"chip {site[0]}, core {site[1]}: {of_core[core]}, "
            f"memory {percent(levels['memory'][core])} full\n{inside[core]}"
        )
        drawn.append(
            f"<rect class='core' {where} fill='{colours[COLOURINGS[0]]}' style='{style}'>"
            f"<title>{escape(hint)}</title></rect>"
        )
    return drawn


def _main_parts(mapped: Mapped, part_of: Mapping[str, str]) -> list[str]:
    """The part of the model with most neurons on each core."""
    held: list[dict[str, int]] = [{} for _ in mapped.placement.sites]
    for piece in mapped.placement.pieces:
        part = part_of.get(piece.population, "embedding")
        on_core = held[piece.core]
        on_core[part] = on_core.get(part, 0) + piece.stop - piece.start
    return [max(parts, key=parts.__getitem__) for parts in held]


def _messages(mapped: Mapped) -> NDArray[np.float64]:
    """Messages per token that each core sends and receives, those of the host left out."""
    traffic, cores = mapped.traffic, mapped.cores
    sent = np.bincount(traffic.source, traffic.messages, cores)
    received = np.bincount(traffic.target, traffic.messages, cores)
    return np.asarray(sent + received, np.float64)


def _scale(ramp: Ramp) -> tuple[str, ...]:
    return tuple(colour_at(ramp, k / 8) for k in range(9))


def _sheet(
    mapped: Mapped, of_core: list[str], memory: NDArray[np.float64], loads: NDArray[np.float64]
) -> Sheet:
    inside = populations_by_core(mapped.placement)
    rows = tuple(
        (chip, core, of_core[k], float(memory[k]), float(loads[k]), inside[k].replace("\n", "; "))
        for k, (chip, core) in enumerate(mapped.placement.sites)
    )
    head = ("chip", "core", "part", "synaptic memory in use", "messages per token", "populations")
    return Sheet(head, rows)
