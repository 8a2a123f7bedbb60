"""The calibration text in three parts: one fits, one decides, one confirms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.errors import UnsupportedInput

WINDOW = 256
SHORTEST = 32
PARTS = 3

Windows = tuple[NDArray[np.int64], ...]
"""Token ids, each one window and the token that follows it."""


@dataclass(frozen=True)
class Parts:
    """Disjoint windows, interleaved over the text, so that each part sees all kinds of it.

    ``fit``      where second moments and sensitivities are measured.
    ``decide``   where the loss is measured that decides how far to go.
    ``confirm``  where it is measured once more, having decided nothing.
    """

    fit: Windows
    decide: Windows
    confirm: Windows


def split(tokens: NDArray[np.int64], fit: int, measured: int) -> Parts:
    """``tokens`` (T,) as at most ``fit`` and twice ``measured`` windows, evenly spaced.

    A short text has shorter windows. Raises :class:`UnsupportedInput` for one that is too short
    to hold anything out.
    """
    size = min(WINDOW, len(tokens) // PARTS - 1)
    if size < SHORTEST:
        raise UnsupportedInput(
            f"the calibration text has {len(tokens)} tokens, too few to hold any of them out; "
            f"sparsity needs {PARTS * (SHORTEST + 1)} or more"
        )
    count = min(PARTS * max(fit, measured), len(tokens) // (size + 1))
    starts = np.linspace(0, len(tokens) - size - 1, count).astype(int)
    windows = tuple(tokens[start : start + size + 1] for start in starts)
    fitting, deciding, confirming = (windows[part::PARTS] for part in range(PARTS))
    return Parts(_thin(fitting, fit), _thin(deciding, measured), _thin(confirming, measured))


def _thin(windows: Windows, most: int) -> Windows:
    """At most ``most`` of them, evenly spaced."""
    if len(windows) <= most:
        return windows
    return tuple(windows[i] for i in np.linspace(0, len(windows) - 1, most).astype(int))
