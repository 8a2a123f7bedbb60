"""SpikeGPT in plain torch, token by token, in float64: what the float reference must equal.

Written from the equations alone and as directly as possible: no sequence mode, no shared
exponent in WKV (float64 holds the plain sums), one dictionary of state.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import torch

from spikegpt_neuro.model.spikegpt import SpikeGPT

Spikes = dict[str, np.ndarray[Any, Any]]

torch.set_num_threads(1)  # the matrices are small: threads would only wait for each other


class Reference:
    """One token at a time through the training forward."""

    def __init__(self, model: SpikeGPT) -> None:
        self.shape = model.shape
        self.w = {n: torch.from_numpy(np.array(model.tensors[n])).double() for n in model.tensors}
        self.state: dict[str, torch.Tensor] = {}
        self.spikes: defaultdict[str, list[torch.Tensor]] = defaultdict(list)

    def zeros(self) -> torch.Tensor:
        return torch.zeros(self.shape.width, dtype=torch.float64)

    def layer_norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        weight, bias = self.w[f"{name}.weight"], self.w[f"{name}.bias"]
        return torch.nn.functional.layer_norm(x, x.shape, weight, bias, eps=1e-5)

    def lif(self, name: str, z: torch.Tensor) -> torch.Tensor:
        lif = self.shape.lif
        v = self.state.get(name, self.zeros())
        h = v - v / lif.tau + (z / lif.tau if lif.decay_input else z)
        s = (h >= lif.threshold).double()
        self.state[name] = h * (1 - s) + lif.reset * s
        self.spikes[name].append(s)
        return s

    def mix(self, name: str, letter: str, y: torch.Tensor) -> torch.Tensor:
        m = self.w[f"{name}.time_mix_{letter}"].flatten()
        return y * m + self.state.get(f"{name}.previous", self.zeros()) * (1 - m)

    def matrix(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return self.w[f"{name}.weight"] @ x

    def time_mix(self, name: str, y: torch.Tensor) -> torch.Tensor:
        k = self.matrix(f"{name}.key", self.mix(name, "k", y))
        v = self.matrix(f"{name}.value", self.mix(name, "v", y))
        r = torch.sigmoid(self.matrix(f"{name}.receptance", self.mix(name, "r", y)))
        self.state[f"{name}.previous"] = y
        a = self.state.get(f"{name}.a", self.zeros())
        b = self.state.get(f"{name}.b", self.zeros())
        first = torch.exp(self.w[f"{name}.time_first"] + k)
        wkv = (a + first * v) / (b + first)
        decay = torch.exp(-torch.exp(self.w[f"{name}.time_decay"]))
        self.state[f"{name}.a"] = decay * a + torch.exp(k) * v
        self.state[f"{name}.b"] = decay * b + torch.exp(k)
        return self.matrix(f"{name}.output", r * wkv)

    def channel_mix(self, name: str, y: torch.Tensor) -> torch.Tensor:
        k = torch.relu(self.matrix(f"{name}.key", self.mix(name, "k", y))) ** 2
        r = torch.sigmoid(self.matrix(f"{name}.receptance", self.mix(name, "r", y)))
        self.state[f"{name}.previous"] = y
        return r * self.matrix(f"{name}.value", k)

    def sublayer(self, lif: str, name: str, y: torch.Tensor) -> torch.Tensor:
        mixing = self.time_mix if name.endswith("att") else self.channel_mix
        if self.shape.spike_input:
            return mixing(name, self.lif(lif, y))
        return self.lif(lif, mixing(name, y))

    def step(self, token: int) -> torch.Tensor:
        x = self.w["emb.weight"][token]
        if self.shape.spike_embedding:
            x = (x >= 0).double()
            self.spikes["embedding"].append(x)
        x = self.layer_norm("blocks.0.ln0", x)
        for i in range(self.shape.layers):
            block = f"blocks.{i}"
            first = f"{block}.ffnPre" if i == 0 and self.shape.ffn_pre else f"{block}.att"
            x = x + self.sublayer(f"{block}.lif1", first, self.layer_norm(f"{block}.ln1", x))
            x = x + self.sublayer(
                f"{block}.lif2", f"{block}.ffn", self.layer_norm(f"{block}.ln2", x)
            )
        return self.matrix("head", self.layer_norm("ln_out", x))


def run(model: SpikeGPT, tokens: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], Spikes]:
    """Logits (T, V) and spikes of the training forward."""
    with torch.no_grad():
        reference = Reference(model)
        logits = torch.stack([reference.step(int(token)) for token in tokens]).numpy()
        spikes = {n: torch.stack(s).numpy().astype(np.uint8) for n, s in reference.spikes.items()}
    return logits, spikes


def run_upstream_script(
    model: SpikeGPT, tokens: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], Spikes]:
    """What upstream's inference script computes for a checkpoint with training semantics.

    It divides two matrices of layer i by 2**(i // 6) when it loads them, halves x after
    every sixth layer, and binarizes the embedding for vocabularies of 77 characters only.
    """
    with torch.no_grad():
        script = Reference(model)
        for name in script.w:
            if "att.output.weight" in name or "ffn.value.weight" in name:
                script.w[name] = script.w[name] / 2 ** (int(name.split(".")[1]) // 6)
        logits = torch.stack([_script_step(script, int(token)) for token in tokens]).numpy()
        spikes = {n: torch.stack(s).numpy().astype(np.uint8) for n, s in script.spikes.items()}
    return logits, spikes


def _script_step(script: Reference, token: int) -> torch.Tensor:
    x = script.w["emb.weight"][token]
    if script.shape.vocab_size == 77:
        x = (x >= 0).double()
        script.spikes["embedding"].append(x)
    for i in range(script.shape.layers):
        if i == 0:
            x = script.layer_norm("blocks.0.ln0", x)
        y = script.layer_norm(f"blocks.{i}.ln1", x)
        x = x + script.lif(f"blocks.{i}.lif1", script.time_mix(f"blocks.{i}.att", y))
        y = script.layer_norm(f"blocks.{i}.ln2", x)
        x = x + script.lif(f"blocks.{i}.lif2", script.channel_mix(f"blocks.{i}.ffn", y))
        if (i + 1) % 6 == 0:
            x = x / 2
    return script.matrix("head", script.layer_norm("ln_out", x))
