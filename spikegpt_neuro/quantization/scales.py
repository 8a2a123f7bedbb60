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

from spikegpt_neuro.model.spikegpt import FloatArray
from spikegpt_neuro.neurons.program import EventFormat
from spikegpt_neuro.quantization.calibration import TapStatistics

CANDIDATES = np.linspace(1.0, 0.35, 27)
ROWS_AT_ONCE = 4096


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
    integers = np.empty(weights.shape, np.int8)
    scales = np.empty(weights.shape[0], np.float64)
    for start in range(0, len(weights), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        integers[rows], scales[rows] = _quantize_rows(weights[rows], bits, second_moment)
    return integers, scales


def _quantize_rows(
    weights: FloatArray, bits: int, second_moment: NDArray[np.float64]
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    limit = np.float32((1 << (bits - 1)) - 1)
    importance = second_moment.astype(np.float32)
    largest = np.abs(weights).max(axis=1).astype(np.float32)
    unclipped = np.where(largest > 0, largest, 1) / limit
    best_error = np.full(len(weights), np.inf, np.float32)
    scales = unclipped.copy()
    for candidate in CANDIDATES:
        scale = (unclipped * np.float32(candidate))[:, None]
        error = weights - scale * _round_clip(weights / scale, limit)
        squared = np.square(error) @ importance
        better = squared < best_error
        best_error = np.where(better, squared, best_error)
        scales = np.where(better, scale[:, 0], scales)
    return _round_clip(weights / scales[:, None], limit).astype(np.int8), scales.astype(np.float64)


def _round_clip(values: FloatArray, limit: np.float32) -> FloatArray:
    return np.clip(np.rint(values), -limit, limit)
