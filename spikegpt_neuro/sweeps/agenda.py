"""Which step comes next: one whose needs are met, of the earliest point that is not finished."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush

from spikegpt_neuro.sweeps.folder import Folder
from spikegpt_neuro.sweeps.step import Failure, Outcome, Step


@dataclass
class Agenda:
    """The steps of a sweep that are still to be computed.

    ``computed``  kind -> how many were, in this run.
    """

    folder: Folder
    computed: Counter[str] = field(default_factory=Counter)
    _known: dict[str, Outcome] = field(default_factory=dict)
    _waiting: dict[str, tuple[int, Step]] = field(default_factory=dict)
    _users: dict[str, list[str]] = field(default_factory=dict)
    _missing: dict[str, int] = field(default_factory=dict)
    _ready: list[tuple[int, str]] = field(default_factory=list)
    _done: int = 0

    def add(self, step: Step) -> None:
        """Put a step that a point shows on the agenda, with what it needs and is not there."""
        if step.name in self._waiting or step.name in self._known:
            return
        if (found := self._before(step)) is not None:
            self._known[step.name] = found
            return
        rank = len(self._waiting)
        self._waiting[step.name] = rank, step
        for needed in step.needs.values():
            self.add(needed)
        missing = {n.name for n in step.needs.values() if n.name in self._waiting}
        self._missing[step.name] = len(missing)
        for name in missing:
            self._users.setdefault(name, []).append(step.name)
        if not missing:
            self._settle(step, rank)

    def _before(self, step: Step) -> Outcome | None:
        """What an earlier run found: its outcome, or that of what it needs and that failed."""
        if (found := self.folder.outcome(step)) is not None:
            return found
        earlier = (self.folder.outcome(needed) for needed in step.all if needed is not step)
        return next((each for each in earlier if each is not None and each.error), None)

    def _settle(self, step: Step, rank: int) -> None:
        """All that it needs is known: it can be computed, or fails with what failed."""
        failed = [self._known[n.name] for n in step.needs.values()]
        error = next((outcome.error for outcome in failed if outcome.error is not None), None)
        if error is None:
            heappush(self._ready, (rank, step.name))
        else:
            self._finish(step, Outcome(error=error))

    def next(self) -> Step | None:
        """A step to compute now; None: all that is left waits for others, or nothing is left."""
        if not self._ready:
            return None
        return self._waiting[heappop(self._ready)[1]][1]

    def done(self, step: Step, outcome: Outcome) -> None:
        """A step was computed: keep what it gave."""
        self.folder.keep(step, outcome)
        self.computed[step.kind] += 1
        self._finish(step, outcome)

    def _finish(self, step: Step, outcome: Outcome) -> None:
        self._known[step.name] = outcome
        self._waiting.pop(step.name, None)
        self._done += 1
        for name in self._users.pop(step.name, ()):
            self._missing[name] -= 1
            if self._missing[name] == 0:
                rank, user = self._waiting[name]
                self._settle(user, rank)

    @property
    def progress(self) -> tuple[int, int]:
        """Steps that are done and all of this run."""
        return self._done, self._done + len(self._waiting)

    def outcome(self, step: Step) -> Outcome | None:
        """What a step gave; None where it is still to be computed."""
        return self._known.get(step.name)

    def failures(self, steps: Iterable[Step]) -> Iterator[tuple[Step, Failure]]:
        """Of some steps, those that failed."""
        for step in steps:
            found = self.outcome(step)
            if found is not None and found.error is not None:
                yield step, found.error
