r"""Which chip holds which neurons: units in the order data flows, cut where it costs least.

Dynamic programming over the places where the order may be cut (every unit, and inside of those
that take much of a chip): chips that hold consecutive parts, none more than fits,

.. math:: \sum_{chips} effort^2 / room + \sum_{borders} events \cdot interval

least of all ways. What the effort of a part is, the schedule says (:mod:`spreading`): its square
over a chip's room are the seconds that the chip takes at best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """Neurons ``start`` to ``stop`` of unit ``unit`` (by number), and what they ask of a chip.

    ``bytes``     synaptic memory. ``effort``: see the module.
    ``crossing``  events per token that cross a border right after it.
    """

    unit: int
    start: int
    stop: int
    bytes: float
    effort: float
    crossing: float


def divide(
    parts: Sequence[Part], chips: int, capacity: float, room: float, interval: float
) -> list[list[Part]] | None:
    """Parts of each chip; None where ``chips`` chips of ``capacity`` bytes do not hold them."""
    count = len(parts)
    held = np.concatenate([[0.0], np.cumsum([part.bytes for part in parts])])
    effort = np.concatenate([[0.0], np.cumsum([part.effort for part in parts])])
    border = np.array([0.0, *(part.crossing * interval for part in parts)])
    best = np.full((chips + 1, count + 1), np.inf)
    best[0, 0] = 0.0
    last = np.zeros((chips + 1, count + 1), int)
    for chip in range(1, chips + 1):
        # The chips before hold no more than fits, and those behind have to hold the rest.
        first = np.searchsorted(held, held[-1] - (chips - chip) * capacity)
        last_end = np.searchsorted(held, chip * capacity, side="right")
        for end in range(max(1, int(first)), min(count + 1, int(last_end))):
            begin = np.arange(int(np.searchsorted(held, held[end] - capacity)), end)
            if len(begin):
                own = (effort[end] - effort[begin]) ** 2 / room
                total = best[chip - 1, begin] + own + np.where(begin > 0, border[begin], 0.0)
                k = int(total.argmin())
                best[chip, end], last[chip, end] = total[k], begin[k]
    used = int(best[:, count].argmin())
    if not np.isfinite(best[used, count]):
        return None
    cuts = [count]
    for chip in range(used, 0, -1):
        cuts.append(int(last[chip, cuts[-1]]))
    cuts.reverse()
    return [_joined(parts[a:b]) for a, b in pairwise(cuts)]


def _joined(parts: Sequence[Part]) -> list[Part]:
    """Parts side by side of one unit as one."""
    found: list[Part] = []
    for part in parts:
        if found and found[-1].unit == part.unit:
            before = found.pop()
            size, effort = before.bytes + part.bytes, before.effort + part.effort
            part = replace(part, start=before.start, bytes=size, effort=effort)
        found.append(part)
    return found
