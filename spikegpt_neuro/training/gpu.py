"""WKV and LIF on a CUDA device: one program walks through the tokens of a window, with Triton.

Equations: :mod:`spikegpt_neuro.training.kernels`. Imported only where torch finds such a device,
whose build of torch brings Triton. The kernels have no types: to Triton annotations mean something.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from spikegpt_neuro.model.spikegpt import LIFParameters
from spikegpt_neuro.training.surrogates import ALPHA

LANES = 32
HALF_PI = 1.5707963267948966


def _launched(kernel: Any, like: Tensor, *arguments: Any) -> None:
    """Run ``kernel`` over all windows and channels of ``like`` (B, T, n)."""
    windows, tokens, width = like.shape
    grid = (windows, triton.cdiv(width, LANES))
    kernel[grid](*arguments, tokens, width, LANES, num_warps=1)


@triton.jit  # type: ignore[untyped-decorator]
def _forward_wkv(  # type: ignore[no-untyped-def]
    k, v, w, u, out, numerator, denominator, exponent, tokens, n, LANES: tl.constexpr
):
    i = tl.program_id(1) * LANES + tl.arange(0, LANES)
    there = i < n
    decay, bonus = tl.load(w + i, there, 0.0), tl.load(u + i, there, 0.0)
    a, b, p = decay * 0, decay * 0, decay * 0 - 1e30
    at = tl.program_id(0) * tokens * n + i
    for _ in range(tokens):
        key, value = tl.load(k + at, there, 0.0), tl.load(v + at, there, 0.0)
        tl.store(numerator + at, a, there)
        tl.store(denominator + at, b, there)
        tl.store(exponent + at, p, there)
        top = tl.maximum(bonus + key, p)
        old, new = tl.exp(p - top), tl.exp(bonus + key - top)
        tl.store(out + at, (old * a + new * value) / (old * b + new), there)
        top = tl.maximum(p + decay, key)
        old, new = tl.exp(p + decay - top), tl.exp(key - top)
        a, b, p = old * a + new * value, old * b + new, top
        at += n


@triton.jit  # type: ignore[untyped-decorator]
def _backward_wkv(  # type: ignore[no-untyped-def]
    k, v, w, u, out, numerator, denominator, exponent, grad, dk, dv, dw, du, tokens, n,
    LANES: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(1) * LANES + tl.arange(0, LANES)
    there = i < n
    decay, bonus = tl.load(w + i, there, 0.0), tl.load(u + i, there, 0.0)
    alpha, beta, reach = decay * 0, decay * 0, decay * 0 + 1e30
    of_w, of_u = decay * 0, decay * 0
    at = tl.program_id(0) * tokens * n + (tokens - 1) * n + i
    for _ in range(tokens):
        key, value = tl.load(k + at, there, 0.0), tl.load(v + at, there, 0.0)
        y, g = tl.load(out + at, there, 0.0), tl.load(grad + at, there, 0.0)
        a, b = tl.load(numerator + at, there, 0.0), tl.load(denominator + at, there, 0.0)
        p = tl.load(exponent + at, there, 0.0)
        top = tl.maximum(bonus + key, p)
        old, new = tl.exp(p - top), tl.exp(bonus + key - top)
        share = g / (old * b + new)
        direct = share * new * (value - y)
        after = tl.exp(key - reach)
        tl.store(dv + at, share * new + alpha * after, there)
        tl.store(dk + at, direct + (alpha * value + beta) * after, there)
        of_u += direct
        of_w += (alpha * a + beta * b) * tl.exp(p + decay - reach)
        nearest = tl.minimum(top, reach - decay)
        old, new = tl.exp(nearest - (reach - decay)), tl.exp(nearest - top)
        alpha, beta = old * alpha + new * share, old * beta - new * share * y
        reach = nearest
        at -= n
    tl.store(dw + tl.program_id(0) * n + i, of_w, there)
    tl.store(du + tl.program_id(0) * n + i, of_u, there)


@triton.jit  # type: ignore[untyped-decorator]
def _forward_lif(  # type: ignore[no-untyped-def]
    z, spikes, membrane, decay, gain, threshold, reset, tokens, n, LANES: tl.constexpr
):
    i = tl.program_id(1) * LANES + tl.arange(0, LANES)
    there = i < n
    at = tl.program_id(0) * tokens * n + i
    v = tl.load(z + at, there, 0.0) * 0
    for _ in range(tokens):
        h = decay * v + gain * tl.load(z + at, there, 0.0)
        tl.store(membrane + at, h, there)
        tl.store(spikes + at, tl.where(h >= threshold, 1.0, 0.0), there)
        v = tl.where(h >= threshold, reset, h)
        at += n


@triton.jit  # type: ignore[untyped-decorator]
def _backward_lif(  # type: ignore[no-untyped-def]
    membrane, grad, dz, decay, gain, threshold, reset, alpha, half_pi, tokens, n,
    LANES: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(1) * LANES + tl.arange(0, LANES)
    there = i < n
    at = tl.program_id(0) * tokens * n + (tokens - 1) * n + i
    carried = tl.load(membrane + at, there, 0.0) * 0
    for _ in range(tokens):
        h = tl.load(membrane + at, there, 0.0)
        scaled = half_pi * alpha * (h - threshold)
        slope = alpha / 2 / (1 + scaled * scaled)
        stays = tl.where(h >= threshold, 0.0, 1.0)
        back = tl.load(grad + at, there, 0.0) * slope + carried * (stays + (reset - h) * slope)
        tl.store(dz + at, gain * back, there)
        carried = decay * back
        at -= n


class _WKV(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, k: Tensor, v: Tensor, w: Tensor, u: Tensor) -> Tensor:
        inputs = [each.contiguous() for each in (k, v, w, u)]
        results = [torch.empty_like(inputs[0]) for _ in range(4)]
        _launched(_forward_wkv, k, *inputs, *results)
        ctx.save_for_backward(*inputs, *results)
        return results[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        saved = ctx.saved_tensors
        k, width = saved[0], saved[0].shape[-1]
        dk, dv = torch.empty_like(k), torch.empty_like(k)
        dw, du = k.new_empty(len(k), width), k.new_empty(len(k), width)
        _launched(_backward_wkv, k, *saved, grad.contiguous(), dk, dv, dw, du)
        return dk, dv, dw.sum(0), du.sum(0)


class _LIF(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, neuron: LIFParameters) -> Tensor:
        z = z.contiguous()
        spikes, membrane = torch.empty_like(z), torch.empty_like(z)
        ctx.constants = (neuron.decay, neuron.gain, neuron.threshold, neuron.reset)
        _launched(_forward_lif, z, z, spikes, membrane, *ctx.constants)
        ctx.save_for_backward(membrane)
        return spikes

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (membrane,) = ctx.saved_tensors
        dz = torch.empty_like(membrane)
        _launched(
            _backward_lif, membrane, membrane, grad.contiguous(), dz, *ctx.constants, ALPHA, HALF_PI
        )
        return dz, None


def wkv(k: Tensor, v: Tensor, w: Tensor, u: Tensor) -> Tensor:
    """See :func:`spikegpt_neuro.training.plain.wkv`."""
    found: Tensor = _WKV.apply(k, v, w, u)  # type: ignore[no-untyped-call]
    return found


def lif(z: Tensor, neuron: LIFParameters) -> Tensor:
    """See :func:`spikegpt_neuro.training.plain.lif`."""
    found: Tensor = _LIF.apply(z, neuron)  # type: ignore[no-untyped-call]
    return found
