r"""Compiled forward and backward passes of what torch would do token by token, or in many passes.

All arrays are (B, T, n), windows by tokens by channels, each window from the initial state; float32
or float64. One thread runs one kernel; the trainer divides the windows among threads.

*Dead zone.* Values x become payloads p of ``unit`` (0: unrounded) and are sent where they exceed
the threshold a of their channel, at least half a unit:

.. math::
    p = \mathrm{clip}(\mathrm{round}(x / unit)), \quad
    out = unit \, p \, [\,|p| > z\,], \quad z = \mathrm{round}(a / unit - \tfrac12)

which is what the integer graph does. Backwards, rounding is passed straight through inside the
range, and the step has the slope of :mod:`spikegpt_neuro.training.surrogates`:

.. math::
    \frac{\partial out}{\partial x} = [sent] + |x| \frac{g'(q)}{w a}, \quad
    \frac{\partial out}{\partial a} = - x |x| \frac{g'(q)}{w a^2}

*WKV* (:mod:`spikegpt_neuro.model.float_forward` has the forward equations). With the numerator N
and denominator D of token t, whose output is y with the gradient g, and the adjoints A, B of a, b:

.. math::
    A_{t-1} = \frac{g_t}{D_t} + e^w A_t, \quad
    B_{t-1} = -\frac{g_t y_t}{D_t} + e^w B_t

    dv_t = \frac{g_t}{D_t} e^{u+k_t} + A_t e^{k_t}, \quad
    dk_t = \frac{g_t}{D_t} (v_t - y_t) e^{u+k_t} + (A_t v_t + B_t) e^{k_t}

A and B share an exponent as a and b do, so that every argument of exp is <= 0.

*LIF.* With :math:`s = [h \ge \theta]`, decay d, gain c and slope :math:`\sigma'`:

.. math::
    \bar h_t = \bar s_t \sigma'_t + \bar v_t (1 - s_t + (v_{reset} - h_t) \sigma'_t), \quad
    \bar v_{t-1} = d \, \bar h_t, \quad \bar z_t = c \, \bar h_t
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from spikegpt_neuro.arithmetic.jit import compiled
from spikegpt_neuro.model.spikegpt import FloatArray
from spikegpt_neuro.training.surrogates import (
    HALF_WIDTH,
    LEAST_THRESHOLD,
    inlined,
    sent_share,
    sent_slope,
    spike_slope,
)

_F = TypeVar("_F", bound=Callable[..., Any])


def _kernel(function: _F) -> _F:
    # sums may be reordered, so that loops over channels and tokens vectorize
    return compiled(function, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})


@inlined
def _exp(x: Any, one: Any) -> Any:
    """e^x of x <= 0, so that loops vectorize: P(x / 128)^128 with Taylor's P.

    To 2e-8 in float64, to 1e-5 in float32; e^-40 stands for everything below.
    """
    y = max(x, one * -40) * (one * (1 / 128))
    p = one * (1 / 5040) + y * (one * (1 / 40320))
    p = one * (1 / 24) + y * (one * (1 / 120) + y * (one * (1 / 720) + y * p))
    p = one + y * (one + y * (one * (1 / 2) + y * (one * (1 / 6) + y * p)))
    for _ in range(7):
        p = p * p
    return p


# The dead zone.


@inlined
def _sent(x: Any, threshold: Any, unit: Any, low: Any, high: Any, one: Any) -> Any:
    """What of the value x goes out."""
    if unit == 0:
        return x if abs(x) > threshold else one - one
    half = one / (one + one)
    zone = min(high, np.floor(max(threshold / unit - half, one - one) + half))
    payload = min(high, max(low, np.floor(x / unit + half)))
    return payload * unit if abs(payload) > zone else one - one


@inlined
def _effective(threshold: Any, unit: Any, one: Any) -> Any:
    """The threshold that a payload really has: at least half a unit."""
    return max(threshold, unit / (one + one), one * LEAST_THRESHOLD)


@_kernel
def send(
    x: FloatArray,
    threshold: FloatArray,
    unit: Any,
    low: Any,
    high: Any,
    out: FloatArray,
    opened: FloatArray,
    shares: FloatArray,
) -> None:
    """``out`` of ``x`` (B, T, n); by channel: events in ``opened``, smooth ones in ``shares``."""
    one = x.dtype.type(1)
    unit, low, high = one * unit, one * low, one * high
    for b in range(x.shape[0]):
        for t in range(x.shape[1]):
            for i in range(x.shape[2]):
                a = _effective(threshold[i], unit, one)
                sent = _sent(x[b, t, i], threshold[i], unit, low, high, one)
                out[b, t, i] = sent
                opened[i] += one if sent != 0 else one - one
                shares[i] += sent_share((abs(x[b, t, i]) / a - one) / (one * HALF_WIDTH), one)


@_kernel
def send_backward(
    x: FloatArray,
    threshold: FloatArray,
    unit: Any,
    low: Any,
    high: Any,
    grad: FloatArray,
    grad_share: FloatArray,
    dx: FloatArray,
    da: FloatArray,
) -> None:
    """``dx`` (B, T, n) and ``da`` (n,) of ``grad`` of out and ``grad_share`` (n,) of the shares."""
    one = x.dtype.type(1)
    unit, low, high = one * unit, one * low, one * high
    for b in range(x.shape[0]):
        for t in range(x.shape[1]):
            for i in range(x.shape[2]):
                value, a = x[b, t, i], _effective(threshold[i], unit, one)
                sent = _sent(value, threshold[i], unit, low, high, one)
                slope = sent_slope((abs(value) / a - one) / (one * HALF_WIDTH), one)
                slope = slope / (one * HALF_WIDTH * a)
                outside = unit != 0 and (value > high * unit or value < low * unit)
                passed = grad[b, t, i] if sent != 0 and not outside else one - one
                step = (grad[b, t, i] * value + grad_share[i]) * slope
                dx[b, t, i] = passed + (step if value >= 0 else -step)
                da[i] -= step * abs(value) / a


# Token mixes and squared ReLUs before a dead zone.


@_kernel
def blend(y: FloatArray, mix: FloatArray, out: FloatArray) -> None:
    """Token mix m y[t] + (1 - m) y[t-1] into ``out`` (B, T, n); ``mix`` is (n,)."""
    one = y.dtype.type(1)
    for b in range(y.shape[0]):
        for i in range(y.shape[2]):
            out[b, 0, i] = y[b, 0, i] * mix[i]
        for t in range(1, y.shape[1]):
            for i in range(y.shape[2]):
                out[b, t, i] = y[b, t, i] * mix[i] + y[b, t - 1, i] * (one - mix[i])


@_kernel
def blend_backward(
    y: FloatArray, mix: FloatArray, grad: FloatArray, dy: FloatArray, dm: FloatArray
) -> None:
    """Add to ``dy`` (B, T, n) and ``dm`` (n,)."""
    one = y.dtype.type(1)
    last = y.shape[1] - 1
    for b in range(y.shape[0]):
        for i in range(y.shape[2]):
            dm[i] += grad[b, 0, i] * y[b, 0, i]
            dy[b, last, i] += grad[b, last, i] * mix[i]
        for t in range(1, y.shape[1]):
            for i in range(y.shape[2]):
                dm[i] += grad[b, t, i] * (y[b, t, i] - y[b, t - 1, i])
                dy[b, t - 1, i] += grad[b, t - 1, i] * mix[i] + grad[b, t, i] * (one - mix[i])


@_kernel
def square(key: FloatArray, out: FloatArray) -> None:
    """max(0, key)^2."""
    zero = key.dtype.type(0)
    for b in range(key.shape[0]):
        for t in range(key.shape[1]):
            for i in range(key.shape[2]):
                k = max(zero, key[b, t, i])
                out[b, t, i] = k * k


@_kernel
def square_backward(key: FloatArray, grad: FloatArray) -> None:
    """Multiply ``grad`` by 2 max(0, key) in place."""
    one = key.dtype.type(1)
    for b in range(key.shape[0]):
        for t in range(key.shape[1]):
            for i in range(key.shape[2]):
                grad[b, t, i] *= (one + one) * max(one - one, key[b, t, i])


# WKV.


@_kernel
def wkv(
    k: FloatArray,
    v: FloatArray,
    w: FloatArray,
    u: FloatArray,
    out: FloatArray,
    numerator: FloatArray,
    denominator: FloatArray,
    exponent: FloatArray,
) -> None:
    """WKV of k, v (B, T, n) into ``out``; the state before each token into the other three."""
    one = k.dtype.type(1)
    a, b = np.empty_like(w), np.empty_like(w)
    p = np.empty_like(w)
    for window in range(k.shape[0]):
        for i in range(k.shape[2]):
            a[i] = b[i] = one - one
            p[i] = one * -1e30
        for t in range(k.shape[1]):
            for i in range(k.shape[2]):
                key, value = k[window, t, i], v[window, t, i]
                numerator[window, t, i] = a[i]
                denominator[window, t, i] = b[i]
                exponent[window, t, i] = p[i]

                excess = u[i] + key - p[i]
                small = _exp(-abs(excess), one)
                old, new = (small, one) if excess > 0 else (one, small)
                out[window, t, i] = (old * a[i] + new * value) / (old * b[i] + new)

                decayed = p[i] + w[i]
                excess = key - decayed
                small = _exp(-abs(excess), one)
                old, new = (small, one) if excess > 0 else (one, small)
                a[i] = old * a[i] + new * value
                b[i] = old * b[i] + new
                p[i] = key if excess > 0 else decayed


@_kernel
def wkv_backward(
    k: FloatArray,
    v: FloatArray,
    w: FloatArray,
    u: FloatArray,
    out: FloatArray,
    numerator: FloatArray,
    denominator: FloatArray,
    exponent: FloatArray,
    grad: FloatArray,
    dk: FloatArray,
    dv: FloatArray,
    dw: FloatArray,
    du: FloatArray,
) -> None:
    """Gradients of :func:`wkv`: ``dk``, ``dv`` (B, T, n) are set, ``dw``, ``du`` (n,) added to.

    ``alpha``, ``beta``: the adjoints A, B times e^reach; -``reach`` is their exponent.
    """
    one = k.dtype.type(1)
    alpha, beta = np.empty_like(w), np.empty_like(w)
    reach = np.empty_like(w)
    for window in range(k.shape[0]):
        for i in range(k.shape[2]):
            alpha[i] = beta[i] = one - one
            reach[i] = one * 1e30
        for t in range(k.shape[1] - 1, -1, -1):
            for i in range(k.shape[2]):
                key, value, y = k[window, t, i], v[window, t, i], out[window, t, i]
                a, b, p = numerator[window, t, i], denominator[window, t, i], exponent[window, t, i]

                excess = u[i] + key - p
                small = _exp(-abs(excess), one)
                old, new = (small, one) if excess > 0 else (one, small)
                top = u[i] + key if excess > 0 else p
                share = grad[window, t, i] / (old * b + new)  # g / D times e^top
                direct = share * new * (value - y)

                after = _exp(key - reach[i], one)
                dv[window, t, i] = share * new + alpha[i] * after
                dk[window, t, i] = direct + (alpha[i] * value + beta[i]) * after
                du[i] += direct
                dw[i] += (alpha[i] * a + beta[i] * b) * _exp(p + w[i] - reach[i], one)

                farther = reach[i] - w[i]
                excess = farther - top
                small = _exp(-abs(excess), one)
                old, new = (small, one) if excess > 0 else (one, small)
                alpha[i] = old * alpha[i] + new * share
                beta[i] = old * beta[i] - new * share * y
                reach[i] = top if excess > 0 else farther


# LIF.


@_kernel
def lif(
    z: FloatArray,
    decay: Any,
    gain: Any,
    threshold: Any,
    reset: Any,
    spikes: FloatArray,
    membrane: FloatArray,
) -> None:
    """Spikes of the currents z (B, T, n), and the membranes h before they are reset."""
    one = z.dtype.type(1)
    decay, gain, threshold, reset = one * decay, one * gain, one * threshold, one * reset
    v = np.empty(z.shape[2], z.dtype)
    for b in range(z.shape[0]):
        v[:] = one - one
        for t in range(z.shape[1]):
            for i in range(z.shape[2]):
                h = decay * v[i] + gain * z[b, t, i]
                fires = h >= threshold
                membrane[b, t, i] = h
                spikes[b, t, i] = one if fires else one - one
                v[i] = reset if fires else h


@_kernel
def lif_backward(
    membrane: FloatArray,
    decay: Any,
    gain: Any,
    threshold: Any,
    reset: Any,
    grad: FloatArray,
    dz: FloatArray,
) -> None:
    """``dz`` (B, T, n) of ``grad`` of the spikes."""
    one = membrane.dtype.type(1)
    decay, gain, threshold, reset = one * decay, one * gain, one * threshold, one * reset
    carried = np.empty(membrane.shape[2], membrane.dtype)
    for b in range(membrane.shape[0]):
        carried[:] = one - one
        for t in range(membrane.shape[1] - 1, -1, -1):
            for i in range(membrane.shape[2]):
                h = membrane[b, t, i]
                slope = spike_slope(h - threshold, one)
                stays = one - one if h >= threshold else one
                back = grad[b, t, i] * slope + carried[i] * (stays + (reset - h) * slope)
                dz[b, t, i] = gain * back
                carried[i] = decay * back
