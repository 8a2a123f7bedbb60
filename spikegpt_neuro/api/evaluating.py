"""Bits per token of a graph, beside its float original."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

from spikegpt_neuro.api.inputs import PathLike, Text, tokens_of
from spikegpt_neuro.api.models import read_model
from spikegpt_neuro.converters.settings import GivenLIF
from spikegpt_neuro.evaluation.evaluate import WINDOW, Evaluation
from spikegpt_neuro.evaluation.evaluate import evaluate as score
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.model.float_forward import FloatModel
from spikegpt_neuro.model.spikegpt import Compat
from spikegpt_neuro.remarks import remark
from spikegpt_neuro.running import Progress
from spikegpt_neuro.vocabulary import Unknown


def evaluate(
    graph: SpikingGraph,
    text: Text | None = None,
    *,
    against: PathLike | FloatModel | None = None,
    window: int = WINDOW,
    limit: int | None = None,
    lif_tau: float | None = None,
    lif_threshold: float | None = None,
    lif_reset: float | None = None,
    unknown: Unknown = "error",
    progress: Progress | None = None,
) -> Evaluation:
    r"""Score a text or token ids (T,); None: the built-in text, which the example never saw.

    What is odd about the figures is told by ``remarks`` of the result, and on the log.

    .. math::
        bits\_per\_token = -\frac{1}{T - 1} \sum_{t=1}^{T-1} \log_2 \mathrm{softmax}(z[t-1])_{x[t]}

    Parameters
    ----------
    against
        The float checkpoint (or model) of the graph, run over the same windows.
    window
        Tokens per window, W >= 1; the state is reset at each.
    limit
        Use only the first ``limit`` tokens.
    lif_tau, lif_threshold, lif_reset
        The LIF of a checkpoint ``against`` that does not state it [default: the graph's].

    Raises
    ------
    UnsupportedInput
        Fewer than two tokens, ids out of range, or ``against`` has another shape.

    Examples
    --------
    >>> found = sgn.evaluate(graph, "The return value is a string. " * 9)
    >>> 0 < found.bits_per_token < 6
    True
    """
    lif = GivenLIF(lif_tau, lif_threshold, lif_reset)
    floating = float_model_for(graph, against, lif) if isinstance(against, (str, Path)) else against
    tokens = tokens_of(graph, text, unknown=unknown)
    found = score(graph, tokens, window=window, against=floating, limit=limit, progress=progress)
    for text in found.remarks:
        remark(text)
    return found


def float_model_for(
    graph: SpikingGraph, checkpoint: PathLike, lif: GivenLIF | None = None
) -> FloatModel:
    """The float model, under the semantics that the graph was converted with.

    What neither its files nor ``lif`` say of the LIF is the graph's.
    """
    compat: Compat = "upstream-run" if graph.shape.rescale_every else "training"
    model = read_model(checkpoint, compat=compat, lif=lif)
    assumed = {
        f.name for f in fields(model.lif_origin) if getattr(model.lif_origin, f.name) is None
    }
    converted = {name: getattr(graph.shape.lif, name) for name in assumed}
    shape = replace(model.shape, lif=replace(model.shape.lif, **converted))
    return FloatModel(replace(model, shape=shape))
