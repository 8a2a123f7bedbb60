r"""Dead zones: below which magnitude an event of each neuron is not worth sending.

An event x_i of a population reaches every target through column i of the weights W. Leaving it
out changes what arrives by W_i x_i, so that its worth is

.. math:: |x_i| \, \lVert W_{:,i} \rVert_2 \le \tau \;\Rightarrow\; \text{silent}

with one tau per population. In units u of the payload q_i, which is rounded, that is
:math:`|q_i| \le zone_i = \mathrm{round}(\tau / (u \lVert W_{:,i} \rVert) - 1/2)`.
(Magnitude alone: TEAL, arXiv 2408.14690; times column norms: WINA, arXiv 2505.19427.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.model.spikegpt import FloatArray
from spikegpt_neuro.neurons.program import EventFormat, IntArray

TINY = 1e-12


@dataclass(frozen=True)
class Payloads:
    """How a population's real values become payloads: real value of one unit, and the format."""

    unit: float
    events: EventFormat

    def of(self, values: FloatArray) -> NDArray[np.float32]:
        """Payloads of real values (T, n), whole numbers."""
        rounded = np.floor(values * np.float32(1 / self.unit) + np.float32(0.5))
        clipped: NDArray[np.float32] = np.clip(rounded, self.events.low, self.events.high)
        return clipped

    def sent(self, values: FloatArray, zones: IntArray) -> NDArray[np.float32]:
        """What arrives of ``values`` (T, n) behind ``zones`` (n,), in real units."""
        payloads = self.of(values)
        payloads[np.abs(payloads) <= zones] = 0
        return payloads * np.float32(self.unit)


def column_norms(matrices: Sequence[FloatArray]) -> NDArray[np.float64]:
    """Euclidean norm (n,) of what one unit of each source changes at all its targets."""
    squares = [np.einsum("ji,ji->i", w, w, dtype=np.float64) for w in matrices]
    norms: NDArray[np.float64] = np.maximum(np.sqrt(np.sum(squares, axis=0)), TINY)
    return norms


def dead_zones(tau: float, norms: NDArray[np.float64], payloads: Payloads) -> IntArray:
    """Thresholds (n,) in payload units for events that are worth ``tau`` or less."""
    return whole(tau / (norms * payloads.unit), payloads.events)


def whole(thresholds: NDArray[np.float64], events: EventFormat) -> IntArray:
    """The dead zones (n,) nearest to real ``thresholds`` (n,), both in units of the payload."""
    return np.clip(np.round(thresholds - 0.5), 0, events.high).astype(np.int32)
