"""A picture of congestion: how busy every core is, and how loaded every link in each direction."""

from __future__ import annotations

from html import escape

import numpy as np

from spikegpt_neuro.backends.cycle.result import Simulation
from spikegpt_neuro.drawing import colour_at, framed, ramp_legend, text
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.hardware.topology import Topology
from spikegpt_neuro.mapping.picture import (
    EMPTY,
    FAINT,
    FILL,
    LEGEND,
    MARGIN,
    TRAFFIC,
    WIDEST_LINK,
    Canvas,
    cell,
    chip_labels,
    chip_panels,
    many,
)
from spikegpt_neuro.mapping.placement import Placement

LANE = 0.09  # of the pitch: how far the two directions of a link lie from its middle


def draw_congestion(
    simulation: Simulation, profile: Profile, placement: Placement, title: str
) -> str:
    """The picture as SVG text.

    Cores are coloured by the share of the time in which they are busy; links by the share in which
    they are occupied, against the most occupied one.
    """
    canvas = Canvas.of(Topology.of(profile, placement.chips))
    parts = [
        *_heading(simulation, title),
        *chip_panels(canvas),
        *_links(simulation, canvas),
        *chip_labels(placement, canvas),
        *_cores(simulation, placement, canvas),
        *_legend(simulation, canvas),
    ]
    return framed(parts, canvas.size, title)


def _heading(simulation: Simulation, title: str) -> list[str]:
    rate = simulation.tokens_per_second
    speed = "no token finished" if rate is None else f"{rate:,.4g} tokens/s"
    what = (
        f"{simulation.schedule}, {speed}, {many(simulation.tokens, 'token')} in "
        f"{many(simulation.steps, 'step')}, timing {simulation.timing}"
    )
    link = simulation.critical_link
    busiest = f"busiest: {simulation.cores.names[simulation.critical_core]}"
    if link is not None:
        busiest += f"; {simulation.links.names[link]}"
    return [
        text(MARGIN, 36, title, size=20, style="font-weight='600'"),
        text(MARGIN, 58, what, colour=FAINT),
        text(MARGIN, 75, busiest, colour=FAINT),
    ]


def _links(simulation: Simulation, canvas: Canvas) -> list[str]:
    links, mesh, rows = simulation.links, simulation.mesh, simulation.mesh.rows
    seconds, most = simulation.seconds, float(links.occupied.max(initial=0.0))
    parts = ["<g stroke-linecap='round'>"]
    in_use = np.flatnonzero(links.messages)
    for link in in_use[np.argsort(links.occupied[in_use], kind="stable")].tolist():
        (x, y), (to_x, to_y) = divmod(link // 4, rows), divmod(int(mesh.ends[link]), rows)
        dx, dy = to_x - x, to_y - y
        (x0, y0), (x1, y1) = canvas.tile(x, y), canvas.tile(to_x, to_y)
        aside = LANE * canvas.pitch  # keep to the right
        level = (links.occupied[link] / most) ** 0.5 if most else 0.0
        hint = (
            f"{links.names[link]}\n{links.messages[link] / simulation.steps:,.1f} messages per "
            f"step, occupied {links.occupied[link] / seconds:.2%} of the time, waited for "
            f"{links.stalled[link] / seconds:.2%}, longest queue {links.queue[link]}"
        )
        parts.append(
            f"<line x1='{x0 - dy * aside:.1f}' y1='{y0 + dx * aside:.1f}' "
            f"x2='{x1 - dy * aside:.1f}' y2='{y1 + dx * aside:.1f}' "
            f"stroke='{colour_at(TRAFFIC, level)}' "
            f"stroke-width='{canvas.pitch * WIDEST_LINK / 2 * max(0.12, level):.2f}'>"
            f"<title>{escape(hint)}</title></line>"
        )
    return [*parts, "</g>"]


def _cores(simulation: Simulation, placement: Placement, canvas: Canvas) -> list[str]:
    topology, cores = canvas.topology, simulation.cores
    of_site = {site: k for k, site in enumerate(placement.sites)}
    seconds = simulation.seconds or 1.0
    parts = []
    for slot, (x, y, _, _) in enumerate(topology.coordinates.tolist()):
        site = divmod(slot, topology.usable)
        box = cell(canvas, x, y, site[1] % topology.cores_per_tile)
        core = of_site.get(site)
        if core is None:
            parts.append(f"<rect {box} fill='{EMPTY}' stroke='#e3e7eb' stroke-width='0.5'/>")
            continue
        busy = cores.busy[core] / seconds
        hint = (
            f"{cores.names[core]}\nbusy {busy:.1%} of the time: neurons "
            f"{cores.generating[core] / seconds:.1%}, synapses "
            f"{cores.processing[core] / seconds:.1%}; stalled "
            f"{cores.stalled[core] / seconds:.1%}, longest queue {cores.queue[core]}"
        )
        parts.append(
            f"<rect {box} fill='{colour_at(FILL, busy)}' stroke='#ffffff' stroke-width='0.5'>"
            f"<title>{escape(hint)}</title></rect>"
        )
    return parts


def _legend(simulation: Simulation, canvas: Canvas) -> list[str]:
    top = canvas.size[1] - LEGEND
    most = float(simulation.links.occupied.max(initial=0.0)) / (simulation.seconds or 1.0)
    return [
        *ramp_legend(MARGIN, top, FILL, "core busy, share of the time", "100 %", FAINT),
        *ramp_legend(
            MARGIN + 300,
            top,
            TRAFFIC,
            "link occupied, share of the time",
            f"{100 * most:.2g} %",
            FAINT,
        ),
    ]
