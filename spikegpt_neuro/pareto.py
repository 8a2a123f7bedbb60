"""Which of several points are worth a look: those that no other one beats."""

from __future__ import annotations

from collections.abc import Sequence


def on_front(pairs: Sequence[tuple[float, float] | None]) -> list[bool]:
    """Which pairs, both better where smaller, no other one dominates; None is on no front."""
    best, least = set[tuple[float, float]](), float("inf")
    for pair in sorted({pair for pair in pairs if pair is not None}):
        if pair[1] < least:
            best.add(pair)
            least = pair[1]
    return [pair in best for pair in pairs]
