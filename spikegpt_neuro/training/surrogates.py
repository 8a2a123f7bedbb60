r"""Slopes that stand for those of steps, so that what is behind a step can learn.

A LIF fires where :math:`h \ge \theta`. Training gives its step the slope of SpikingJelly's ``ATan``
(upstream's choice; Fang et al., ICCV 2021), at :math:`x = h - \theta`:

.. math:: \sigma'(x) = \frac{\alpha / 2}{1 + (\frac{\pi}{2} \alpha x)^2}, \quad \alpha = 2

An event is sent where its magnitude exceeds a threshold a. With :math:`q = (|x| / a - 1) / w` that
step is stood for by the piecewise quadratic one (Esser et al., PNAS 2016; SpikingJelly's
``PiecewiseQuadratic``), whose slope is a triangle of half width w:

.. math::
    g(q) = \tfrac12 + q - \tfrac12 q |q|, \quad g'(q) = \max(0, 1 - |q|), \quad q \in [-1, 1]

It needs no exponential, and what lies far below the threshold is left alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from spikegpt_neuro.arithmetic.jit import compiled

_F = TypeVar("_F", bound=Callable[..., Any])

ALPHA = 2.0
HALF_WIDTH = 1.0
LEAST_THRESHOLD = 1e-15
"""Stands for 0, by which nothing can be divided; the square of its inverse is a float32."""


def inlined(function: _F) -> _F:
    """A function that kernels are compiled with, for one element."""
    return compiled(function, error_model="numpy", inline="always")


@inlined
def spike_slope(x: Any, one: Any) -> Any:
    """Slope of the firing step at x = h - theta; ``one`` is 1 in the type to compute in."""
    scaled = one * (math.pi / 2 * ALPHA) * x
    return one * (ALPHA / 2) / (one + scaled * scaled)


@inlined
def sent_share(q: Any, one: Any) -> Any:
    """Smooth stand-in for the share of an event that is sent, 0 to 1."""
    half = one / (one + one)
    q = min(one, max(-one, q))
    return half + q - half * q * abs(q)


@inlined
def sent_slope(q: Any, one: Any) -> Any:
    """Its slope in q."""
    return max(one - one, one - abs(q))
