r"""The fastest that a falling token could be on so many chips, however well its work is spread.

Every core that holds a part of a dense unit hears all of its sources: A_u axons, a_u seconds. The
synapses, c_u seconds, its P_u cores share. With the unit that sets the pace of a step,

.. math::
    t \ge \sum_s \big( barrier + a_{u(s)} \big) + \min_P \sum_u c_u / P_u, \qquad
    \sum_u A_u P_u \le B, \quad p_u \le P_u \le \min(cores, size_u)

p_u is the number of cores that hold the unit at least, and B the axons of all cores, on each as
many as some of the sources come to. The least is where P_u = \sqrt{c_u / (\kappa A_u)}, within its
limits. A unit that stands on one core, whole, takes that core's time.

What is left out costs nothing here (links and hops, memory that pieces of a length leave empty,
units that meet on a core, the cores that send), so that no placement is faster than this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.hardware.step_time import step_seconds
from spikegpt_neuro.mapping.requirements import Unit
from spikegpt_neuro.mapping.work import Work, met_by_event

Floats = NDArray[np.float64]
HALVINGS = 100


@dataclass(frozen=True)
class _Pace:
    """What a unit takes in a step, in seconds: on each of its cores, and shared out over them."""

    unit: int
    each: float
    shared: float

    def on(self, pieces: Floats) -> float:
        return self.each + self.shared / float(pieces[self.unit])


def least_seconds(work: Work, profile: Profile, chips: int) -> float:
    """Seconds per token that no placement on ``chips`` chips goes below; see the module."""
    units, cores = work.load.units, chips * profile.count("chip.usable_cores")
    limits, encoding = profile.limits, profile.encoding
    fewest = np.array([-(-u.size // max(1, u.longest(limits, encoding))) for u in units], float)
    most = np.array([1 if u.whole else min(u.size, cores) for u in units], float)
    paces: dict[int, _Pace] = {}
    for stage, pace in _paces(work, units):
        if stage not in paces or pace.on(fewest) > paces[stage].on(fewest):
            paces[stage] = pace
    shared, axons = np.zeros(len(units)), np.array([_axons(u, units) for u in units])
    for pace in paces.values():
        shared[pace.unit] += pace.shared
    sources = {name: n for u in units for name, n in u.dense_sources.items()}
    room = cores * _fullest(sources.values(), limits.input_axons)
    pieces = _balanced(shared, axons, fewest, most, room)
    latencies = work.latencies
    return sum(
        step_seconds(
            paces[stage].on(pieces) if stage in paces else 0.0,
            latencies.barrier,
            latencies.step_minimum,
        )
        for stage in range(1 + max(work.stage(m.name) for u in units for m in u.members))
    )


def _paces(work: Work, units: Sequence[Unit]) -> Iterator[tuple[int, _Pace]]:
    """Stage of a source and what a unit that hears it has to do; and what a whole unit sends."""
    for number, unit in enumerate(units):
        for stage, (each, shared) in _heard(work, unit).items():
            yield stage, _Pace(number, each, shared)
        if unit.whole:
            readers = {m.name: work.load.readers.get(m.name, ()) for m in unit.members}
            sent = {name: int(any(r.sparse is None for r in of)) for name, of in readers.items()}
            made = work.generation(unit, sent) + work.latencies.neuron_access * len(unit.members)
            yield work.stage(unit.name), _Pace(number, made * unit.size, 0.0)


def _heard(work: Work, unit: Unit) -> dict[int, tuple[float, float]]:
    """Stage of sources -> (a, c) of a unit, one message for all that a core hears of a source."""
    latencies, found = work.latencies, dict[int, tuple[float, float]]()

    def add(source: str, each: float, shared: float) -> None:
        stage = work.stage(source)
        before = found.get(stage, (0.0, 0.0))
        found[stage] = (before[0] + each, before[1] + shared)

    for i in unit.inputs:
        met = met_by_event(i, unit.size) * unit.size if i.dense else 1.0
        add(i.source, 0.0, latencies.synaptic_operation * work.events[i.source] * met)
    for source in _by_all(unit):
        add(source, latencies.axon_in * work.events[source], 0.0)
    for source in unit.single_sources:
        add(source, 0.0, latencies.axon_in * work.events[source])
    return found


def _by_all(unit: Unit) -> dict[str, int]:
    """Sources that every core with a part of the unit hears, whatever part, and their neurons."""
    sparse = {i.source for i in unit.inputs if i.sparse is not None}
    return {name: size for name, size in unit.dense_sources.items() if name not in sparse}


def _axons(unit: Unit, units: Sequence[Unit]) -> float:
    """Axons that a core with a part of the unit needs at least; those of a shared source split."""
    return sum(
        size / sum(name in other.dense_sources for other in units)
        for name, size in _by_all(unit).items()
    )


def _fullest(sizes: Iterable[int], limit: int) -> int:
    """The most axons up to ``limit`` that some of ``sizes`` come to."""
    reached, up_to_limit = 1, (1 << (limit + 1)) - 1  # bit n: some of them come to n
    for size in sizes:
        reached |= (reached << size) & up_to_limit
    return reached.bit_length() - 1


def _balanced(shared: Floats, axons: Floats, fewest: Floats, most: Floats, room: float) -> Floats:
    """(U,) cores of each unit in the optimum; those without axons have as many as they can."""

    def at(price: float) -> Floats:
        wanted = np.sqrt(shared / np.maximum(axons * price, 1e-300))
        return np.clip(wanted, np.minimum(fewest, most), most)

    low, high = 1e-300, 1.0  # seconds that an axon is worth
    for _ in range(HALVINGS):
        price = float(np.sqrt(low * high))
        low, high = (low, price) if at(price) @ axons <= room else (price, high)
    return at(low if at(low) @ axons <= room else high)
