"""How many threads may work at the same time, and work shared out to them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from numba.core import config

Item = TypeVar("Item")
Result = TypeVar("Result")


def most_threads() -> int:
    """Threads that can work at the same time: cores, or fewer by NUMBA_NUM_THREADS."""
    return int(config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


def free_cores() -> int:
    """Cores that nobody but us works on at this moment; all where the system does not say."""
    cores = os.cpu_count() or 1
    try:
        running = Path("/proc/loadavg").read_text().split()[3].partition("/")[0]
        return max(1, cores + 1 - int(running))  # we run, too
    except (OSError, IndexError, ValueError):
        return cores


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[Result]:
    """``work`` of each item on so many threads, in the order of the items; few wait to be taken.

    An error of one, or of who takes the results, cancels those that have not begun.
    """
    if threads == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        try:
            yield from handed_out(pool, threads, work, items)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def handed_out(
    pool: Executor, threads: int, work: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Result]:
    """``work`` of each item on the ``threads`` of a pool, in order; one more than those waits."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > threads:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
