r"""How many threads take the next token of a session: as many as are quickest on this machine, now.

Several threads share the large products of a token and wait for each other between them. That pays
where as many cores are idle; on a busy machine the team waits for whoever waits for a core. So

- the first tokens are taken by one thread and by teams in turns, as far as cores are free, and the
  smallest team stays that is nearly as quick as the quickest (:data:`NEARLY`);
- a team is watched: where :data:`WATCHED` tokens took it as long as they took one thread, or one of
  them took far too long (:data:`STALLED`), one thread goes on alone;
- after a rest, twice as long each time that it changes nothing, teams are tried again.

No integer depends on it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

from spikegpt_neuro.arithmetic.threads import free_cores

MOST = 16
"""Threads that are worth a try: memory is busy long before."""
SETTLING = 2
"""First tokens, which find nothing in the caches."""
ROUNDS = 3
NEARLY = 1.1
HOPELESS = 1.5
"""A team that takes so many times as long as one thread is not tried again in the same trial."""
WATCHED = 16
STALLED = 4
"""So many times as long as one thread: somebody waited for a core."""
REST, LONGEST_REST = 64, 4096


def team_sizes(most: int) -> tuple[int, ...]:
    """1, 2, 4 ... up to ``most``, and ``most`` itself.

    >>> team_sizes(6)
    (1, 2, 4, 6)
    """
    powers = [1 << k for k in range(most.bit_length()) if 1 << k < most]
    return (*powers, most)


class Pace:
    """Asked for the ``threads`` of each token, and told how many seconds it :meth:`took`."""

    def __init__(self, most: int) -> None:
        self._sizes = team_sizes(most)
        self._rest = REST
        self._alone = float("inf")  # seconds that one thread took
        self._seconds = 0.0
        self._plan = self._turns()
        self.threads = next(self._plan)

    def took(self, seconds: float) -> None:
        """The last token took ``threads`` threads so long."""
        self._seconds = seconds
        self.threads = next(self._plan)

    def _turns(self) -> Iterator[int]:
        """Threads for one token after the other."""
        for _ in range(SETTLING):
            yield 1
        while True:
            chosen = yield from self._trial()
            if chosen > 1:
                self._rest = REST
                yield from self._watched(chosen)
            for _ in range(self._rest):
                yield 1
            self._rest = min(2 * self._rest, LONGEST_REST)

    def _trial(self) -> Generator[int, None, int]:
        """Every size in turns; returns the one to go on with."""
        best = {1: float("inf")}
        for _ in range(ROUNDS):
            for size in self._sizes:
                hopeless = best.get(size, 0) > HOPELESS * best[1]
                if size == 1 or not (hopeless or size > free_cores()):
                    yield size
                    best[size] = min(best.get(size, float("inf")), self._seconds)
        self._alone = best[1]
        return min(size for size in best if best[size] <= NEARLY * min(best.values()))

    def _watched(self, size: int) -> Iterator[int]:
        """A team, until it is no quicker than one thread was."""
        while True:
            total = 0.0
            for _ in range(WATCHED):
                yield size
                total += self._seconds
                if self._seconds > STALLED * self._alone:
                    return
            if total > WATCHED * self._alone:
                return
