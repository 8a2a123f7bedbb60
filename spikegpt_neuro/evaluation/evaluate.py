r"""Bits per token of an integer graph, and how far it is from its float original.

The text is cut into windows of W tokens. Each window starts from the initial state; every
position predicts the token that follows it in the text, so each token but the first is
scored once:

.. math::
    bits\_per\_token = -\frac{1}{T - 1} \sum_{t=1}^{T-1} \log_2 \mathrm{softmax}(z[t-1])_{x[t]}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.errors import UnsupportedInput, UsageError
from spikegpt_neuro.evaluation.findings import Observed
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.model.float_forward import FloatModel, FloatRun
from spikegpt_neuro.model.spikegpt import LIFParameters
from spikegpt_neuro.results import Result
from spikegpt_neuro.running import (
    Progress,
    ProjectionActivity,
    Run,
    check_tokens,
    get_backend,
    synops_over_dense,
)

WINDOW = 256
ROWS = 64  # logits in double precision at a time: 26 MB at 50,277 tokens


@dataclass(frozen=True, repr=False)
class Evaluation(Result):
    """Figures of one evaluation; those that need a float model or a vocabulary may be None.

    ``tokens``          positions scored.
    ``bits_per_byte``   bits_per_token / (UTF-8 bytes of the evaluated text per token).
    ``spike_mismatch``  share of all LIF outputs that differ from the float model's; the
                        embedding's spikes are left out, they are equal by construction.
    ``saturations``     values that met a number format's limit where none was intended.
    ``clipped``         payloads beyond their quantizer's chosen range (intended).
    ``synops_over_dense``  synaptic operations on this text over those of dense matrices of which
                        every weight is read for every token.
    ``weight_density``  synapses that exist over those of dense matrices.
    ``remarks``         what is odd: a wrong vocabulary, or not a trained SpikeGPT?
    """

    bits_per_token: float
    bits_per_byte: float | None
    perplexity: float
    float_bits_per_token: float | None
    delta_bits_per_token: float | None
    spike_mismatch: float | None
    saturations: int
    clipped: int
    tokens: int
    protocol: str
    synops_over_dense: float
    weight_density: float
    remarks: tuple[str, ...] = ()

    UNITS: ClassVar[Mapping[str, str]] = {
        "bits_per_token": "bit",
        "bits_per_byte": "bit",
        "float_bits_per_token": "bit",
    }
    HEADLINE: ClassVar[tuple[str, ...]] = (
        "bits_per_token",
        "perplexity",
        "delta_bits_per_token",
        "tokens",
    )


def evaluate(
    graph: SpikingGraph,
    tokens: NDArray[np.integer],
    *,
    window: int = WINDOW,
    against: FloatModel | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score ``graph`` on token ids (T,) with the reference backend.

    Parameters
    ----------
    window
        Tokens per window, W >= 1.
    against
        The float model of the same checkpoint, run over the same windows.
    limit
        Use only the first ``limit`` tokens.

    Raises
    ------
    UnsupportedInput
        Fewer than two tokens, ids out of range, or ``against`` has another shape.
    """
    ids = check_tokens(graph, tokens)
    used = ids if limit is None else ids[:limit]
    _check(graph, used, window, against)
    backend = get_backend("reference")
    sums = _Sums(Observed(graph))
    for start, inputs, targets in _windows(used, window):
        run = backend.run(graph, inputs, record="spikes" if against else "logits")
        sums.add(run, against.forward(inputs) if against else None, targets)
        if progress is not None:
            progress(start + len(targets), len(used) - 1)
    return sums.evaluation(_bytes_per_token(graph, used), window)


def surprisal(logits: NDArray[np.floating], targets: NDArray[np.int64]) -> float:
    """Sum over t of -log2 softmax(logits[t])[targets[t]], for logits (T, V), in bits."""
    total = 0.0
    for start in range(0, len(targets), ROWS):
        z = logits[start : start + ROWS].astype(np.float64)
        z -= z.max(axis=1, keepdims=True)
        chosen = z[np.arange(len(z)), targets[start : start + ROWS]]
        total += float(np.sum(np.log(np.exp(z).sum(axis=1)) - chosen))
    return total / float(np.log(2.0))


@dataclass
class _Sums:
    """Totals over windows."""

    observed: Observed
    bits: float = 0.0
    float_bits: float = 0.0
    tokens: int = 0
    spikes_differing: int = 0
    spikes_compared: int = 0
    saturations: int = 0
    clipped: int = 0
    activity: dict[str, ProjectionActivity] = field(default_factory=dict)

    def add(self, run: Run, floating: FloatRun | None, targets: NDArray[np.int64]) -> None:
        self.observed.add(run)
        self.bits += surprisal(run.logits, targets)
        self.tokens += len(targets)
        self.saturations += run.saturations
        self.clipped += sum(count.clipped for count in run.counts.values())
        for name, found in run.activity.items():
            self.activity[name] = self.activity.get(name, ProjectionActivity()) + found
        if floating is None or floating.logits is None:
            return
        self.float_bits += surprisal(floating.logits, targets)
        for name, spikes in run.spikes.items():
            if name != "embedding":
                self.spikes_differing += int(np.count_nonzero(spikes != floating.spikes[name]))
                self.spikes_compared += spikes.size

    def evaluation(self, bytes_per_token: float | None, window: int) -> Evaluation:
        bits = self.bits / self.tokens
        compared = self.spikes_compared > 0
        float_bits = self.float_bits / self.tokens if compared else None
        return Evaluation(
            bits_per_token=bits,
            bits_per_byte=bits / bytes_per_token if bytes_per_token else None,
            perplexity=float(np.exp2(bits)),
            float_bits_per_token=float_bits,
            delta_bits_per_token=None if float_bits is None else bits - float_bits,
            spike_mismatch=self.spikes_differing / self.spikes_compared if compared else None,
            saturations=self.saturations,
            clipped=self.clipped,
            tokens=self.tokens,
            protocol=(
                f"independent windows of {window} tokens, state reset at each, "
                "every position predicts the next token of the text"
            ),
            synops_over_dense=synops_over_dense(self.observed.graph, self.activity),
            weight_density=self.observed.graph.weight_density,
            remarks=self.observed.findings(bits),
        )


def _windows(
    tokens: NDArray[np.int64], window: int
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """(start, inputs, targets): inputs up to W tokens, targets the tokens one later."""
    for start in range(0, len(tokens) - 1, window):
        end = min(start + window, len(tokens) - 1)
        yield start, tokens[start:end], tokens[start + 1 : end + 1]


def _check(
    graph: SpikingGraph, tokens: NDArray[np.int64], window: int, against: FloatModel | None
) -> None:
    if window < 1:
        raise UsageError(f"window is {window}, expected 1 or more tokens")
    if len(tokens) < 2:
        raise UnsupportedInput(
            f"the text has {len(tokens)} token; evaluation needs at least 2, one to predict"
        )
    if against is not None and against.model.shape != graph.shape:
        ours, theirs = graph.shape, against.model.shape
        if replace(theirs, lif=ours.lif) == ours:
            raise UnsupportedInput(
                f"the LIF of the graph ({_of(ours.lif)}) is not that of "
                f"{against.model.provenance.file} ({_of(theirs.lif)}); convert it again"
            )
        raise UnsupportedInput(
            f"the graph ({ours.layers} layers, width {ours.width}, {ours.vocab_size} tokens) and "
            f"{against.model.provenance.file} ({theirs.layers}, {theirs.width}, "
            f"{theirs.vocab_size}) differ in shape or semantics; compare it with its own checkpoint"
        )


def _of(lif: LIFParameters) -> str:
    scaled = "" if lif.decay_input else ", input not scaled"
    return f"tau {lif.tau:g}, threshold {lif.threshold:g}, reset {lif.reset:g}{scaled}"


def _bytes_per_token(graph: SpikingGraph, tokens: NDArray[np.int64]) -> float | None:
    if graph.vocabulary is None:
        return None
    return len(graph.vocabulary.decode(tokens).encode("utf-8")) / len(tokens)
