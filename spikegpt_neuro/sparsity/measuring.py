r"""What a graph does on windows of a text: its loss, its operations, its distance from another.

The loss of one graph against another is measured window by window on the same tokens, and has a
standard error of :math:`\sigma / \sqrt{N}` over N windows. The distance is the Kullback-Leibler
divergence of its predictions, :math:`\sum_v p_v \log_2 (p_v / q_v)` per token: it varies far less
from text to text than a difference of losses does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.evaluation.evaluate import surprisal
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.running import Backend, ProjectionActivity, get_backend, synops_over_dense
from spikegpt_neuro.sparsity.parts import Windows


@dataclass(frozen=True)
class Measured:
    """``losses`` (N,) in bits per token of each window; events and operations over all of them."""

    losses: NDArray[np.float64]
    operations: float
    densities: Mapping[str, float]

    @property
    def loss(self) -> float:
        return float(self.losses.mean())

    def lost(self, before: Measured) -> Lost:
        """Bits per token more than ``before`` lost on the same windows."""
        differences = self.losses - before.losses
        spread = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
        return Lost(float(differences.mean()), spread / float(np.sqrt(len(differences))))


@dataclass(frozen=True)
class Lost:
    """Bits per token, and the standard error of that."""

    bits: float
    error: float

    @property
    def at_most(self) -> float:
        """What it hardly exceeds: one standard error more."""
        return self.bits + self.error


def measure(graph: SpikingGraph, windows: Windows) -> Measured:
    """Run ``graph`` over ``windows``, each from the initial state."""
    backend = get_backend("reference")
    losses: list[float] = []
    activity = {q.name: ProjectionActivity() for q in graph.projections if q.is_dense}
    for window in windows:
        run = backend.run(graph, window[:-1], record="logits")
        losses.append(surprisal(run.logits, window[1:]) / len(window[1:]))
        activity = {name: before + run.activity[name] for name, before in activity.items()}
    return Measured(
        np.array(losses), synops_over_dense(graph, activity), _densities(graph, windows, activity)
    )


def _densities(
    graph: SpikingGraph, windows: Windows, activity: Mapping[str, ProjectionActivity]
) -> dict[str, float]:
    """Share of the tokens for which a neuron of each population sends, on average."""
    tokens = sum(len(window) - 1 for window in windows)
    return {
        q.source: activity[q.name].events / (tokens * graph.by_name[q.source].size)
        for q in graph.projections
        if q.is_dense
    }


def predictions(graph: SpikingGraph, windows: Windows) -> list[NDArray[np.float32]]:
    """log2 of the probabilities (T, V) that ``graph`` gives to the next token, by window."""
    backend = get_backend("reference")
    return [_log_softmax(backend, graph, window) for window in windows]


def divergence(
    graph: SpikingGraph, windows: Windows, before: Sequence[NDArray[np.float32]]
) -> float:
    """Bits per token by which the predictions of ``graph`` diverge from those ``before``."""
    backend = get_backend("reference")
    total = 0.0
    for window, expected in zip(windows, before, strict=True):
        found = _log_softmax(backend, graph, window)
        total += float((np.exp2(expected) * (expected - found)).sum(dtype=np.float64))
    return total / sum(len(window) - 1 for window in windows)


def _log_softmax(
    backend: Backend, graph: SpikingGraph, window: NDArray[np.int64]
) -> NDArray[np.float32]:
    logits = backend.run(graph, window[:-1], record="logits").logits * np.float32(np.log2(np.e))
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log2(np.exp2(logits).sum(axis=1, keepdims=True))
    return logits
