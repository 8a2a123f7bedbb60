r"""Levels of silence of one population: how many events each leaves, and what it distorts.

For values x (T, n) that matrices W read, and s behind the dead zones of a level,

.. math:: error = E \lVert W (x - s) \rVert^2 / E \lVert W x \rVert^2

with the weights as they are; refitted weights (:mod:`~spikegpt_neuro.sparsity.compensation`)
leave :math:`E \lVert W (x - A s) \rVert^2`. A was fitted to the same T tokens in n numbers a row:
on other text the error is expected to be (T + n) / (T - n) times as large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from spikegpt_neuro.model.spikegpt import FloatArray
from spikegpt_neuro.sparsity.allocation import Level
from spikegpt_neuro.sparsity.compensation import Moments
from spikegpt_neuro.sparsity.thresholds import Payloads, column_norms, dead_zones

SILENT_SHARES = np.linspace(0.05, 0.95, 19)
PROBED_SHARES = (0.4, 0.7)
COMPENSATED_SHARE = 0.5


@dataclass(frozen=True)
class Survey:
    """``levels`` with the errors that refitted weights leave; ``probes`` with plain weights."""

    levels: Sequence[Level]
    probes: Sequence[Level]


def survey(values: FloatArray, weights: Sequence[FloatArray], payloads: Payloads) -> Survey:
    """Levels for ``values`` (T, n), which the matrices ``weights`` (m, n) read.

    How much refitting helps is measured at one level, and held to be the same at others.
    """
    norms = column_norms(weights)
    meant = sum(_square(values, w) for w in weights) or 1.0
    worth = np.abs(values) * norms.astype(np.float32)
    present = np.sort(worth[payloads.of(values) != 0])

    def level(silent: float) -> Level:
        tau = float(present[int(silent * (len(present) - 1))]) if len(present) else 0.0
        zones = dead_zones(tau, norms, payloads)
        sent = payloads.sent(values, zones)
        error = sum(_square(values - sent, w) for w in weights) / meant
        return Level(zones, np.count_nonzero(sent) / sent.size, error)

    middle = level(COMPENSATED_SHARE)
    sent = payloads.sent(values, middle.zones)
    remaining = values - sent @ Moments.of(values, sent).mixing.T
    tokens, width = values.shape
    unseen = (tokens + width) / max(tokens - width, width)  # of errors on text that did not fit
    left = unseen * sum(_square(remaining, w) for w in weights) / meant
    ratio = min(1.0, left / middle.error) if middle.error > 0 else 1.0
    none = np.zeros(values.shape[1], np.int32)
    start = Level(none, len(present) / values.size, 0.0)
    levels = [start, *(level(float(share)) for share in SILENT_SHARES)]
    refitted = [replace(each, error=each.error * ratio) for each in levels]
    return Survey(refitted, [level(share) for share in PROBED_SHARES])


def _square(values: FloatArray, weights: FloatArray) -> float:
    """Mean over tokens of the squared length of what ``values`` (T, n) bring about."""
    arriving = values @ weights.T
    return float(np.vdot(arriving, arriving)) / len(values)
