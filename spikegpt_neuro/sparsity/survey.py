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
from numpy.typing import NDArray

from spikegpt_neuro.model.spikegpt import FloatArray
from spikegpt_neuro.neurons.program import IntArray
from spikegpt_neuro.sparsity.allocation import Level
from spikegpt_neuro.sparsity.compensation import Moments
from spikegpt_neuro.sparsity.thresholds import Payloads, column_norms, dead_zones

SILENT_SHARES = np.linspace(0.05, 0.95, 19)
PROBED_SHARES = (0.4, 0.7)
REFITTED_SHARES = (0.25, 0.55, 0.85)
LEAST = 1e-6


@dataclass(frozen=True)
class Survey:
    """``levels`` with the errors that refitted weights leave; ``probes`` with plain weights."""

    levels: Sequence[Level]
    probes: Sequence[Level]


def survey(values: FloatArray, weights: Sequence[FloatArray], payloads: Payloads) -> Survey:
    """Levels for ``values`` (T, n), which the matrices ``weights`` (m, n) read.

    How much refitting helps is measured at ``REFITTED_SHARES`` and interpolated between them.
    """
    view = _View.of(values, weights, payloads)
    nothing = Level(np.zeros(values.shape[1], np.int32), len(view.worth) / values.size, 0.0)
    helped = np.log([view.helped(share) for share in REFITTED_SHARES])
    factors = np.exp(np.interp(SILENT_SHARES, REFITTED_SHARES, helped))
    plain = [view.level(share) for share in SILENT_SHARES]
    refitted = [
        replace(level, error=level.error * float(factor))
        for level, factor in zip(plain, factors, strict=True)
    ]
    return Survey([nothing, *refitted], [view.level(share) for share in PROBED_SHARES])


@dataclass(frozen=True)
class _View:
    """Values, and what their events are worth: ``worth`` of those that are sent, ascending."""

    values: FloatArray
    weights: Sequence[FloatArray]
    payloads: Payloads
    norms: NDArray[np.float64]
    worth: FloatArray
    meant: float

    @classmethod
    def of(cls, values: FloatArray, weights: Sequence[FloatArray], payloads: Payloads) -> _View:
        norms = column_norms(weights)
        worth = np.abs(values) * norms.astype(np.float32)
        sent = np.sort(worth[payloads.of(values) != 0])
        return cls(values, weights, payloads, norms, sent, _arriving(values, weights) or 1.0)

    def zones(self, silent: float) -> IntArray:
        """Dead zones that silence this share of the events."""
        tau = float(self.worth[int(silent * (len(self.worth) - 1))]) if len(self.worth) else 0.0
        return dead_zones(tau, self.norms, self.payloads)

    def level(self, silent: float) -> Level:
        """The level with the weights as they are."""
        zones = self.zones(silent)
        sent = self.payloads.sent(self.values, zones)
        error = _arriving(self.values - sent, self.weights) / self.meant
        return Level(zones, np.count_nonzero(sent) / sent.size, error)

    def helped(self, silent: float) -> float:
        """The error with refitted weights over that with plain ones."""
        sent = self.payloads.sent(self.values, self.zones(silent))
        plain = _arriving(self.values - sent, self.weights)
        left = _arriving(self.values - sent @ Moments.of(self.values, sent).mixing.T, self.weights)
        tokens, width = self.values.shape
        unseen = (tokens + width) / max(tokens - width, width)
        return min(1.0, max(unseen * left / plain, LEAST)) if plain > 0 else 1.0


def _arriving(values: FloatArray, weights: Sequence[FloatArray]) -> float:
    """Mean over tokens of the squared length of what ``values`` (T, n) bring about."""
    total = 0.0
    for matrix in weights:
        arriving = values @ matrix.T
        total += float(np.vdot(arriving, arriving))
    return total / len(values)
