r"""Bits per token of an integer graph, and how far it is from its float original.

The text is cut into windows of W tokens. Each window starts from the initial state; every
position predicts the token that follows it in the text, so each token but the first is
scored once:

.. math::
    bits\_per\_token = -\frac{1}{T - 1} \sum_{t=1}^{T-1} \log_2 \mathrm{softmax}(z[t-1])_{x[t]}
"""

from __future__ import annotations

import math
from codecs import getincrementaldecoder
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.threads import in_order, most_threads
from spikegpt_neuro.errors import UnsupportedInput, UsageError
from spikegpt_neuro.evaluation.findings import Observed
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.model.float_forward import FloatModel, FloatRun
from spikegpt_neuro.model.spikegpt import LIFParameters
from spikegpt_neuro.results import Result
from spikegpt_neuro.running import (
    Backend,
    Progress,
    ProjectionActivity,
    Run,
    get_backend,
    synops_over_dense,
)
from spikegpt_neuro.vocabulary import Vocabulary, checked_ids

WINDOW = 256
PART = 1 << 20  # tokens that are decoded at a time
BATCH_TOKENS = 256
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
    used = checked(graph, tokens, window=window, against=against, limit=limit)
    sums = scored(graph, used, window=window, against=against, progress=progress)
    return sums.evaluation(graph, used, window)


def checked(
    graph: SpikingGraph,
    tokens: NDArray[np.integer],
    *,
    window: int,
    against: FloatModel | None = None,
    limit: int | None = None,
) -> NDArray[np.integer]:
    """The token ids (T,) that :func:`evaluate` scores, as they come; raises what it raises."""
    ids = checked_ids(tokens, graph.shape.vocab_size)
    used = ids if limit is None else ids[:limit]
    _check(graph, used, window, against)
    return used


def scored(
    graph: SpikingGraph,
    tokens: NDArray[np.integer],
    *,
    window: int,
    against: FloatModel | None = None,
    progress: Progress | None = None,
    backend: Backend | None = None,
) -> Sums:
    """Totals over the windows of ``tokens`` (T,), of which the first is only read.

    Threads take turns at the windows, where there are cores: one's float side runs beside
    another's integers.
    ``backend``  one that ran this graph before, so that it need not lay out the weights again.
    """
    parts = pieces(tokens, window, batch_of(window))
    threads = min(most_threads(), max(1, (len(tokens) - 1) // (window * batch_of(window))))
    runner = backend or get_backend("reference", threads=1 if threads > 1 else None)
    sums = Sums()

    def score(part: NDArray[np.integer]) -> Sums:
        return _scored_together(graph, runner, part, window, against)

    for found in in_order(score, parts, threads):
        sums.merge(found)
        if progress is not None:
            progress(sums.tokens, len(tokens) - 1)
    return sums


def batch_of(window: int) -> int:
    """Windows whose float products are formed at once: few tokens at a time take twice as long."""
    return max(1, BATCH_TOKENS // window)


def _scored_together(
    graph: SpikingGraph,
    backend: Backend,
    tokens: NDArray[np.integer],
    window: int,
    against: FloatModel | None,
) -> Sums:
    """A few windows, the float side of which runs at once."""
    sums = Sums()
    floating = against.forward(tokens[:-1], window=window) if against else None
    for start, inputs, targets in _windows(tokens, window):
        run = backend.run(graph, inputs, record="spikes" if against else "logits")
        rows = slice(start, start + len(inputs))
        sums.add(graph, run, floating.of(rows) if floating else None, targets)
    return sums


def pieces(tokens: NDArray[np.integer], window: int, windows: int) -> Iterator[NDArray[np.integer]]:
    """``tokens`` (T,) in pieces of ``windows`` windows; of each, the first token is only read.

    The windows of the pieces are those of the whole.
    """
    for start in range(0, len(tokens) - 1, window * windows):
        yield tokens[start : start + window * windows + 1]


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
class Sums:
    """Totals over windows; those of several parts of a text :meth:`merge` to those of the whole.

    Whole numbers add up exactly. Bits are kept window by window and added by ``math.fsum``, whose
    sum is the exact one, rounded once: the parts and their order do not matter.
    """

    bits: list[float] = field(default_factory=list)
    float_bits: list[float] = field(default_factory=list)
    tokens: int = 0
    spikes_differing: int = 0
    spikes_compared: int = 0
    saturations: int = 0
    clipped: int = 0
    activity: dict[str, ProjectionActivity] = field(default_factory=dict)
    fired: dict[str, int] = field(default_factory=dict)
    saturated: dict[str, int] = field(default_factory=dict)

    def add(
        self,
        graph: SpikingGraph,
        run: Run,
        floating: FloatRun | None,
        targets: NDArray[np.int64],
    ) -> None:
        """Count one window."""
        observed = Observed(graph)
        observed.add(run)
        window = Sums(
            bits=[surprisal(run.logits, targets)],
            tokens=len(targets),
            saturations=run.saturations,
            clipped=sum(count.clipped for count in run.counts.values()),
            activity=dict(run.activity),
            fired=observed.fired,
            saturated=observed.saturated,
        )
        if floating is not None and floating.logits is not None:
            window.float_bits.append(surprisal(floating.logits, targets))
            for name, spikes in run.spikes.items():
                if name != "embedding":
                    differing = np.count_nonzero(spikes != floating.spikes[name])
                    window.spikes_differing += int(differing)
                    window.spikes_compared += spikes.size
        self.merge(window)

    def merge(self, other: Sums) -> None:
        """Add the totals of other windows."""
        self.bits += other.bits
        self.float_bits += other.float_bits
        self.tokens += other.tokens
        self.spikes_differing += other.spikes_differing
        self.spikes_compared += other.spikes_compared
        self.saturations += other.saturations
        self.clipped += other.clipped
        for name, found in other.activity.items():
            self.activity[name] = self.activity.get(name, ProjectionActivity()) + found
        for ours, theirs in ((self.fired, other.fired), (self.saturated, other.saturated)):
            for name, count in theirs.items():
                ours[name] = ours.get(name, 0) + count

    def evaluation(
        self, graph: SpikingGraph, tokens: NDArray[np.integer], window: int
    ) -> Evaluation:
        """The figures of ``graph`` on all of ``tokens``."""
        bits = math.fsum(self.bits) / self.tokens
        bytes_per_token = _bytes_per_token(graph, tokens)
        compared = self.spikes_compared > 0
        float_bits = math.fsum(self.float_bits) / self.tokens if compared else None
        observed = Observed(graph, self.tokens, self.fired, self.saturated)
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
            synops_over_dense=synops_over_dense(graph, self.activity),
            weight_density=graph.weight_density,
            remarks=observed.findings(bits),
        )


def _windows(
    tokens: NDArray[np.integer], window: int
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """(start, inputs, targets): inputs up to W tokens, targets the tokens one later."""
    for start in range(0, len(tokens) - 1, window):
        end = min(start + window, len(tokens) - 1)
        ids = tokens[start : end + 1].astype(np.int64)
        yield start, ids[:-1], ids[1:]


def _check(
    graph: SpikingGraph, tokens: NDArray[np.integer], window: int, against: FloatModel | None
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


def _bytes_per_token(graph: SpikingGraph, tokens: NDArray[np.integer]) -> float | None:
    if graph.vocabulary is None:
        return None
    return sum(map(len, encoded(graph.vocabulary, tokens))) / len(tokens)


def encoded(
    vocabulary: Vocabulary, tokens: NDArray[np.integer], part: int = PART
) -> Iterator[bytes]:
    """The text of tokens as UTF-8; in parts where a token means the same wherever it stands."""
    parts = (tokens[start : start + part] for start in range(0, len(tokens), part))
    if vocabulary.kind == "character":
        yield from (vocabulary.decode(ids).encode("utf-8") for ids in parts)
    elif vocabulary.kind == "byte":
        decoder = getincrementaldecoder("utf-8")("replace")
        yield from (decoder.decode(ids.astype(np.uint8).tobytes()).encode() for ids in parts)
        yield decoder.decode(b"", final=True).encode()
    else:
        yield vocabulary.decode(tokens).encode("utf-8")
