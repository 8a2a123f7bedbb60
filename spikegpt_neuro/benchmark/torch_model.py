"""The other side: SpikeGPT in float32 torch, written straight from the equations.

The equations are those of :mod:`spikegpt_neuro.model.float_forward`. One set of functions
serves a single token (vectors) and a whole text (matrices; the recurrences loop over the
tokens). Nothing is left slow on purpose - weights are laid out once, autograd is off, matrix
products are torch's own - and nothing is tuned: this is what one writes first.

Needs torch; import this module only where torch is known to be there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from spikegpt_neuro.graph.layers import block_of
from spikegpt_neuro.model.float_forward import EXPONENT_START, LAYER_NORM_EPSILON
from spikegpt_neuro.model.spikegpt import HEAD_INPUT, SpikeGPT


def use_threads(threads: int) -> None:
    """Let torch's operations run on this many threads, in this whole process."""
    torch.set_num_threads(threads)


@dataclass
class _BlockState:
    """Seven vectors; see :class:`spikegpt_neuro.model.float_forward.BlockState`."""

    previous1: Tensor
    a: Tensor
    b: Tensor
    exponent: Tensor
    membrane1: Tensor
    previous2: Tensor
    membrane2: Tensor


class TorchModel:
    """A SpikeGPT in torch, in ``dtype``, with the state of one stream of tokens."""

    def __init__(self, model: SpikeGPT, dtype: torch.dtype = torch.float32) -> None:
        self._shape = model.shape
        self._dtype = dtype
        self._weights: dict[str, Tensor] = {}
        for name in model.shape.tensor_shapes():
            array = np.require(model.tensors[name], requirements=["C", "W"])
            self._weights[name] = torch.from_numpy(array).to(dtype)
        self._zones = {
            name: torch.from_numpy(np.array(zone)).to(dtype)
            for name, zone in model.dead_zones.items()
        }
        self._prepare()
        self.reset()

    def _prepare(self) -> None:
        """What does not depend on the token: w = -exp(time_decay), and the divided matrices."""
        every = self._shape.rescale_every
        for name in list(self._weights):
            if name.endswith("time_decay"):
                self._weights[name] = -torch.exp(self._weights[name])
            block = block_of(name)
            is_divided = name.endswith(("att.output.weight", "ffn.value.weight"))
            if every and is_divided and block is not None:
                self._weights[name] = self._weights[name] / 2 ** (block // every)

    def reset(self) -> None:
        """Return to the state before the first token."""
        zeros = torch.zeros(self._shape.width, dtype=self._dtype)
        start = torch.full_like(zeros, EXPONENT_START)
        self._state = [
            _BlockState(zeros, zeros, zeros, start, zeros, zeros, zeros)
            for _ in range(self._shape.layers)
        ]

    def step(self, token: int) -> Tensor:
        """Logits (V,) after ``token``; the state is carried on."""
        with torch.inference_mode():
            return self._logits(self._weights["emb.weight"][token])

    def forward(self, tokens: Sequence[int]) -> Tensor:
        """Logits (T, V) of a text from the initial state."""
        self.reset()
        with torch.inference_mode():
            return self._logits(self._weights["emb.weight"][torch.as_tensor(tokens)])

    def _logits(self, x: Tensor) -> Tensor:
        """From embeddings, (d,) or (T, d), to logits, (V,) or (T, V)."""
        if self._shape.spike_embedding:
            x = (x >= 0).to(self._dtype)
        x = self._layer_norm("blocks.0.ln0", x)
        every = self._shape.rescale_every
        for layer, state in enumerate(self._state):
            x = self._block(layer, x, state)
            if every and (layer + 1) % every == 0:
                x = x / 2
        return self._product("head", self._sent(HEAD_INPUT, self._layer_norm("ln_out", x)))

    def _block(self, layer: int, x: Tensor, state: _BlockState) -> Tensor:
        name = f"blocks.{layer}"
        before = self._shape.spike_input  # the LIF stands before the mixing
        y = self._layer_norm(f"{name}.ln1", x)
        y = self._lif1(y, state) if before else y
        shifted, state.previous1 = _shift(state.previous1, y)
        if layer == 0 and self._shape.ffn_pre:
            z = self._channel_mix(f"{name}.ffnPre", y, shifted)
        else:
            z = self._time_mix(f"{name}.att", y, shifted, state)
        x = x + (z if before else self._lif1(z, state))

        y = self._layer_norm(f"{name}.ln2", x)
        y = self._lif2(y, state) if before else y
        shifted, state.previous2 = _shift(state.previous2, y)
        z = self._channel_mix(f"{name}.ffn", y, shifted)
        return x + (z if before else self._lif2(z, state))

    def _time_mix(self, name: str, y: Tensor, shifted: Tensor, state: _BlockState) -> Tensor:
        k = self._product(f"{name}.key", self._mix(name, "k", y, shifted))
        v = self._product(f"{name}.value", self._mix(name, "v", y, shifted))
        r = self._product(f"{name}.receptance", self._mix(name, "r", y, shifted))
        w, u = self._weights[f"{name}.time_decay"], self._weights[f"{name}.time_first"]
        wkv = _each_token(lambda k, v: _wkv(k, v, w, u, state), k, v)
        return self._product(f"{name}.output", self._sent(f"{name}.wkv", torch.sigmoid(r) * wkv))

    def _channel_mix(self, name: str, y: Tensor, shifted: Tensor) -> Tensor:
        k = self._product(f"{name}.key", self._mix(name, "k", y, shifted))
        r = self._product(f"{name}.receptance", self._mix(name, "r", y, shifted))
        hidden = self._sent(f"{name}.squared_relu", torch.square(torch.relu(k)))
        value = self._product(f"{name}.value", hidden)
        return torch.sigmoid(r) * value

    def _lif1(self, z: Tensor, state: _BlockState) -> Tensor:
        spikes, state.membrane1 = self._lif(z, state.membrane1)
        return spikes

    def _lif2(self, z: Tensor, state: _BlockState) -> Tensor:
        spikes, state.membrane2 = self._lif(z, state.membrane2)
        return spikes

    def _lif(self, z: Tensor, membrane: Tensor) -> tuple[Tensor, Tensor]:
        """Spikes for the currents z, and the membrane after the last token."""
        lif, v = self._shape.lif, membrane

        def fire(z: Tensor) -> Tensor:
            nonlocal v
            h = lif.decay * v + lif.gain * z
            spikes = (h >= lif.threshold).to(self._dtype)
            v = h * (1 - spikes) + lif.reset * spikes
            return spikes

        return _each_token(fire, z), v

    def _mix(self, name: str, letter: str, y: Tensor, shifted: Tensor) -> Tensor:
        m = self._weights[f"{name}.time_mix_{letter}"]
        return self._sent(f"{name}.mix_{letter}", y * m + shifted * (1 - m))

    def _sent(self, population: str, x: Tensor) -> Tensor:
        """``x`` behind the population's dead zone, if it has one."""
        zone = self._zones.get(population)
        return x if zone is None else x.masked_fill(x.abs() <= zone, 0)

    def _layer_norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return functional.layer_norm(x, x.shape[-1:], weight, bias, LAYER_NORM_EPSILON)

    def _product(self, name: str, x: Tensor) -> Tensor:
        return functional.linear(x, self._weights[f"{name}.weight"])


def _shift(previous: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The previous token's y at every token, and what the next text's first token gets."""
    if y.dim() == 1:
        return previous, y
    return torch.cat([previous[None], y[:-1]]), y[-1]


def _each_token(step: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """``step`` applied to vectors, or row by row to matrices."""
    if inputs[0].dim() == 1:
        return step(*inputs)
    return torch.stack([step(*rows) for rows in zip(*inputs, strict=True)])


def _wkv(k: Tensor, v: Tensor, w: Tensor, u: Tensor, state: _BlockState) -> Tensor:
    """One token of WKV; a, b and their shared exponent move on in ``state``."""
    now = u + k
    largest = torch.maximum(state.exponent, now)
    old, new = torch.exp(state.exponent - largest), torch.exp(now - largest)
    wkv = (old * state.a + new * v) / (old * state.b + new)
    decayed = state.exponent + w
    state.exponent = torch.maximum(decayed, k)
    old, new = torch.exp(decayed - state.exponent), torch.exp(k - state.exponent)
    state.a, state.b = old * state.a + new * v, old * state.b + new
    return wkv
