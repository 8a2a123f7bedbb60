r"""A price for operations that makes a model arrive at the share of them that was asked for.

The loss gets :math:`\lambda \, \rho`, where rho is the smooth stand-in for the operations over
dense. A proportional-integral controller moves the logarithm of lambda: with the relative excess
:math:`\epsilon = \rho / target - 1` of a running mean,

.. math::
    I \leftarrow I + k_I \, \mathrm{clip}(\epsilon), \quad
    \lambda = \exp(I + k_P \, \mathrm{clip}(\epsilon))

so that nobody has to guess a penalty. Both clips keep it from running away while a target falls
faster than thresholds can rise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

FIRST_PRICE = 0.05  # nats per token for all dense operations
INTEGRAL, PROPORTIONAL = 0.02, 30.0
INTEGRAL_CLIP, PROPORTIONAL_CLIP = 0.2, 0.1
SMALLEST, LARGEST = -12.0, 6.0  # of the logarithm
SMOOTHING = 0.2
LEAST_TARGET = 1e-12  # of a model that sends nothing


@dataclass(frozen=True)
class Steering:
    """``integral`` I, and the running mean of the operations over dense; None before any step."""

    integral: float = math.log(FIRST_PRICE)
    synops: float | None = None

    def measured(self, synops: float) -> Steering:
        """After a step that did ``synops`` over dense."""
        before = synops if self.synops is None else self.synops
        return replace(self, synops=before + SMOOTHING * (synops - before))

    def toward(self, target: float) -> tuple[Steering, float]:
        """The next controller, and lambda for a step that is to reach ``target``."""
        target = max(target, LEAST_TARGET)
        excess = 0.0 if self.synops is None else self.synops / target - 1
        integral = self.integral + INTEGRAL * _clip(excess, INTEGRAL_CLIP)
        integral = min(LARGEST, max(SMALLEST, integral))
        exponent = integral + PROPORTIONAL * _clip(excess, PROPORTIONAL_CLIP)
        return replace(self, integral=integral), math.exp(min(LARGEST, exponent))


def _clip(value: float, limit: float) -> float:
    return max(-limit, min(limit, value))
