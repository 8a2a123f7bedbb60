"""Records as measured runs leave them, made from constants that are known."""

from __future__ import annotations

import numpy as np

from spikegpt_neuro.backends.loihi.comparison import COUNTED
from spikegpt_neuro.energy.record import Estimate, Range

TRUE = np.array([7e-12, 3e-12, 20e-12, 11e-12])  # in the order of COUNTED
NAMES = list(COUNTED.values())


def measured(counts: np.ndarray, joules: float, static: float = 0.5, chips: int = 2) -> Estimate:
    return Estimate(
        estimator="loihi",
        accounting="measured",
        hardware="loihi2",
        tokens=100,
        joules={"static": Range.exactly(static)},
        seconds=Range.exactly(0.25),
        chips=chips,
        cores=3,
        undivided=Range.exactly(joules),
        is_measured=True,
        raw={"counts": dict(zip(COUNTED, map(int, counts), strict=True))},
    )


def measured_records(count: int = 8, noise: float = 0.0) -> list[Estimate]:
    rng = np.random.default_rng(0)
    counts = rng.integers(10**6, 10**9, (count, len(TRUE)))
    energy = counts @ TRUE
    return [
        measured(c, float(e * (1 + noise * rng.standard_normal())), static=0.5 + 0.01 * i)
        for i, (c, e) in enumerate(zip(counts, energy, strict=True))
    ]
