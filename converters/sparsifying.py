r"""Sparsification without training: a checkpoint becomes a graph with dead zones, fewer synapses.

1. Second moments and levels of silence are taken from the float model on one part of the
   calibration text; how much each population matters, from the integer graph, by silencing one
   after the other (:mod:`spikegpt_neuro.sparsity.allocation`).
2. For a chosen allocation the text passes the float model once more. Behind each population that
   is silenced, weights are refitted to what still arrives, and pruned, so that the next population
   sees what it will see (:mod:`spikegpt_neuro.sparsity.compensation`).
3. The refitted model is lowered in the formats of the original one, and its loss and operations
   are measured on another part of the text. That decides what is tried next.
4. What was chosen is measured on the third part, which decided nothing.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.converters.lowering import (
    Formats,
    Lowered,
    calibrated,
    check_request,
    lower,
    lower_calibrated,
)
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.model.float_forward import FloatModel, tap_of
from spikegpt_neuro.model.spikegpt import FloatArray, SpikeGPT
from spikegpt_neuro.neurons.program import IntArray
from spikegpt_neuro.running import Progress
from spikegpt_neuro.sparsity.allocation import Allocation, Curve, Level, allocate
from spikegpt_neuro.sparsity.compensation import Moments, pruned
from spikegpt_neuro.sparsity.measuring import (
    Lost,
    Measured,
    divergence,
    measure,
    predictions,
)
from spikegpt_neuro.sparsity.parts import WINDOW, Parts, Windows, split
from spikegpt_neuro.sparsity.request import SparsityRequest
from spikegpt_neuro.sparsity.survey import Survey, survey
from spikegpt_neuro.sparsity.thresholds import Payloads

FIT_WINDOWS = 64
LEVEL_TOKENS = 4096  # of which errors at every level are taken
PROBE_TOKENS = 2048  # on which populations are silenced one by one
PROBE_LOGITS = 1 << 26  # and at most so many predictions
MEASURED_OPERATIONS = 1.5e12  # dense ones of a measurement, within the limits of its tokens:
MEASURED_TOKENS = (1 << 14, 1 << 16)
LEAST_COST = 0.1  # of the median: no population is thought to cost less
ATTEMPTS = 5
CLOSE = 0.002  # operations over dense
OPTIMISM = 1.5  # what is predicted from populations one by one exceeds what they cost together
LARGEST_STEP, SMALLEST_STEP = 2.0, 1.1  # factors from one prediction to the next
WANTED = 0.95  # of the budget
NARROW = 1.15

NOTHING = Allocation({}, 1.0, 0.0)


def sparsify(
    model: SpikeGPT,
    calibration: NDArray[np.int64],
    request: SparsityRequest,
    *,
    weight_bits: int = 8,
    activation_bits: int = 8,
    progress: Progress | None = None,
) -> SpikingGraph:
    """Lower ``model`` as :func:`~spikegpt_neuro.converters.lowering.lower` does, but sparse.

    A request that asks for nothing gives the very same graph. What a person should know of the
    search is among the graph's ``remarks``.

    Raises :class:`UnsupportedInput` where the calibration text is too short to hold anything out,
    where a budget is asked of a model that predicts no better than chance, and where the budget
    cannot be met; the text says what could be. Likewise for a checkpoint that is sparse already.
    """
    check_request(model, weight_bits, activation_bits)
    if request.is_empty:
        return lower(
            model,
            calibration,
            weight_bits=weight_bits,
            activation_bits=activation_bits,
            progress=progress,
        )
    check_not_sparse(model)
    search = _Search.prepare(model, calibration, request, (weight_bits, activation_bits), progress)
    return search.finished(search.found())


def check_not_sparse(model: SpikeGPT) -> None:
    """Refuse a checkpoint that has dead zones or pruned weights: it was trained with those."""
    if model.sparsities:
        raise UnsupportedInput(
            f"{model.provenance.file}: has {' and '.join(model.sparsities)} already; convert it as "
            "it is, or sparsify the checkpoint that it was made from"
        )


@dataclass(frozen=True)
class _Source:
    """A population that sends graded payloads to matrices.

    ``tap``  the name of its values in the float model. ``tensors``  the matrices that read it.
    ``share``  of all dense operations.
    """

    tap: str
    tensors: tuple[str, ...]
    payloads: Payloads
    share: float
    size: int


@dataclass(frozen=True)
class _Attempt:
    """A graph made for an allocation, and what the deciding part of the text says of it."""

    graph: SpikingGraph
    allocation: Allocation
    measured: Measured
    lost: Lost


class _Steps:
    """Progress over work whose amount is known only roughly."""

    def __init__(self, progress: Progress | None, planned: int) -> None:
        self._progress, self._planned, self._done = progress, planned, 0

    def __call__(self, count: int = 1) -> None:
        self._done = min(self._done + count, self._planned - 1)
        if self._progress is not None:
            self._progress(self._done, self._planned)

    def finish(self) -> None:
        if self._progress is not None:
            self._progress(self._planned, self._planned)


@dataclass(frozen=True)
class _Search:
    """What is known before anything is silenced, and the steps from there to a sparse graph."""

    model: SpikeGPT
    request: SparsityRequest
    formats: Formats
    plain: Lowered
    parts: Parts
    sources: Mapping[str, _Source]
    before: Measured
    step: _Steps
    remarks: list[str] = field(default_factory=list)

    @classmethod
    def prepare(
        cls,
        model: SpikeGPT,
        calibration: NDArray[np.int64],
        request: SparsityRequest,
        bits: tuple[int, int],
        progress: Progress | None,
    ) -> _Search:
        """Lower the model as it is and measure it."""
        synapses = model.shape.parameters
        tokens = int(np.clip(MEASURED_OPERATIONS / synapses, *MEASURED_TOKENS))
        parts = split(calibration, FIT_WINDOWS, tokens // WINDOW)
        step = _Steps(progress, planned=21 * model.shape.layers + ATTEMPTS + 8)
        formats = calibrated(model, calibration, *bits)
        plain = lower_calibrated(model, formats)
        formats = replace(formats, units=plain.units)
        step()
        before = measure(plain.graph, parts.decide)
        step()
        search = cls(model, request, formats, plain, parts, _sources(plain), before, step)
        search.check_chance()
        return search

    def check_chance(self) -> None:
        """A loss in bits means nothing to a model that predicts nothing."""
        chance = float(np.log2(self.model.shape.vocab_size))
        if self.before.loss < chance:
            return
        found = (
            f"the model loses {self.before.loss:.3g} bits per token on the calibration text, "
            f"no better than chance ({chance:.3g})"
        )
        if self.request.budget is not None:
            raise UnsupportedInput(
                f"{found}: sparsity_budget=... means nothing there; "
                "calibrate on the model's own kind of text, or give sparsity=..."
            )
        self.remarks.append(f"{found}: what sparsity costs cannot be told from it")

    # The way from what was asked to a graph.

    def found(self) -> _Attempt:
        """The attempt that meets the request."""
        asked = self.request.operations
        if self.request.budget is None:
            return self.with_operations(asked)
        if asked > 0:
            attempt = self.with_operations(asked)
            if attempt.lost.at_most <= self.request.budget:
                return attempt
            self.remarks.append(
                f"{attempt.measured.operations:.3g} of the dense operations would lose "
                f"{attempt.lost.bits:.3g} bits per token: the budget of {self.request.budget:g} "
                "ends the search before"
            )
        return self.within_budget(asked, self.request.budget)

    def with_operations(self, asked: float) -> _Attempt:
        """The attempt whose measured operations over dense come closest to ``asked``."""
        kept, target = self.request.kept, asked / self.request.kept
        if target >= self.before.operations:
            if self.request.sparsity:
                self.remarks.append(
                    f"only {self.before.operations * kept:.3g} of the dense operations happen "
                    f"anyway: a sparsity of {self.request.sparsity:g} silences nothing"
                )
            return self.attempt(NOTHING)
        tried: list[_Attempt] = []
        for _ in range(ATTEMPTS):
            tried.append(self.attempt(allocate(self.curves, target)))
            miss = tried[-1].measured.operations - asked
            if abs(miss) <= CLOSE:
                break
            target -= miss / kept
        return min(tried, key=lambda attempt: abs(attempt.measured.operations - asked))

    def within_budget(self, asked: float, budget: float) -> _Attempt:
        """The sparsest attempt found whose loss hardly exceeds ``budget``.

        Each attempt spends what the last one suggests: predicted losses are proportional to
        measured ones, more or less, so the next prediction follows from the ratio of the two,
        between the largest that held and the smallest that did not. Where none of ``ATTEMPTS``
        held, it is halved until one does or next to nothing is silenced.
        """
        low, high, bits = 0.0, float("inf"), OPTIMISM * budget
        best: _Attempt | None = None
        mildest: _Attempt | None = None
        for count in range(2 * ATTEMPTS):
            attempt = self.attempt(allocate(self.curves, asked / self.request.kept, bits))
            if attempt.lost.at_most <= budget:
                best, low = attempt, bits
                if attempt.allocation.bits < bits / LARGEST_STEP:
                    break  # nothing is left to silence
            else:
                mildest, high = attempt, bits
            if best is not None and (high < NARROW * low or count + 1 >= ATTEMPTS):
                break
            if count + 1 >= ATTEMPTS:
                bits /= LARGEST_STEP
            else:
                bits = next_prediction(bits, attempt.lost.at_most / budget, low, high)
        if best is not None:
            return best
        assert mildest is not None
        raise UnsupportedInput(
            f"sparsity_budget={budget:g} cannot be met: {mildest.measured.operations:.3g} of the "
            f"dense operations already lose {mildest.lost.bits:.2g} +- {mildest.lost.error:.1g} "
            f"bits per token; give {mildest.lost.at_most:.2g} or more"
            + (", or prune less" if self.request.prune else "")
        )

    def attempt(self, allocation: Allocation) -> _Attempt:
        """Refit, lower and measure."""
        model = self.refitted(allocation.zones)
        densities = {name: level.density for name, level in allocation.levels.items()}
        lowered = lower_calibrated(model, replace(self.formats, densities=densities)).graph
        graph = lowered.with_dead_zones(allocation.zones)
        if self.request.prune:
            graph = graph.with_sparse_weights()
        measured = measure(graph, self.parts.decide)
        self.step()
        return _Attempt(graph, allocation, measured, measured.lost(self.before))

    def refitted(self, zones: Mapping[str, IntArray]) -> SpikeGPT:
        """The model whose matrices make up for what ``zones`` silence and for what is pruned."""
        share = self.request.prune or 0.0
        by_tap = {source.tap: (name, source) for name, source in self.sources.items()}
        new: dict[str, FloatArray] = {}

        def interpose(tap: str, values: FloatArray) -> FloatArray:
            name, source = by_tap.get(tap, ("", None))
            if source is None or (name not in zones and not share):
                return values
            none = np.zeros(source.size, np.int32)
            sent = source.payloads.sent(values, zones.get(name, none))
            moments = Moments.of(values, sent)
            mixing = moments.mixing
            for tensor in source.tensors:
                weights = np.asarray(self.model.tensors[tensor], np.float32) @ mixing
                new[tensor] = pruned(weights, moments.sent, share)
            return sent

        model = replace(self.model, tensors=ChainMap(new, self.model.tensors))  # type: ignore[arg-type]
        FloatModel(model).forward(_joined(self.parts.fit), interpose=interpose, logits=False)
        return model

    def finished(self, attempt: _Attempt) -> SpikingGraph:
        """The graph of ``attempt`` with what was asked, predicted and confirmed."""
        plain = measure(self.plain.graph, self.parts.confirm)
        confirmed = measure(attempt.graph, self.parts.confirm)
        lost = confirmed.lost(plain)
        self.step.finish()
        found = {
            "sparsity": self.request.sparsity,
            "sparsity_budget": self.request.budget,
            "prune": self.request.prune,
            "synops_over_dense": confirmed.operations,
            "calibration_predicted_delta_bits": attempt.lost.bits,
            "calibration_delta_bits": lost.bits,
            "calibration_delta_bits_error": lost.error,
            "tokens": {
                name: sum(len(window) - 1 for window in getattr(self.parts, name))
                for name in ("fit", "decide", "confirm")
            },
        }
        provenance: dict[str, Any] = {**attempt.graph.provenance, "sparsity": found}
        remarks = (*attempt.graph.remarks, *self.remarks)
        return replace(attempt.graph, provenance=provenance, remarks=remarks)

    # What the allocation rests on.

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """Levels of silence of each population, and what they cost."""
        surveyed = self.surveyed()
        costs = {name: self.cost(name, found.probes) for name, found in surveyed.items()}
        least = LEAST_COST * float(np.median(list(costs.values())))
        return {
            name: Curve(self.sources[name].share, max(costs[name], least), found.levels)
            for name, found in surveyed.items()
        }

    def surveyed(self) -> dict[str, Survey]:
        """Levels of every population, from one pass of the float model."""
        by_tap = {source.tap: (name, source) for name, source in self.sources.items()}
        found: dict[str, Survey] = {}

        def observe(tap: str, values: FloatArray) -> None:
            if tap in by_tap:
                name, source = by_tap[tap]
                weights = [np.asarray(self.model.tensors[t], np.float32) for t in source.tensors]
                found[name] = survey(values, weights, source.payloads)
                self.step()

        stride = max(1, len(self.parts.fit) * WINDOW // LEVEL_TOKENS)
        tokens = _joined(self.parts.fit[::stride])
        FloatModel(self.model).forward(tokens, observe=observe, logits=False)
        return found

    def cost(self, name: str, probes: Sequence[Level]) -> float:
        """Bits per token for an error of 1 of what population ``name`` sends.

        Between two levels, since even the least change of one event moves spikes far from it,
        which makes predictions diverge a little without making them worse.
        """
        first, second = (self.diverged(name, level.zones) for level in probes)
        self.step(2)
        return (second - first) / max(probes[1].error - probes[0].error, 1e-9)

    def diverged(self, name: str, zones: IntArray) -> float:
        graph = self.plain.graph.with_dead_zones({name: zones})
        return divergence(graph, self.probe_windows, self.probe_predictions)

    @cached_property
    def probe_windows(self) -> Windows:
        tokens = min(PROBE_TOKENS, PROBE_LOGITS // self.model.shape.vocab_size)
        count = max(1, tokens // WINDOW)
        chosen = np.linspace(0, len(self.parts.fit) - 1, min(count, len(self.parts.fit)))
        return tuple(self.parts.fit[i] for i in chosen.astype(int))

    @cached_property
    def probe_predictions(self) -> list[NDArray[np.float32]]:
        return predictions(self.plain.graph, self.probe_windows)


def next_prediction(bits: float, used: float, low: float, high: float) -> float:
    """The prediction to try after ``bits``, which ``used`` this share of the budget.

    A step of at least ``SMALLEST_STEP``, since levels are discrete, and inside (low, high).
    """
    factor = min(LARGEST_STEP, max(1 / LARGEST_STEP, WANTED / max(used, 1e-9)))
    step = max(factor, SMALLEST_STEP) if used <= 1 else min(factor, 1 / SMALLEST_STEP)
    if low < bits * step < high:
        return bits * step
    return float(np.sqrt(low * high)) if low > 0 else high / LARGEST_STEP


def _joined(windows: Windows) -> NDArray[np.int64]:
    """The windows one after the other, without the token that follows each."""
    return np.concatenate([window[:-1] for window in windows])


def _sources(plain: Lowered) -> dict[str, _Source]:
    """The populations that can be silenced, in the order data flows."""
    graph = plain.graph
    dense = [q for q in graph.projections if q.is_dense and q.source in plain.units]
    total = sum(q.possible_synapses for q in dense)
    found: dict[str, _Source] = {}
    for population in graph.populations:
        readers = [q for q in dense if q.source == population.name]
        if readers:
            found[population.name] = _Source(
                tap=tap_of(population.name),
                tensors=tuple(f"{q.name}.weight" for q in readers),
                payloads=Payloads(plain.units[population.name], population.events),
                share=sum(q.possible_synapses for q in readers) / total,
                size=population.size,
            )
    return found
