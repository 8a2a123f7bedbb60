"""The neuron programs, one module each, and their registry by kind."""

from __future__ import annotations

from spikegpt_neuro.neurons.embedding import Embedding
from spikegpt_neuro.neurons.gate import Gate
from spikegpt_neuro.neurons.layer_norm import LayerNorm
from spikegpt_neuro.neurons.lif import LIF
from spikegpt_neuro.neurons.program import Program
from spikegpt_neuro.neurons.requantize import Requantize
from spikegpt_neuro.neurons.residual import Residual
from spikegpt_neuro.neurons.squared_relu import SquaredReLU
from spikegpt_neuro.neurons.token_mix import TokenMix
from spikegpt_neuro.neurons.wkv import WKV

PROGRAMS: dict[str, type[Program]] = {
    program.kind: program
    for program in (
        Embedding,
        LayerNorm,
        TokenMix,
        WKV,
        Requantize,
        LIF,
        Residual,
        SquaredReLU,
        Gate,
    )
}

__all__ = [
    "LIF",
    "PROGRAMS",
    "WKV",
    "Embedding",
    "Gate",
    "LayerNorm",
    "Program",
    "Requantize",
    "Residual",
    "SquaredReLU",
    "TokenMix",
]
