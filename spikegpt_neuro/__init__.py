"""Trained SpikeGPT checkpoints as all-integer spiking graphs, the same on every backend.

>>> import spikegpt_neuro as sgn
>>> graph = sgn.convert("model.pth", vocab="vocab.json")  # doctest: +SKIP
>>> graph.save("model.sgn")                               # doctest: +SKIP
>>> run = sgn.run(sgn.load("model.sgn"), tokens)          # doctest: +SKIP

The names load on first use: importing the package costs no numpy, numba or torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from spikegpt_neuro.version import __version__

if TYPE_CHECKING:
    from spikegpt_neuro.api import convert, float_model, load, run
    from spikegpt_neuro.evaluation import Evaluation, evaluate
    from spikegpt_neuro.graph.graph import SpikingGraph
    from spikegpt_neuro.model.float_forward import FloatModel
    from spikegpt_neuro.model.spikegpt import SpikeGPT
    from spikegpt_neuro.running import Run
    from spikegpt_neuro.sampling import Sampler

_HOME = {
    "convert": "api",
    "float_model": "api",
    "load": "api",
    "run": "api",
    "Evaluation": "evaluation",
    "evaluate": "evaluation",
    "FloatModel": "model.float_forward",
    "Run": "running",
    "Sampler": "sampling",
    "SpikeGPT": "model.spikegpt",
    "SpikingGraph": "graph.graph",
}

__all__ = [
    "Evaluation",
    "FloatModel",
    "Run",
    "Sampler",
    "SpikeGPT",
    "SpikingGraph",
    "__version__",
    "convert",
    "evaluate",
    "float_model",
    "load",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
