"""Threads that time steps of one run at the same time; their results come in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

from spikegpt_neuro.arithmetic.threads import most_threads

Found = TypeVar("Found")

MOST = 8
"""Each step in the making takes memory: more threads than this are not worth theirs."""


class Crew:
    """As many threads as cores, by NUMBA_NUM_THREADS fewer; leaving it waits for those at work."""

    def __init__(self, threads: int | None = None) -> None:
        self.threads = min(most_threads(), MOST) if threads is None else threads
        self._pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None

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

    def each(self, work: Callable[[int], Found], numbers: range, at_once: bool) -> Iterator[Found]:
        """``work`` of each number, in order; ``at_once``: it may run in several threads."""
        if self._pool is None or not at_once:
            yield from map(work, numbers)
            return
        waiting: deque[Future[Found]] = deque()
        for number in numbers:
            waiting.append(self._pool.submit(work, number))
            if len(waiting) > self.threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
