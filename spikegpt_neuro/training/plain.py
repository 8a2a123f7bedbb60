"""The operations of training in torch's own terms, token by token, differentiated by autograd.

They run on any device; :mod:`spikegpt_neuro.training.functions` has the fast ones, which the tests
compare with these. Equations: :mod:`spikegpt_neuro.training.kernels`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from spikegpt_neuro.model.spikegpt import LIFParameters
from spikegpt_neuro.training.formats import Events
from spikegpt_neuro.training.surrogates import ALPHA, HALF_WIDTH, LEAST_THRESHOLD


class Spike(torch.autograd.Function):
    """[x >= 0], whose slope is that of ATan."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x: Tensor = ctx.saved_tensors[0]
        return grad * (ALPHA / 2) / (1 + (math.pi / 2 * ALPHA * x) ** 2)


def spike(x: Tensor) -> Tensor:
    """Spikes of x >= 0."""
    return Spike.apply(x)  # type: ignore[no-any-return, no-untyped-call]


def blend(y: Tensor, mix: Tensor) -> Tensor:
    """Token mix of y (B, T, n)."""
    before = torch.nn.functional.pad(y, (0, 0, 1, -1))
    return y * mix + before * (1 - mix)


def send(x: Tensor, threshold: Tensor, events: Events) -> tuple[Tensor, Tensor, Tensor]:
    """What of x (B, T, n) is sent; events by channel (n,), and their smooth stand-in (n,)."""
    unit = events.unit
    least = max(unit / 2, LEAST_THRESHOLD)
    effective = threshold + (threshold.clamp(min=least) - threshold).detach()
    if unit:
        payload = torch.floor(x / unit + 0.5).clamp(events.low, events.high)
        zone = torch.floor((threshold / unit - 0.5).clamp(min=0) + 0.5).clamp(max=events.high)
        sent = payload.abs() > zone
        inside = x.clamp(events.low * unit, events.high * unit)
        rounded = inside + (payload * unit - inside).detach()
    else:
        rounded, sent = x, x.abs() > threshold
    q = ((x.abs() / effective - 1) / HALF_WIDTH).clamp(-1, 1)
    smooth = 0.5 + q - q * q.abs() / 2
    gate = smooth - smooth.detach()
    out = torch.where(sent, rounded, 0.0) + x.detach() * gate
    return out, sent.to(x.dtype).sum((0, 1)), smooth.sum((0, 1))


def squared_relu(key: Tensor) -> Tensor:
    """max(0, key)^2."""
    return torch.relu(key).square()


def wkv(k: Tensor, v: Tensor, w: Tensor, u: Tensor) -> Tensor:
    """WKV of k, v (B, T, n) with decays w and first bonus u (n,)."""
    a = b = torch.zeros_like(k[:, 0])
    p = torch.full_like(a, -1e30)
    out = []
    for t in range(k.shape[1]):
        top = torch.maximum(u + k[:, t], p)
        old, new = torch.exp(p - top), torch.exp(u + k[:, t] - top)
        out.append((old * a + new * v[:, t]) / (old * b + new))
        top = torch.maximum(p + w, k[:, t])
        old, new = torch.exp(p + w - top), torch.exp(k[:, t] - top)
        a, b, p = old * a + new * v[:, t], old * b + new, top
    return torch.stack(out, 1)


def product(x: Tensor, weights: Tensor) -> Tensor:
    """The product x W^T of x (B, T, n) and W (m, n)."""
    return x @ weights.T


def lif(z: Tensor, neuron: LIFParameters) -> Tensor:
    """Spikes of the currents z (B, T, n)."""
    v = torch.zeros_like(z[:, 0])
    spikes = []
    for t in range(z.shape[1]):
        h = neuron.decay * v + neuron.gain * z[:, t]
        s = spike(h - neuron.threshold)
        v = h * (1 - s) + neuron.reset * s
        spikes.append(s)
    return torch.stack(spikes, 1)
