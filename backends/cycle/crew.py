"""Threads that time steps of one run at the same time; their results come in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import TypeVar

from spikegpt_neuro.arithmetic.threads import handed_out, most_threads

Item = TypeVar("Item")
Found = TypeVar("Found")

MOST = 8
"""Each step in the making takes memory: more threads than this are not worth theirs."""
WORTH_SECONDS = 1e-3
"""A step that takes less is not handed to a thread: to hand it over takes a quarter of that."""
LONG_SECONDS, WEIGHT = 5e-3, 0.1
"""Of one step in the mean that decides."""


class Crew:
    """As many threads as cores, by NUMBA_NUM_THREADS fewer; leaving it waits for those at work.

    ``worth``  seconds that a step has to take lately to be handed to a thread.
    """

    def __init__(self, threads: int | None = None, worth: float = WORTH_SECONDS) -> None:
        self.threads = min(most_threads(), MOST) if threads is None else threads
        self._pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None
        self._seconds, self._worth = 0.0, worth

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def each(
        self, work: Callable[[Item], Found], items: Iterable[Item], at_once: bool
    ) -> Iterator[Found]:
        """``work`` of each item, in order; ``at_once``: it may run in several threads."""
        if self._pool is None or not at_once:
            yield from map(work, items)
            return
        left = iter(items)
        timed = partial(_timed, work)
        while True:
            for found, seconds in handed_out(
                self._pool, self.threads, timed, self._while_worth(left)
            ):
                yield self._noted(found, seconds)
            if (item := next(left, None)) is None:
                return
            yield self._noted(*timed(item))

    def _while_worth(self, left: Iterator[Item]) -> Iterator[Item]:
        """The next ones, as long as lately one took long enough."""
        while self._seconds > self._worth and (item := next(left, None)) is not None:
            yield item

    def _noted(self, found: Found, seconds: float) -> Found:
        """Keep in mind how long a step takes; a single long one says little."""
        self._seconds += WEIGHT * (min(seconds, LONG_SECONDS) - self._seconds)
        return found


def _timed(work: Callable[[Item], Found], item: Item) -> tuple[Found, float]:
    begin = time.perf_counter()
    found = work(item)
    return found, time.perf_counter() - begin
