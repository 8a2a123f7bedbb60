"""Progress off a terminal: a line now and then, none of what is done soon."""

from __future__ import annotations

import time
from collections.abc import Callable

EVERY_SECONDS = 15.0


class ProgressLines:
    """Called with (done, total); writes a line at most every :data:`EVERY_SECONDS`."""

    def __init__(
        self,
        label: str,
        unit: str,
        write: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._label, self._unit, self._write, self._clock = label, unit, write, clock
        self._begin = self._last = clock()

    def __call__(self, done: int, total: int) -> None:
        now = self._clock()
        if now - self._last < EVERY_SECONDS or done >= total:
            return
        self._last = now
        self._write(
            f"{self._label}: {done:,} of {total:,} {self._unit}{self._remaining(done, total)}"
        )

    def _remaining(self, done: int, total: int) -> str:
        """About how long it will take at the rate so far."""
        if done <= 0:
            return ""
        seconds = (self._clock() - self._begin) / done * (total - done)
        return f", about {duration(seconds)} left"


def duration(seconds: float) -> str:
    """Hours and minutes, or seconds."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes / 60:.1f} h"
