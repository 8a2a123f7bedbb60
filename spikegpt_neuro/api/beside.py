"""The float model of a graph: the original that it is compared with."""

from __future__ import annotations

from dataclasses import fields, replace

from spikegpt_neuro.api.inputs import PathLike
from spikegpt_neuro.api.models import read_model
from spikegpt_neuro.converters.settings import GivenLIF
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.model.float_forward import FloatModel
from spikegpt_neuro.model.spikegpt import Compat


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
