"""A text on several threads: its chunks follow each other through the populations.

A population may advance through a chunk as soon as it has advanced through the one before: all that
is needed of that is the state in which it left the population. So every thread takes the next
chunk, and runs behind its predecessor, a population or more later. Nothing is computed in another
way, and the integers are those of one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from spikegpt_neuro.backends.reference.executor import GraphState, StateSink, StateSource
from spikegpt_neuro.neurons.program import State

Advance = Callable[[int, StateSource, StateSink], None]
"""Runs the chunk that begins at a token, from a state to the following one."""


class Handover:
    """States from one chunk to the next; they are taken in the order in which they are put."""

    def __init__(self) -> None:
        self._states: SimpleQueue[tuple[str, State] | None] = SimpleQueue()

    def __setitem__(self, name: str, state: State) -> None:
        self._states.put((name, state))

    def __getitem__(self, name: str) -> State:
        """Waits until the state is there; raises :class:`Left` where it will not come."""
        handed = self._states.get()
        if handed is None or handed[0] != name:
            raise Left(f"no state of {name}: the chunk before failed")
        return handed[1]

    def leave(self) -> None:
        """Nothing more will come."""
        self._states.put(None)


class Left(RuntimeError):
    """Waited for a chunk that failed; its own error is the one to show."""


def in_turn(
    advance: Advance, starts: Sequence[int], initial: GraphState, threads: int
) -> Iterator[int]:
    """Advance through the chunks that begin at ``starts``; gives each back when it is done."""
    if threads == 1 or len(starts) == 1:
        yield from _one_by_one(advance, starts, initial)
        return
    handovers = [Handover() for _ in starts]

    def run(index: int) -> int:
        before = handovers[index - 1] if index else initial
        try:
            advance(starts[index], before, handovers[index])
        finally:
            handovers[index].leave()
        return starts[index]

    with ThreadPoolExecutor(threads) as pool:
        try:
            yield from pool.map(run, range(len(starts)))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _one_by_one(advance: Advance, starts: Sequence[int], state: GraphState) -> Iterator[int]:
    for start in starts:
        following: dict[str, State] = {}
        advance(start, state, following)
        state = following
        yield start
