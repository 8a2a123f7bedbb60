"""The spike raster as SVG text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.drawing import FAINT, PAPER, WIDTH, box, picture, shortened, text
from spikegpt_neuro.reports.numbers import ticks

TOP, GAP = 34.0, 5.0
MONOSPACED = "<g font-family='ui-monospace,Consolas,monospace'>"


@dataclass(frozen=True)
class Train:
    """Spikes of a population: (T, n) of 0 and 1."""

    name: str
    spikes: NDArray[np.uint8]
    colour: str


def raster(
    title: str,
    trains: Sequence[Train],
    tokens: Sequence[str] | None = None,
    *,
    width: float = WIDTH,
    axis: str = "token",
) -> str:
    """One column per token, one row per neuron, populations beneath each other.

    ``tokens``: one character for each column, written above it.
    """
    steps = len(trains[0].spikes)
    longest = max(len(train.name) for train in trains)
    left = 14 + 6.2 * min(16, longest)
    across = (width - left - 10) / steps
    tall = min(3.0, 560.0 / sum(train.spikes.shape[1] for train in trains))
    parts = [] if tokens is None else _words(tokens, left, across)
    y = TOP
    for train in trains:
        height = tall * train.spikes.shape[1]
        name = shortened(train.name, 16)
        parts.append(box(left, y, across * steps, height, PAPER))
        parts.append(text(left - 8, y + height / 2 + 4, name, anchor="end", size=11.5))
        parts.append(_strokes(train, (left, y), (across, tall)))
        y += height + GAP
    for step in ticks(steps, 8 if width == WIDTH else 4):
        if step <= steps:
            x = left + step * across
            parts.append(text(x, y + 13, f"{step:g}", anchor="middle", colour=FAINT, size=11.5))
    parts.append(text(left + across * steps / 2, y + 31, axis, anchor="middle", colour=FAINT))
    return picture(y + 40, title, parts, width)


def _words(tokens: Sequence[str], left: float, across: float) -> list[str]:
    size = min(11.0, 1.5 * across)
    centres = [left + (k + 0.5) * across for k in range(len(tokens))]
    words = [
        text(x, 24, w, anchor="middle", size=size) for x, w in zip(centres, tokens, strict=True)
    ]
    return [MONOSPACED, *words, "</g>"]


def _strokes(train: Train, corner: tuple[float, float], scale: tuple[float, float]) -> str:
    """One path: a stroke for each run of a neuron's consecutive spikes."""
    edges = np.diff(np.pad(train.spikes.astype(np.int8), ((1, 1), (0, 0))), axis=0).T
    neurons, starts = np.nonzero(edges > 0)
    _, ends = np.nonzero(edges < 0)
    runs = zip(neurons.tolist(), starts.tolist(), ends.tolist(), strict=True)
    path = "".join(f"M{start} {neuron + 0.5}h{end - start}" for neuron, start, end in runs)
    return (
        f"<path d='{path}' fill='none' stroke='{train.colour}' stroke-width='0.8' "
        f"transform='translate({corner[0]:.1f} {corner[1]:.1f}) "
        f"scale({scale[0]:.4f} {scale[1]:.4f})'/>"
    )
