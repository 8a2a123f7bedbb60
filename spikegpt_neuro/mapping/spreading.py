r"""A model spread over the cores of its chips for speed, instead of packed onto the fewest.

Falling through, the cores that hear a population work while all others wait: a step is the shorter
the more cores share its synapses. What that costs are axons, since every core that holds a part of
a dense projection hears all of its sources. With work c_u and axons A_u of a unit's projections
and B axons on a chip, P_u pieces take

.. math:: \sum_u c_u / P_u \;\text{ least with }\; \sum_u P_u A_u \le B: \qquad
    P_u \propto \sqrt{c_u / A_u}, \qquad \Big(\sum_u \sqrt{c_u A_u}\Big)^2 / B

In the pipeline every stage works at once: pieces go by their work alone. From there, lengths that
fill whole words of memory are tried for one or two kinds of units at a time, annealed for the
fastest packed chip (:mod:`packing`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from spikegpt_neuro.graph.layers import within_block
from spikegpt_neuro.hardware.profile import CoreLimits, Encoding, Profile
from spikegpt_neuro.mapping.chips import Part, divide
from spikegpt_neuro.mapping.packing import Cut, Packed, Slice, pack
from spikegpt_neuro.mapping.requirements import Unit
from spikegpt_neuro.mapping.routes import Piece
from spikegpt_neuro.mapping.work import Work, readers_of, waiting
from spikegpt_neuro.schedules import Schedule

SLICES = 24
"""Into how many parts of a chip's memory a large unit is cut, at least."""
FILLS = (0.98, 0.95, 0.92, 0.89, 0.86)
"""Shares of a chip's memory that are given out at most: the first of which all chips pack."""
FINE = 0.005
"""The last share that is tried is the least that holds the model, to this."""
LONGER = 1.12
"""How much longer than the one before a length that is tried is."""
SHORTEST = 6
"""Fewer neurons do not make a piece where there are more."""
SPREADS = 16
"""Spreads, from the longest pieces to one for every core, of which the fastest is improved."""
TRIES = 4000
"""Packings of a chip that are tried for better lengths; a tenth for a chip like one before."""
PATIENCE = 1500
"""Tries in vain after which the search ends."""
HEAT = 0.1
"""How much longer than the best, as a share, a packing may be in the beginning of the search."""


Behind = Mapping[int, Mapping[int, int]]
"""Unit -> chip behind this one -> pieces of the unit that it holds."""


@dataclass(frozen=True)
class Spread:
    """``pieces`` with ``core`` counted through; ``chip``: that of each core."""

    pieces: tuple[Piece, ...]
    chip: tuple[int, ...]


def spreads(
    work: Work,
    profile: Profile,
    schedule: Schedule,
    chips: int,
    seed: int = 0,
    known: dict[str, int] | None = None,
) -> Iterator[Spread]:
    """The model on ``chips`` chips or fewer, divided where it costs least and evenly; or nothing.

    Each core walks what it holds in an order of its own (by ``seed``): in one order, all would
    speak to the same cores at a time. ``known``: lengths to begin with, and those found.
    """
    spreader = _Spreader(work, profile, schedule, {} if known is None else known)
    divisions = list(spreader.divisions(chips))
    packed = (spreader.packed(parts) for parts in divisions)
    first = next(((k, found) for k, found in enumerate(packed) if found is not None), None)
    if first is None:
        return
    yield _shuffled(first[1], seed)
    # What cuts the model evenly leaves every chip the same room to spread in.
    if first[0] < len(divisions) - 1:
        found = spreader.packed(divisions[-1])
        if found is not None:
            yield _shuffled(found, seed)


def _shuffled(found: Spread, seed: int) -> Spread:
    order = np.random.default_rng(seed).permutation(len(found.pieces)).tolist()
    return Spread(tuple(found.pieces[k] for k in order), found.chip)


class _Spreader:
    """What is known of every unit, and the lengths that a kind of unit had on the chip before."""

    def __init__(
        self, work: Work, profile: Profile, schedule: Schedule, known: dict[str, int]
    ) -> None:
        self.work = work
        self.limits: CoreLimits = profile.limits
        self.encoding: Encoding = profile.encoding
        self.cores = profile.count("chip.usable_cores")
        self.reaches_chips = profile.reaches_chips
        self.falls = schedule == "fall-through"
        self.units = work.units
        self.readers = readers_of(work.load, self.units)
        self.known = known
        self.longest: dict[tuple[str, int], int] = {}
        self.cuts: dict[tuple[int, int, int, int], Cut] = {}

    @cached_property
    def processing(self) -> list[dict[int, tuple[float, float]]]:
        return [self.work.processing(unit) for unit in self.units]

    # Chips.

    def divisions(self, chips: int) -> Iterator[list[list[Part]]]:
        """Ways to divide the model, from those that cut it where it costs least to the evenest."""
        before, least = None, 0.0
        for fill in FILLS:
            parts = self.divided(chips, fill)
            if parts is None:
                least = fill
                break
            if parts != before:
                yield parts
            before = parts
        else:
            return
        most = least + FILLS[0] - FILLS[1]
        while most - least > FINE:
            middle = (least + most) / 2
            least, most = (middle, most) if self.divided(chips, middle) is None else (least, middle)
        parts = self.divided(chips, most)
        if parts is not None and parts != before:
            yield parts

    def divided(self, chips: int, fill: float) -> list[list[Part]] | None:
        """Parts of each chip, whose memory is given out up to ``fill``."""
        capacity = self.cores * self.limits.synaptic_memory * fill
        parts = []
        for number, unit in enumerate(self.units):
            bounds, total, effort = (
                self._bounds(unit, capacity),
                self._bytes(unit),
                self._effort(number),
            )
            for start, stop in pairwise(bounds):
                share = (stop - start) / unit.size
                crossing = self._crossing(number, stop / unit.size)
                parts.append(Part(number, start, stop, total * share, effort * share, crossing))
        room = float(self.cores * self.limits.input_axons)
        if not self.falls:  # seconds of a chip's cores, against the mean of all chips
            room = self.cores * sum(part.effort for part in parts) / chips
        return divide(parts, chips, capacity, room, self.work.latencies.interchip_interval)

    def _bounds(self, unit: Unit, capacity: float) -> list[int]:
        """Where the unit may be cut."""
        count = 1 if unit.whole else int(np.ceil(self._bytes(unit) * SLICES / capacity))
        parts = max(1, min(count, unit.size))
        return [unit.size * k // parts for k in range(parts + 1)]

    def _bytes(self, unit: Unit) -> float:
        longest = max(1, self._longest(unit, 0))
        return unit.synaptic_bytes(longest, self.encoding) * unit.size / longest

    def _effort(self, number: int) -> float:
        unit, received = self.units[number], self.processing[number]
        growing = sum(b for _, b in received.values()) * unit.size
        if self.falls:
            return float(np.sqrt(growing * sum(unit.dense_sources.values())))
        return growing + sum(a for a, _ in received.values()) * self._pieces(number)

    def _crossing(self, number: int, share: float) -> float:
        """Messages per token over a border behind a share of a unit: events times who hears them.

        A core each, or, with what a unit hears densely, all cores of its part behind the border;
        all of them together where one message reaches a chip.
        """
        found = 0.0
        for source, at, readers in self.open[number]:
            before = 1.0 if at < number else share
            behind = {k: 1.0 if k > number else 1.0 - share for k, _ in readers if k >= number}
            reach = [(behind[k], dense, k) for k, dense in readers if behind.get(k)]
            if self.reaches_chips:
                messages = max((1.0 if dense else part for part, dense, _ in reach), default=0.0)
            else:
                messages = sum(part * (self._pieces(k) if dense else 1) for part, dense, k in reach)
            found += before * self.work.events[source] * messages
        return found

    @cached_property
    def open(self) -> list[list[tuple[str, int, list[tuple[int, bool]]]]]:
        """Unit -> sources in it or before that it or one behind hears: their unit, and readers."""
        number = {m.name: k for k, unit in enumerate(self.units) for m in unit.members}
        found: list[list[tuple[str, int, list[tuple[int, bool]]]]] = [[] for _ in self.units]
        for source, readers in self.readers.items():
            if source in number and readers:
                at = number[source]
                for k in range(at, max(k for k, _ in readers) + 1):
                    found[k].append((source, at, readers))
        return found

    def _pieces(self, number: int) -> int:
        """Cores that hold a unit at least."""
        unit = self.units[number]
        return -(-unit.size // max(1, self._longest(unit, 0)))

    # Lengths.

    def _longest(self, unit: Unit, outputs: int) -> int:
        """Most neurons of a unit that an empty core holds."""
        key = (unit.name, outputs)
        if key not in self.longest:
            self.longest[key] = unit.longest(self.limits, self.encoding, outputs)
        return self.longest[key]

    def _lengths(self, unit: Unit) -> list[int]:
        """Lengths that are tried, longest first."""
        longest = self._longest(unit, 0)
        if unit.whole:
            return [unit.size]
        if not unit.is_heavy:
            halves = [unit.size >> k for k in range(unit.size.bit_length())]
            return [n for n in halves if SHORTEST <= n <= longest] or [longest]
        bits, encoding = max(i.bits for i in unit.inputs if i.dense), self.encoding
        found = [longest]
        for words in range(-(-longest * bits // (8 * encoding.list_word)) + 1, 0, -1):
            n = (words * encoding.list_word - encoding.list_header) * 8 // bits
            if n >= 1 and n * LONGER <= found[-1] and (n >= SHORTEST or n * 2 > longest):
                found.append(n)
        return found

    # Packing.

    def packed(self, parts: Sequence[Sequence[Part]]) -> Spread | None:
        """Pack each chip, the last one first: how many cores hear a source is then known."""
        behind: dict[int, dict[int, int]] = {}
        pieces: list[Piece] = []
        chip_of: list[int] = []
        for chip in range(len(parts) - 1, -1, -1):
            found = self._chip(parts[chip], behind)
            if found is None:
                return None
            packed, lengths = found
            used = {core: k for k, core in enumerate(sorted({p[3] for p in packed.pieces}))}
            for k, start, stop, core in packed.pieces:
                number = parts[chip][k].unit
                there = behind.setdefault(number, {})
                there[chip] = there.get(chip, 0) + 1
                here = len(chip_of) + used[core]
                members = self.units[number].members
                pieces += [Piece(member.name, start, stop, here) for member in members]
            self.known.update(lengths)
            chip_of += [chip] * len(used)
        return _in_order(pieces, chip_of, self.work)

    def _chip(self, parts: Sequence[Part], behind: Behind) -> tuple[Packed, dict[str, int]] | None:
        kinds = dict.fromkeys(self.kind(part) for part in parts)
        tried = {kind: self._tried(kind, parts) for kind in kinds}
        search = _Search(self, parts, behind, tried)
        return search.best()

    def kind(self, part: Part) -> str:
        return within_block(self.units[part.unit].name)

    def _tried(self, kind: str, parts: Sequence[Part]) -> list[int]:
        """Lengths that all units of the kind on this chip can have."""
        units = {p.unit for p in parts if self.kind(p) == kind}
        return min((self._lengths(self.units[u]) for u in units), key=lambda found: found[0])

    def slices(
        self,
        parts: Sequence[Part],
        behind: Behind,
        lengths: Mapping[str, int],
    ) -> tuple[list[Slice], int]:
        """Slices of a chip with pieces of ``lengths``, and its number of phases."""
        stages = sorted({s for p in parts for s in self._stages(p.unit)})
        phase = {stage: k if self.falls else 0 for k, stage in enumerate(stages)}
        here: dict[int, int] = {}  # pieces of the units that come later: they are the readers
        found = []
        for part in reversed(parts):
            found.append(self._slice(part, behind, lengths, here, phase))
            here[part.unit] = len(found[-1].cut.start)
        return found[::-1], len(set(phase.values()))

    def _stages(self, number: int) -> Iterator[int]:
        yield from self.processing[number]
        yield self.work.stage(self.units[number].name)

    def _slice(
        self,
        part: Part,
        behind: Behind,
        lengths: Mapping[str, int],
        here: Mapping[int, int],
        phase: Mapping[int, int],
    ) -> Slice:
        unit = self.units[part.unit]
        messages = {m.name: self._messages(m.name, behind, here) for m in unit.members}
        processing: dict[int, tuple[float, float]] = {}
        for stage, (a, b) in self.processing[part.unit].items():
            before = processing.get(phase[stage], (0.0, 0.0))
            processing[phase[stage]] = (before[0] + a, before[1] + b)
        outputs = sum(messages.values())
        length = max(1, min(lengths[self.kind(part)], self._longest(unit, outputs)))
        return Slice(
            unit=unit,
            cut=self._cut(part, length),
            outputs=outputs,
            processing=processing,
            generation=self.work.generation(unit, messages),
            visit=self.work.latencies.neuron_access * len(unit.members),
            phase=phase[self.work.stage(unit.name)],
        )

    def _cut(self, part: Part, length: int) -> Cut:
        key = (part.unit, part.start, part.stop, length)
        if key not in self.cuts:
            unit = self.units[part.unit]
            self.cuts[key] = Cut.of(unit, part.start, part.stop, length, self.encoding)
        return self.cuts[key]

    def _messages(self, source: str, behind: Behind, here: Mapping[int, int]) -> int:
        """Messages that an event makes, at most."""
        found = int(source in self.work.load.to_host)
        chips: set[int] = set()
        for number, dense in self.readers.get(source, ()):
            there = behind.get(number, {})
            if self.reaches_chips:
                chips.update(there)
                found += here.get(number, 0) if dense else int(number in here)
            else:
                found += sum(there.values()) + here.get(number, 0) if dense else 1
        return found + len(chips)


class _Search:
    """Lengths of the kinds of units on one chip: the rule's, and better ones."""

    def __init__(
        self,
        spreader: _Spreader,
        parts: Sequence[Part],
        behind: Behind,
        tried: Mapping[str, list[int]],
    ) -> None:
        self.spreader = spreader
        self.parts, self.behind = parts, behind
        self.tried = tried
        self.seen: dict[tuple[int, ...], Packed] = {}

    def best(self) -> tuple[Packed, dict[str, int]] | None:
        """The fastest packing that was found, and its lengths; None where none has room."""
        choice, tries = self._known(), TRIES // 10
        if choice is None or self._packed(choice).lost:
            spreads = dict.fromkeys(self._ruled(k / (SPREADS - 1)) for k in range(SPREADS))
            choice, tries = min(spreads, key=self._seconds), TRIES
        choice = self._improved(choice, tries)
        packed = self._packed(choice)
        return None if packed.lost else (packed, self._lengths(choice))

    def _known(self) -> tuple[int, ...] | None:
        """The lengths of a chip before, where it had all kinds of this one."""
        known = self.spreader.known
        if not all(known.get(kind) in tried for kind, tried in self.tried.items()):
            return None
        return tuple(tried.index(known[kind]) for kind, tried in self.tried.items())

    def _ruled(self, share: float) -> tuple[int, ...]:
        spreader, chosen = self.spreader, []
        weight = {kind: self._weight(kind) for kind in self.tried}
        most = max(weight.values(), default=1.0) or 1.0
        # Pieces of the kind with most weight go from one to a core each.
        factor = spreader.cores**share / most
        for kind, tried in self.tried.items():
            size = max(spreader.units[p.unit].size for p in self.parts if spreader.kind(p) == kind)
            wanted = size / max(1.0, weight[kind] * factor)
            if not weight[kind]:
                wanted = size / spreader.cores**share
            shorter = [k for k, n in enumerate(tried) if n >= wanted]
            chosen.append(max(shorter, default=0))
        return tuple(chosen)

    def _weight(self, kind: str) -> float:
        """Pieces that the rule gives a kind, against others."""
        spreader = self.spreader
        number = next(p.unit for p in self.parts if spreader.kind(p) == kind)
        unit = spreader.units[number]
        axons = sum(unit.dense_sources.values())
        work = sum(b for _, b in spreader.processing[number].values()) * unit.size
        if not axons:
            return 0.0
        return float(np.sqrt(work / axons)) if spreader.falls else work

    def _improved(self, choice: tuple[int, ...], tries: int) -> tuple[int, ...]:
        """Change the lengths of one or two kinds at a time; annealed, the best is kept."""
        rng = np.random.default_rng(len(choice))
        best, at, since = choice, choice, 0
        now = lowest = self._seconds(choice)
        for k in range(tries):
            moved = self._moved(at, rng)
            seconds = self._seconds(moved)
            heat = HEAT * lowest * (1 - k / tries)
            if seconds <= now or rng.random() < np.exp((now - seconds) / max(heat, 1e-300)):
                at, now = moved, seconds
            since += 1
            if seconds < lowest:
                best, lowest, since = moved, seconds, 0
            if since > PATIENCE:
                break
        return best

    def _moved(self, choice: tuple[int, ...], rng: np.random.Generator) -> tuple[int, ...]:
        moved = list(choice)
        tried = list(self.tried.values())
        for k in rng.integers(0, len(tried), rng.integers(1, 3)):
            step = rng.choice((-2, -1, 1, 2))
            moved[k] = int(np.clip(moved[k] + step, 0, len(tried[k]) - 1))
        return tuple(moved)

    def _seconds(self, choice: tuple[int, ...]) -> float:
        """Of the packed chip; all stages at once make cores wait for each other, too."""
        packed = self._packed(choice)
        # What does not pack is far longer than what does, and the less the nearer it comes.
        return packed.seconds + packed.lost + (0.0 if self.spreader.falls else self._wait(choice))

    def _wait(self, choice: tuple[int, ...]) -> float:
        work, lengths = self.spreader.work, self._lengths(choice)
        rows = [
            (events * (part.stop - part.start) / length, seconds)
            for part in self.parts
            if (length := lengths[self.spreader.kind(part)])
            for events, seconds in work.arrivals(self.spreader.units[part.unit], length)
        ]
        messages, service = np.array(rows or [(0.0, 0.0)]).T
        return waiting(messages, service, self.spreader.cores)

    def _lengths(self, choice: tuple[int, ...]) -> dict[str, int]:
        return {kind: self.tried[kind][k] for kind, k in zip(self.tried, choice, strict=True)}

    def _packed(self, choice: tuple[int, ...]) -> Packed:
        if choice not in self.seen:
            spreader = self.spreader
            lengths = {**spreader.known, **self._lengths(choice)}
            slices, phases = spreader.slices(self.parts, self.behind, lengths)
            self.seen[choice] = pack(
                slices, spreader.cores, phases, spreader.limits, spreader.encoding
            )
        return self.seen[choice]


def _in_order(pieces: Sequence[Piece], chip_of: Sequence[int], work: Work) -> Spread:
    """Cores numbered by chip and by what they hold, in the order data flows."""
    rank = {demand.name: k for k, demand in enumerate(work.load.demands)}
    first: dict[int, tuple[int, int, int]] = {}
    for piece in pieces:
        key = (chip_of[piece.core], rank[piece.population], piece.start)
        first[piece.core] = min(first.get(piece.core, key), key)
    order = {core: k for k, core in enumerate(sorted(first, key=lambda core: first[core]))}
    placed = [Piece(p.population, p.start, p.stop, order[p.core]) for p in pieces]
    placed.sort(key=lambda p: (rank[p.population], p.start))
    chips = [0] * len(order)
    for core, k in order.items():
        chips[k] = chip_of[core]
    return Spread(tuple(placed), tuple(chips))
