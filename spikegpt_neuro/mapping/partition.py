"""Populations onto cores: first fit, from the output back to the input, under all limits at once.

Going backwards, every target of a neuron has its core before the neuron looks for one, so that
its output axons are known exactly. A population fills what the last cores have left (a window,
so that neighbours in the network stay neighbours on the chip) and then opens new cores. Several
ways to leave room for the populations without dense synapses are tried; the fewest cores win.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.errors import DoesNotFit
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.mapping.requirements import Unit, Violation, Workload, over
from spikegpt_neuro.mapping.routes import Piece, messages_per_event

SMALLEST_PIECE = 8
"""Fewer neurons without dense synapses do not join a core, unless they are the last ones."""


class ExceedsCore(DoesNotFit):
    """One neuron (or a population that must stay together) exceeds an empty core."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(str(violation), (violation,))
        self.violation = violation


@dataclass(frozen=True)
class Strategy:
    """``reserve``  share of synaptic memory that dense synapses leave to other populations.
    ``window``   how many of the last cores are looked at.
    ``sliver``   smallest part of a new core's neurons for which dense synapses join an old one.
    """  # noqa: D205

    reserve: float
    window: int
    sliver: float


STRATEGIES = tuple(
    Strategy(reserve, window, sliver)
    for reserve in (0.0, 0.04)
    for window in (16, 64)
    for sliver in (0.1, 0.4)
)


@dataclass
class _Core:
    """What a core has left."""

    neurons: int
    synaptic: int
    memory: int
    inputs: int
    outputs: int
    heard: set[str] = field(default_factory=set)  # sources of which it hears every neuron


@dataclass(frozen=True)
class _Seeker:
    """A unit that looks for cores; ``sent`` is the running sum of its output axons."""

    unit: Unit
    sent: NDArray[np.int64]

    def outputs(self, start: int, neurons: int) -> int:
        return int(self.sent[start + neurons] - self.sent[start])


def partition(load: Workload, profile: Profile) -> list[list[Piece]]:
    """Every partition worth comparing: those of the fewest cores, best first known.

    Cores are numbered from 0 in the order data flows. Raises :class:`ExceedsCore`.
    """
    found = [_Packing(load, profile, strategy).pieces() for strategy in STRATEGIES]
    fewest = min(map(cores_of, found))
    unique = {tuple(pieces): pieces for pieces in found if cores_of(pieces) == fewest}
    return sorted(unique.values(), key=len)


def cores_of(pieces: Sequence[Piece]) -> int:
    """Number of cores that a partition takes."""
    return 1 + max((p.core for p in pieces), default=-1)


class _Packing:
    """One pass over the populations; see the module."""

    def __init__(self, load: Workload, profile: Profile, strategy: Strategy) -> None:
        self.load = load
        self.profile = profile
        self.strategy = strategy
        self.cores: list[_Core] = []
        self.placed: dict[str, list[Piece]] = {}

    def pieces(self) -> list[Piece]:
        """Place everything; returns the pieces in the order data flows."""
        for unit in reversed(self.load.units):
            self._place(unit)
        last = len(self.cores) - 1
        return [
            replace(piece, core=last - piece.core)
            for demand in self.load.demands
            for piece in self.placed[demand.name]
        ]

    def _place(self, unit: Unit) -> None:
        members = [messages_per_event(self.load, m.name, self.placed) for m in unit.members]
        seeker = _Seeker(unit, np.concatenate([[0], np.cumsum(np.sum(members, axis=0))]))
        pieces: list[Piece] = []
        start = 0
        for index in self._candidates(unit):
            if start == unit.size:
                break
            start += self._join(seeker, start, index, pieces)
        while start < unit.size:
            start += self._open(seeker, start, pieces)
        for member in unit.members:
            self.placed[member.name] = [replace(p, population=member.name) for p in pieces]

    def _candidates(self, unit: Unit) -> list[int]:
        """Cores in use that are looked at, last first; without dense synapses, fullest first.

        What needs axons more than memory must not use up the axons of a core with much memory.
        """
        newest = range(len(self.cores) - 1, -1, -1)[: self.strategy.window]
        if unit.is_heavy:
            return list(newest)
        return sorted(newest, key=lambda index: self.cores[index].synaptic)

    def _join(self, seeker: _Seeker, start: int, index: int, pieces: list[Piece]) -> int:
        """Put neurons on a core in use if enough of them fit; returns how many."""
        core, left = self.cores[index], seeker.unit.size - start
        fitting = self._fitting(seeker, start, core)
        wanted = left if seeker.unit.whole else min(left, self._sliver(seeker, start))
        if fitting < max(1, wanted):
            return 0
        return self._take(seeker, start, fitting, index, pieces)

    def _sliver(self, seeker: _Seeker, start: int) -> int:
        if not seeker.unit.is_heavy:
            return SMALLEST_PIECE
        return int(self.strategy.sliver * self._fitting(seeker, start, self._empty()))

    def _open(self, seeker: _Seeker, start: int, pieces: list[Piece]) -> int:
        """Put neurons on a new core."""
        core = self._empty()
        fitting = self._fitting(seeker, start, core)
        if fitting < (seeker.unit.size if seeker.unit.whole else 1):
            raise ExceedsCore(self._reason(seeker, start))
        self.cores.append(core)
        return self._take(seeker, start, fitting, len(self.cores) - 1, pieces)

    def _empty(self) -> _Core:
        limits = self.profile.limits
        return _Core(
            limits.neurons,
            limits.synaptic_memory,
            limits.neuron_memory,
            limits.input_axons,
            limits.output_axons,
        )

    def _fitting(self, seeker: _Seeker, start: int, core: _Core) -> int:
        """The largest number of neurons from ``start`` on for which every limit holds."""
        low, high = 0, min(seeker.unit.size - start, core.neurons // len(seeker.unit.members))
        while low < high:
            middle = (low + high + 1) // 2
            if self._holds(seeker, start, middle, core):
                low = middle
            else:
                high = middle - 1
        return low

    def _holds(self, seeker: _Seeker, start: int, neurons: int, core: _Core) -> bool:
        unit = seeker.unit
        if seeker.outputs(start, neurons) > core.outputs:
            return False
        if self._inputs(unit, neurons, core) > core.inputs:
            return False
        if unit.shared_bytes + neurons * unit.neuron_bytes > core.memory:
            return False
        synaptic = core.synaptic
        if unit.is_heavy and neurons > 1 and not unit.whole:  # what cannot be cut takes all
            synaptic -= int(self.strategy.reserve * self.profile.limits.synaptic_memory)
        return unit.synaptic_bytes(neurons, self.profile.encoding, start) <= synaptic

    def _inputs(self, unit: Unit, neurons: int, core: _Core) -> int:
        """Input axons that the core does not have yet, at most.

        One-to-one overlaps, and a sparse list that is empty on the core needs no axon.
        """
        new = sum(size for source, size in unit.dense_sources.items() if source not in core.heard)
        return new + neurons * len(unit.single_sources - core.heard)

    def _take(
        self, seeker: _Seeker, start: int, neurons: int, index: int, pieces: list[Piece]
    ) -> int:
        core, unit = self.cores[index], seeker.unit
        core.neurons -= neurons * len(unit.members)
        core.outputs -= seeker.outputs(start, neurons)
        core.inputs -= self._inputs(unit, neurons, core)
        core.memory -= unit.shared_bytes + neurons * unit.neuron_bytes
        core.synaptic -= unit.synaptic_bytes(neurons, self.profile.encoding, start)
        core.heard |= unit.dense_sources.keys()
        pieces.append(Piece(unit.name, start, start + neurons, index))
        return neurons

    def _reason(self, seeker: _Seeker, start: int) -> Violation:
        """Output axons are the one limit that :func:`requirements.refusals` cannot foresee."""
        unit = seeker.unit
        neurons = unit.size if unit.whole else 1
        what = f"all {neurons} neurons together" if unit.whole else f"one neuron ({start})"
        limit = self.profile.limits.output_axons
        problem = over(what, seeker.outputs(start, neurons), limit, "output axons", self.profile)
        remedy = "fewer weight_bits=... at convert (fewer target cores) or a chip with larger cores"
        heard_by = {r.target for m in unit.members for r in self.load.readers[m.name] if r.dense}
        if self.load.demands[-1].name in heard_by:
            remedy = f"the head on the host (head='host'), {remedy}"
        return Violation(f"population {unit.name}", problem, f"{remedy} would help")
