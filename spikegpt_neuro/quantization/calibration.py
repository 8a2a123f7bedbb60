"""Calibration: what a model's activity looks like, measured on a text in floating point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.model.float_forward import FloatModel
from spikegpt_neuro.model.spikegpt import FloatArray, SpikeGPT

WINDOWS = 8
WINDOW_TOKENS = 256
SAMPLES = 1 << 14
STREAM = ("embedding", "ln0")  # with the residuals, what LayerNorms read


@dataclass
class TapStatistics:
    """Activity at one place of the model, over all windows.

    ``largest``        largest magnitude seen.
    ``samples``        at most ``SAMPLES`` values per window, evenly spaced.
    ``second_moment``  mean square per channel, (n,).

    Of what a LayerNorm reads (:meth:`add_stream`), also

    ``centered``       largest distance from a token's mean over the channels.
    ``spread``         standard deviation over the channels, the median over tokens.
    ``varies``         whether any two tokens differ.
    """

    largest: float = 0.0
    centered: float = 0.0
    varies: bool = False
    samples: list[FloatArray] = field(default_factory=list)
    _spreads: list[FloatArray] = field(default_factory=list)
    _first: FloatArray | None = None
    _squares: NDArray[np.float64] | None = None
    _tokens: int = 0

    def add(self, values: FloatArray) -> None:
        self.largest = float(np.maximum(self.largest, np.abs(values).max()))  # NaN stays NaN
        stride = max(1, values.size // SAMPLES)
        self.samples.append(values.reshape(-1)[::stride].astype(np.float32))
        squares = np.einsum("ti,ti->i", values, values, dtype=np.float64)
        self._squares = squares if self._squares is None else self._squares + squares
        self._tokens += len(values)

    def add_stream(self, values: FloatArray) -> None:
        """Note how far apart the channels of each token, and the tokens, are."""
        distances = values - values.mean(axis=1, keepdims=True, dtype=np.float64)
        self.centered = max(self.centered, float(np.abs(distances).max()))
        self._spreads.append(np.sqrt(np.square(distances).mean(axis=1)))
        self._first = values[0].copy() if self._first is None else self._first
        self.varies = self.varies or bool((values != self._first).any())

    @property
    def spread(self) -> float:
        return float(np.median(np.concatenate(self._spreads)))

    @property
    def second_moment(self) -> NDArray[np.float64]:
        assert self._squares is not None
        return self._squares / self._tokens

    @property
    def values(self) -> FloatArray:
        return np.concatenate(self.samples)


Statistics = Mapping[str, TapStatistics]


def calibrate(
    model: SpikeGPT,
    tokens: NDArray[np.int64],
    progress: Callable[[int, int], None] | None = None,
) -> Statistics:
    """Run ``tokens`` through the float model and gather statistics under its tap names.

    At most ``WINDOWS`` independent windows of ``WINDOW_TOKENS`` tokens, evenly spaced over the
    text, are used. The head is left out: nothing is calibrated after it.
    """
    statistics: dict[str, TapStatistics] = {}

    def observe(name: str, values: FloatArray) -> None:
        tap = statistics.setdefault(name, TapStatistics())
        tap.add(values)
        if name in STREAM or "residual" in name:
            tap.add_stream(values)

    floating = FloatModel(model)
    windows = calibration_windows(tokens)
    for index, window in enumerate(windows):
        floating.forward(window, observe=observe, logits=False)
        if progress is not None:
            progress(index + 1, len(windows))
    for name, tap in statistics.items():
        if not np.isfinite(tap.largest):
            raise UnsupportedInput(f"calibration: {name} is not finite; the checkpoint overflows")
    return statistics


def calibration_windows(tokens: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Evenly spaced windows of the calibration text (the whole text where it is short)."""
    if len(tokens) <= WINDOW_TOKENS:
        return [tokens]
    count = min(WINDOWS, len(tokens) // WINDOW_TOKENS)
    starts = np.linspace(0, len(tokens) - WINDOW_TOKENS, count).astype(int)
    return [tokens[start : start + WINDOW_TOKENS] for start in starts]
