r"""What is asked of a fine-tuning, and how its dials move from the first step to the last.

With progress :math:`s \in [0, 1]` over the run:

- learning rate: up over the first hundredth, then a cosine down to a twentieth;
- weights kept, from their share d before: :math:`1 - P + (d - 1 + P) (1 - s/s_0)^3` up to
  :math:`s_0` = ``settled`` (Zhu and Gupta, arXiv 1710.01878), then held;
- events: from where they are straight down to S / K at ``settled``, then held, so that with the
  share K of the weights that is kept in the end S of the dense operations are left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.quantization import BITS

LAST_RATE = 0.05
WARM_UP = 0.01


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a fine-tuning gives, on a given machine.

    ``synops``         operations over dense to end with, in (0, 1]; None: thresholds stay at 0.
    ``prune``          share of the weights that go, in [0, 1).
    ``weight_bits``, ``activation_bits``  what ``convert`` will be asked for: 4, 6 or 8.
    ``distill``        weight of the divergence from the unchanged model in the loss, 0 to 1.
    ``batch``, ``window``  windows per step, and tokens of each.
    ``learning_rate``  of Adam; thresholds learn ``threshold_rate`` times as fast, as logarithms.
    ``settled``        share of the run after which targets stand still.
    """

    steps: int = 3000
    synops: float | None = None
    prune: float = 0.0
    weight_bits: int = 8
    activation_bits: int = 8
    distill: float = 0.75
    batch: int = 8
    window: int = 256
    learning_rate: float = 2e-3
    threshold_rate: float = 10.0
    settled: float = 0.4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.synops is not None and not 0 < self.synops <= 1:
            raise UsageError(f"synops={self.synops:g}: expected a share above 0 and at most 1")
        if not 0 <= self.prune < 1:
            raise UsageError(
                f"prune={self.prune:g}: expected a share of at least 0 and less than 1"
            )
        if not 0 <= self.distill <= 1:
            raise UsageError(f"distill={self.distill:g}: expected 0 to 1")
        for name in ("weight_bits", "activation_bits"):
            if getattr(self, name) not in BITS:
                raise UsageError(f"{name}={getattr(self, name)}: choose 4, 6 or 8")
        for name, least in {"steps": 1, "batch": 1, "window": 1, "seed": 0}.items():
            if getattr(self, name) < least:
                raise UsageError(f"{name}={getattr(self, name)}: expected at least {least}")
        if not 0 < self.learning_rate <= 1:
            raise UsageError(f"learning_rate={self.learning_rate:g}: expected above 0, at most 1")
        if self.prune and self.steps < 2:
            raise UsageError("prune: what goes is chosen after the first step; steps=2 or more")

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        s = (step + 1) / self.steps
        if s < WARM_UP:
            return self.learning_rate * s / WARM_UP
        cosine = (1 + math.cos(math.pi * (s - WARM_UP) / (1 - WARM_UP))) / 2
        return self.learning_rate * (LAST_RATE + (1 - LAST_RATE) * cosine)

    def target(self, step: int, start: float, density: float = 1.0) -> float:
        """Operations over dense that a step steers to.

        ``start``, ``density``  operations and weights of the unchanged model, over dense.
        """
        first = start / density
        sent = 1.0 if self.synops is None else self.synops / self.kept(self.steps, density)
        end = min(first, sent)
        return (first + (end - first) * self._way(step)) * self.kept(step, density)

    def kept(self, step: int, density: float = 1.0) -> float:
        """Share of the weights that are there at a step, of a model that began with ``density``."""
        end = min(density, 1 - self.prune)
        return end + (density - end) * (1 - self._way(step)) ** 3

    def _way(self, step: int) -> float:
        """0 at the first step, 1 when targets stand still."""
        return min(1.0, step / max(1.0, self.settled * self.steps))
