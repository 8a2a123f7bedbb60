r"""SpikeGPT's training forward in torch, with what it sends to its matrices behind dead zones.

The equations are those of :mod:`spikegpt_neuro.model.float_forward`. Tensors have the checkpoint's
names; the matrices are used as they are given, rounded or pruned beforehand.

The share of the dense operations that happen, over N tokens, is

.. math:: \frac{1}{N} \sum_p \sum_i f_{pi} \, c_{pi}

where channel i of population p sends c events, each to the share f of all dense synapses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from types import ModuleType

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from spikegpt_neuro.model.float_forward import LAYER_NORM_EPSILON
from spikegpt_neuro.model.spikegpt import HEAD_INPUT, LIFParameters, ModelShape
from spikegpt_neuro.training import functions, plain
from spikegpt_neuro.training.formats import Events

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Operations:
    """The operations that the network is made of."""

    spike: Callable[[Tensor], Tensor]
    blend: Callable[[Tensor, Tensor], Tensor]
    send: Callable[[Tensor, Tensor, Events], tuple[Tensor, Tensor, Tensor]]
    squared_relu: Callable[[Tensor], Tensor]
    wkv: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    lif: Callable[[Tensor, LIFParameters], Tensor]
    product: Callable[[Tensor, Tensor], Tensor]

    @classmethod
    def of(cls, module: ModuleType) -> Operations:
        """Those of ``plain`` or ``functions``."""
        return cls(**{each.name: getattr(module, each.name) for each in fields(cls)})


FAST = Operations.of(functions)
"""To learn with."""
EXACT = replace(FAST, product=plain.product)
"""To measure with: products as in float32."""
EAGER = Operations.of(plain)
"""Token by token."""


@dataclass(frozen=True)
class Passed:
    """What went through the network, up to the head, whose logits may be too many to hold.

    ``head_input`` (B, T, n), ``head`` (V, n): what the head reads, and its weights. By population:
    events of each channel (n,) in ``events``, and their smooth stand-in, which has a gradient, in
    ``shares``.
    """

    head_input: Tensor
    head: Tensor
    events: Tensors
    shares: Tensors

    @property
    def logits(self) -> Tensor:
        """(B, T, V)."""
        return plain.product(self.head_input, self.head)  # not rounded

    def pieces(self, tokens: int) -> list[Passed]:
        """Stretches of so many tokens of every window; without events."""
        inputs = torch.split(self.head_input, tokens, dim=1)
        return [replace(self, head_input=each, events={}, shares={}) for each in inputs]


@dataclass
class Network:
    """One pass of ids (B, T) through the model of ``shape``.

    ``thresholds`` population -> (n,); those without one send everything. ``formats`` population ->
    its payloads; those without one are not rounded.
    """

    shape: ModelShape
    tensors: Tensors
    thresholds: Tensors = field(default_factory=dict)
    formats: Mapping[str, Events] = field(default_factory=dict)
    does: Operations = FAST
    events: dict[str, Tensor] = field(init=False, default_factory=dict)
    shares: dict[str, Tensor] = field(init=False, default_factory=dict)

    def __call__(self, ids: Tensor) -> Passed:
        x = self.tensors["emb.weight"][ids]
        x = self.does.spike(x) if self.shape.spike_embedding else x
        x = self.norm("blocks.0.ln0", x)
        for layer in range(self.shape.layers):
            x = self.block(layer, x)
        y = self.send(HEAD_INPUT, self.norm("ln_out", x))
        return Passed(y, self.tensors["head.weight"], self.events, self.shares)

    def block(self, layer: int, x: Tensor) -> Tensor:
        """Residual + LIF(mixing), twice; the LIF before the mixing where spikes are the input."""
        name = f"blocks.{layer}"
        y = self.norm(f"{name}.ln1", x)
        y = self.lif(y) if self.shape.spike_input else y
        if layer == 0 and self.shape.ffn_pre:
            z = self.channel_mix(f"{name}.ffnPre", y)
        else:
            z = self.time_mix(f"{name}.att", y)
        x = x + (z if self.shape.spike_input else self.lif(z))
        y = self.norm(f"{name}.ln2", x)
        y = self.lif(y) if self.shape.spike_input else y
        z = self.channel_mix(f"{name}.ffn", y)
        return x + (z if self.shape.spike_input else self.lif(z))

    def time_mix(self, name: str, y: Tensor) -> Tensor:
        k = self.product(f"{name}.key", self.mix(f"{name}.mix_k", y))
        v = self.product(f"{name}.value", self.mix(f"{name}.mix_v", y))
        r = self.product(f"{name}.receptance", self.mix(f"{name}.mix_r", y))
        w = -torch.exp(self.tensors[f"{name}.time_decay"])
        wkv = self.does.wkv(k, v, w, self.tensors[f"{name}.time_first"])
        return self.product(f"{name}.output", self.send(f"{name}.wkv", torch.sigmoid(r) * wkv))

    def channel_mix(self, name: str, y: Tensor) -> Tensor:
        key = self.product(f"{name}.key", self.mix(f"{name}.mix_k", y))
        hidden = self.send(f"{name}.squared_relu", self.does.squared_relu(key))
        r = self.product(f"{name}.receptance", self.mix(f"{name}.mix_r", y))
        return torch.sigmoid(r) * self.product(f"{name}.value", hidden)

    def mix(self, name: str, y: Tensor) -> Tensor:
        """A token mix; ``name`` ends in the letter of its coefficient."""
        prefix, letter = name.rsplit(".mix_", 1)
        return self.send(name, self.does.blend(y, self.tensors[f"{prefix}.time_mix_{letter}"]))

    def send(self, population: str, x: Tensor) -> Tensor:
        threshold = self.thresholds.get(population)
        if threshold is None:
            return x
        events = self.formats.get(population, Events())
        out, opened, share = self.does.send(x, threshold, events)
        self.events[population], self.shares[population] = opened, share
        return out

    def norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]
        return layer_norm(x, weight.shape, weight, bias, LAYER_NORM_EPSILON)

    def lif(self, z: Tensor) -> Tensor:
        return self.does.lif(z, self.shape.lif)

    def product(self, name: str, x: Tensor) -> Tensor:
        return self.does.product(x, self.tensors[f"{name}.weight"])
