r"""Choice of scales: how large one unit of a payload or of a weight is.

Both choices minimise the expected squared error that quantization causes:

.. math::
    \text{events:}\; \min_s \sum_x (x - s \, \mathrm{clip}(\mathrm{round}(x/s)))^2, \qquad
    \text{weights:}\; \min_{s_j} \sum_i E[x_i^2] \, (w_{ji} - s_j q_{ji})^2

over candidate scales at and below the one at which nothing is clipped. Weights have one scale
per output channel; E[x_i^2] is the measured second moment of the channel that feeds them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel
from spikegpt_neuro.model.spikegpt import FloatArray
from spikegpt_neuro.neurons.program import EventFormat
from spikegpt_neuro.quantization.calibration import TapStatistics

CANDIDATES = np.linspace(1.0, 0.35, 27)
HOPELESS = 4.0


def event_scale(tap: TapStatistics, events: EventFormat) -> float:
    """Real value of one payload unit, for the values seen at ``tap``."""
    if tap.largest == 0:
        return 1.0
    values = tap.values.astype(np.float64)
    unclipped = tap.largest / events.high
    errors = [_squared_error(values, unclipped * c, events) for c in CANDIDATES]
    return unclipped * float(CANDIDATES[int(np.argmin(errors))])


def _squared_error(values: FloatArray, scale: float, events: EventFormat) -> float:
    quantized = np.clip(np.floor(values / scale + 0.5), events.low, events.high)
    return float(np.square(values - scale * quantized).sum())


def quantize_weights(
    weights: FloatArray, bits: int, second_moment: NDArray[np.float64]
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Integers (out, in) and the real value of one unit per output channel (out,)."""
    return _quantize_rows(weights, (1 << (bits - 1)) - 1, second_moment, CANDIDATES)


@kernel
def _quantize_rows(
    weights: FloatArray,
    limit: int,
    importance: NDArray[np.float64],
    candidates: NDArray[np.float64],
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    rows, columns = weights.shape
    integers = np.empty((rows, columns), np.int8)
    scales = np.empty(rows, np.float64)
    for j in range(rows):
        largest = 0.0
        for i in range(columns):
            largest = max(largest, abs(weights[j, i]))
        unclipped = largest / limit if largest > 0 else 1.0
        best, best_error = unclipped, np.inf
        for candidate in candidates:
            scale = unclipped * candidate
            inverse = 1 / scale
            error = 0.0
            for i in range(columns):
                quantized = max(-limit, min(limit, np.rint(weights[j, i] * inverse)))
                error += importance[i] * (weights[j, i] - scale * quantized) ** 2
            if error < best_error:
                best, best_error = scale, error
            elif error > HOPELESS * best_error:  # clipping only grows from here
                break
        scales[j] = best
        for i in range(columns):
            integers[j, i] = max(-limit, min(limit, np.rint(weights[j, i] / best)))
    return integers, scales
