r"""Which part of a graph goes onto the chip, and the ways there and back; no Lava in here.

Every dense projection and every LIF can go onto the chip, as stock processes; the other programs
run on the host. The host therefore makes every event that leaves, and hears every event that is
made: a trip to the chip takes

.. math:: h = to\_chip + 1 + to\_host

time steps, the 1 being that of the synapses and the others those of the adapters
(:class:`Crossing`). Everything else on the host takes none. The stage of a population, in time
steps after the input, follows as in :mod:`spikegpt_neuro.graph.pipeline`: the latest of what it
waits for. With every projection and LIF on the chip and no steps for the adapters, the stages are
those plus one for each LIF, whose current has to pass synapses too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.errors import UnsupportedInput, UsageError
from spikegpt_neuro.graph.graph import Population, Projection, SpikingGraph
from spikegpt_neuro.graph.layers import block_of
from spikegpt_neuro.neurons.lif import LIF
from spikegpt_neuro.neurons.program import PAYLOAD_BITS_MAX, EventFormat

MESSAGE_LIMIT = (1 << (PAYLOAD_BITS_MAX - 1)) - 1
"""Largest sum that one graded message brings back."""

MESSAGE_BITS_STEP = 8
"""Graded messages have 8, 16 or 24 bits."""


@dataclass(frozen=True)
class Crossing:
    """Time steps that an adapter takes: a plain connection of Lava takes none.

    What the adapters of the real system take is not published.
    """

    to_chip: int = 0
    to_host: int = 0

    @property
    def steps(self) -> int:
        """Of a trip to the chip and back, synapses included."""
        return self.to_chip + 1 + self.to_host


@dataclass(frozen=True)
class Trip:
    """One way over the chip: events of ``source`` leave the host, something comes back.

    Through a dense projection, sums come back: those over the sources ``first`` to ``last``
    (exclusive). Into a LIF (``lif``), its spikes do, and ``projection`` is the one-to-one
    connection that brings its current.
    """

    projection: Projection
    source: Population
    target: Population
    first: int
    last: int

    @property
    def lif(self) -> Population | None:
        return None if self.projection.is_dense else self.target

    @property
    def name(self) -> str:
        """Of its processes."""
        if not self.projection.is_dense:
            return self.target.name
        whole = self.last - self.first == self.source.size
        return self.projection.name + ("" if whole else f"[{self.first}:{self.last}]")

    @property
    def leaving_bits(self) -> int:
        """``num_message_bits`` of what leaves; 0: binary spikes."""
        return message_bits(self.source.events)

    @property
    def returning_bits(self) -> int:
        """``num_message_bits`` of what comes back: a sum takes all there are."""
        return PAYLOAD_BITS_MAX if self.lif is None else 0


def message_bits(events: EventFormat) -> int:
    """``num_message_bits`` for events of this format; an unsigned payload needs a sign as well."""
    if events.is_binary:
        return 0
    bits = events.bits + (not events.signed)
    return -(-bits // MESSAGE_BITS_STEP) * MESSAGE_BITS_STEP


@dataclass(frozen=True)
class Deployment:
    """``projections`` and ``lifs``: the names of what is on the chip; the rest is on the host."""

    graph: SpikingGraph
    projections: frozenset[str]
    lifs: frozenset[str]
    crossing: Crossing = Crossing()

    @cached_property
    def trips(self) -> Sequence[Trip]:
        """All ways over the chip, in the order data flows.

        Raises :class:`UnsupportedInput` where what comes back cannot be one 24-bit message.
        """
        return tuple(
            trip
            for population in self.graph.populations
            for projection in self.graph.incoming[population.name]
            for trip in self._trips(projection, population)
        )

    def _trips(self, projection: Projection, target: Population) -> list[Trip]:
        source = self.graph.by_name[projection.source]
        if target.name in self.lifs:
            return [Trip(projection, source, target, 0, source.size)]
        if projection.name not in self.projections:
            return []
        cuts = _cuts(projection, source)
        return [Trip(projection, source, target, *pair) for pair in pairwise(cuts)]

    def arrival(self, projection: Projection) -> int:
        """Time steps after the input at which ``projection`` delivers."""
        return self.stages[projection.source] + self._steps(projection)

    def is_trip(self, projection: Projection) -> bool:
        """Whether its synapses are on the chip."""
        return projection.name in self.projections or projection.target in self.lifs

    def _steps(self, projection: Projection) -> int:
        return self.crossing.steps if self.is_trip(projection) else 0

    @cached_property
    def stages(self) -> Mapping[str, int]:
        """Stage of every population, in time steps after the input."""
        found: dict[str, int] = {}
        for population in self.graph.populations:
            incoming = self.graph.incoming[population.name]
            found[population.name] = max(
                (found[q.source] + self._steps(q) for q in incoming), default=0
            )
        return found

    @property
    def depth(self) -> int:
        """Time steps beyond one per token."""
        return max(self.stages.values())


def _cuts(projection: Projection, source: Population) -> list[int]:
    """Where the sources of a projection are cut so that every sum fits a message."""
    weights = projection.weights
    assert weights is not None
    magnitudes = np.abs(weights.astype(np.int32))
    for count in range(1, source.size + 1):
        cuts = [source.size * k // count for k in range(count + 1)]
        if (
            max(_largest_sum(source, magnitudes[:, slice(*pair)]) for pair in pairwise(cuts))
            <= MESSAGE_LIMIT
        ):
            return cuts
    raise UnsupportedInput(
        f"projection {projection.name}: one weight times a payload of {source.events.bits} bits "
        f"exceeds a message of {PAYLOAD_BITS_MAX} bits; keep it on the host (only_projection=...)"
    )


def _largest_sum(source: Population, magnitudes: NDArray[np.int32]) -> int:
    """Largest magnitude that some sources can add up to; (targets, sources) of their weights."""
    return int(magnitudes.sum(axis=1, dtype=np.int64).max()) * source.events.high


def deploy(
    graph: SpikingGraph,
    layers: str | None = None,
    only: Sequence[str] = (),
    crossing: Crossing = Crossing(),
) -> Deployment:
    """The whole graph, some layers (``"0-3"``, ``"0,2"``), or single projections on the chip.

    Raises :class:`UsageError` for both at once, or for a layer or projection that is not there.
    """
    if layers is not None and only:
        raise UsageError("give layers=... or only_projection=..., not both")
    dense = [q for q in graph.projections if q.is_dense]
    lifs = frozenset(p.name for p in graph.populations if isinstance(p.program, LIF))
    if only:
        return Deployment(graph, _named(only, dense), frozenset(), crossing)
    if layers is None:
        return Deployment(graph, frozenset(q.name for q in dense), lifs, crossing)
    wanted = _layers(layers, graph)
    return Deployment(
        graph,
        frozenset(q.name for q in dense if block_of(q.target) in wanted),
        frozenset(name for name in lifs if block_of(name) in wanted),
        crossing,
    )


def _named(only: Sequence[str], dense: Sequence[Projection]) -> frozenset[str]:
    known = [q.name for q in dense]
    for name in only:
        if name not in known:
            raise UsageError(
                f"no dense projection {name!r}; there are {', '.join(known[:8])}"
                + (f" and {len(known) - 8} more" if len(known) > 8 else "")
            )
    return frozenset(only)


def _layers(text: str, graph: SpikingGraph) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        try:
            numbers = range(int(first), int(last or first) + 1)
        except ValueError:
            raise UsageError(f"layers={text!r}: expected numbers like 0-3 or 0,2") from None
        found |= set(numbers)
    if not found or not found <= set(range(graph.shape.layers)):
        raise UsageError(f"layers={text!r}: the model has the layers 0 to {graph.shape.layers - 1}")
    return found
