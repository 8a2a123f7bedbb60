"""The float model of a graph: the original that it is compared with."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.api.inputs import PathLike, vocabulary_of
from spikegpt_neuro.api.models import read_model
from spikegpt_neuro.converters.settings import GivenLIF
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.model.float_forward import FloatModel
from spikegpt_neuro.model.spikegpt import Compat
from spikegpt_neuro.running import Progress
from spikegpt_neuro.sampling import Sampler, options_for


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


def float_continuation(
    graph: SpikingGraph,
    floating: FloatModel,
    prompt: NDArray[np.int64],
    tokens: int,
    *,
    temperature: float,
    seed: int,
    progress: Progress | None = None,
) -> NDArray[np.int64]:
    """The ids (tokens,) that the float model draws where ``generate`` draws the graph's.

    The same seed gives both the same random numbers.
    """
    sampler = Sampler(options_for(vocabulary_of(graph), temperature=temperature), seed)
    read = floating.forward(prompt)
    previous, drawn = int(prompt[-1]), list[int]()
    while len(drawn) < tokens:
        assert read.logits is not None
        previous = sampler.draw(read.logits[-1], previous)
        drawn.append(previous)
        if progress is not None:
            progress(len(drawn), tokens)
        read = floating.forward(np.array([previous]), read.state)
    return np.array(drawn, np.int64)
