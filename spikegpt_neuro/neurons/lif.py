r"""Leaky integrate-and-fire: exactly Lava's stock fixed-point LIF (``PyLifModelBitAcc``).

.. math::
    u[t] &= \mathrm{trunc}(u[t-1] (4096 - (du + 1)) / 4096) + 2^6 a[t] \\
    h[t] &= \mathrm{trunc}(v[t-1] (4096 - dv) / 4096) + u[t] \\
    s[t] &= [h[t] > 2^6 \, vth], \qquad v[t] = h[t] (1 - s[t])

trunc rounds toward zero; u wraps and v saturates at 24 bits; the comparison is strict.
SpikeGPT's neuron, h = v/2 + z/2 and s = [h >= 1], is du = 4095 (u holds the input of one
token only), dv = 2048, and a scale of the input at which the real threshold stands for
``64 vth + 1`` units of h.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.fixed_point import ACCUMULATOR_LIMIT, saturate
from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.neurons.program import (
    BINARY,
    EventFormat,
    IntArray,
    Program,
    kernel_of,
    scalar,
)

DECAY_ONE = 1 << 12
CURRENT_SHIFT = 6
MEMBRANE_LIMIT = ACCUMULATOR_LIMIT
CURRENT_LIMIT = (1 << 17) - 1
"""Largest |a| that cannot wrap u where du = 4095."""


@dataclass(frozen=True)
class LIF(Program):
    """``du``, ``dv``: decays in 1/4096; ``vth``: threshold mantissa, one per population."""

    kind: ClassVar[str] = "lif"
    ports: ClassVar[tuple[str, ...]] = ("current",)
    state_names: ClassVar[tuple[str, ...]] = ("u", "v")
    is_stock: ClassVar[bool] = True

    du: int = scalar(0, DECAY_ONE - 1)
    dv: int = scalar(0, DECAY_ONE)
    vth: int = scalar(0, MEMBRANE_LIMIT >> CURRENT_SHIFT)

    @property
    def events(self) -> EventFormat:
        return BINARY


@kernel
def decay_toward_zero(x: int, factor: int) -> int:
    """``trunc(x * factor / 4096)``."""
    magnitude = (abs(x) * factor) >> 12
    return magnitude if x >= 0 else -magnitude


@kernel
def wrap_24_bits(x: int) -> int:
    """Wrap to (-2**23, 2**23], as the stock model does."""
    return ((x + MEMBRANE_LIMIT) & ((1 << 24) - 1)) - MEMBRANE_LIMIT


@kernel
def lif_step(u: int, v: int, a: int, du: int, dv: int, vth: int) -> tuple[int, int, int]:
    """One neuron, one token: (u, v before saturation and reset, spike)."""
    u = wrap_24_bits(decay_toward_zero(u, DECAY_ONE - (du + 1)) + (a << CURRENT_SHIFT))
    h = decay_toward_zero(v, DECAY_ONE - dv) + u
    return u, h, 1 if h > vth << CURRENT_SHIFT else 0


@kernel_of(LIF)
def advance_lif(
    current: IntArray,
    _: IntArray,
    __: IntArray,
    state: IntArray,
    ___: IntArray,
    scalars: NDArray[np.int64],
    events: IntArray,
) -> tuple[int, int]:
    """Step u and v through ``current``; see :func:`kernel_of`. v saturates."""
    u, v = state[0], state[1]
    du, dv, vth = scalars[0], scalars[1], scalars[2]
    saturations = 0
    for t in range(current.shape[0]):
        for i in range(current.shape[1]):
            new_u, h, spike = lif_step(int(u[i]), int(v[i]), int(current[t, i]), du, dv, vth)
            bounded = saturate(h, MEMBRANE_LIMIT)
            saturations += bounded != h
            u[i] = new_u
            v[i] = 0 if spike else bounded
            events[t, i] = spike
    return saturations, 0
