"""Taking turns: several sides measured so that the machine's noise hits all of them alike.

In every round each side gets a slice of the same wall time, one after the other; its rate in
that slice is work done per second. The figure of a side is its **best** slice: other processes
can only slow a side down, so the best slice is the nearest to what the machine can do. Slices
are equal in time, not in work, since a shorter slice would have the better chance of a quiet
moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.running import Progress

Name = TypeVar("Name", bound=Hashable)
Work = Callable[[], float]
"""Does some work and returns how much: tokens, bytes."""

SETTLING_SECONDS = 0.01  # lets the other side's worker threads fall asleep


@dataclass(frozen=True)
class Rates:
    """Work per second of one side, slice by slice."""

    rounds: tuple[float, ...]

    @property
    def best(self) -> float:
        return max(self.rounds)


def take_turns(
    sides: Mapping[Name, Work], *, rounds: int, seconds: float, progress: Progress | None = None
) -> dict[Name, Rates]:
    """Rates of every side over ``rounds`` rounds with slices of ``seconds``.

    A slice begins with one call that is not counted (it brings the side's data back into the
    caches); then as many are counted as fit, at least one. Raises :class:`UsageError` for
    less than one round.
    """
    if rounds < 1:
        raise UsageError(f"rounds {rounds}: at least 1 is needed")
    rates: dict[Name, list[float]] = {name: [] for name in sides}
    for index in range(rounds):
        for position, (name, work) in enumerate(sides.items()):
            rates[name].append(_slice(work, seconds))
            if progress is not None:
                progress(index * len(sides) + position + 1, rounds * len(sides))
    return {name: Rates(tuple(values)) for name, values in rates.items()}


def _slice(work: Work, seconds: float) -> float:
    time.sleep(SETTLING_SECONDS)
    work()
    done, begin = 0.0, time.perf_counter()
    while True:
        done += work()
        elapsed = time.perf_counter() - begin
        if elapsed >= seconds:
            return done / elapsed
