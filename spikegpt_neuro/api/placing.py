"""How many cores and chips a model fills, and where each neuron stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.api.inputs import PathLike, Text, tokens_of
from spikegpt_neuro.api.running import run
from spikegpt_neuro.files import sha256_of, write_atomically
from spikegpt_neuro.graph.artifact import CONFIG
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.profile import Profile, load_profile
from spikegpt_neuro.mapping.mapper import (
    Mapped,
    lower_bound_cores,
    measured_rates,
    place_by_activity,
)
from spikegpt_neuro.mapping.picture import chip_contents, draw
from spikegpt_neuro.mapping.placement import Placement
from spikegpt_neuro.mapping.requirements import Where
from spikegpt_neuro.mapping.traffic import Rates
from spikegpt_neuro.results import Result
from spikegpt_neuro.running import Progress
from spikegpt_neuro.vocabulary import Unknown

ACTIVITY_TOKENS = 128


@dataclass(frozen=True, repr=False)
class Placed(Result):
    """A model on a chip, without a violation.

    ``synaptic_memory_used``  bytes. ``utilization``: its share of the cores in use, 0 to 1.
    ``lower_bound_cores``     cores that the dense weights alone would fill.
    ``message_hops_*``        messages x hops per token: as placed, with cores numbered through in
                              the order data flows, and at random over the same chips.
    ``mapped``, ``profile``   everything that is known of the placement, and its hardware.
    """

    hardware: str
    chips: int
    cores: int
    neurons: int
    synapses: int
    synaptic_memory_used: int
    utilization: float
    violations: tuple[str, ...]
    lower_bound_cores: int
    message_hops_per_token: float
    message_hops_plain_order: float
    message_hops_random_order: float
    host_messages_per_token: float
    embedding: Where
    head: Where
    mapped: Mapped = field(repr=False)
    profile: Profile = field(repr=False)

    UNITS: ClassVar[Mapping[str, str]] = {"synaptic_memory_used": "byte"}
    HEADLINE: ClassVar[tuple[str, ...]] = ("hardware", "chips", "cores", "utilization")

    @property
    def placement(self) -> Placement:
        """Where every neuron stands; profiles and the cycle-level simulator take it."""
        return self.mapped.placement

    def save(self, path: PathLike) -> Path:
        """Write the placement as a file (JSON)."""
        self.placement.save(path)
        return Path(path)

    def draw(self, path: PathLike, title: str = "") -> Path:
        """Write a picture of core fill and traffic (SVG)."""
        write_atomically(Path(path), draw(self.mapped, self.profile, title or self.hardware))
        return Path(path)

    def by_chip(self) -> list[dict[str, Any]]:
        """A row per chip: cores in use, neurons, bytes of synaptic memory, and what it holds."""
        mapped, usage = self.mapped, self.mapped.usage
        chip_of = np.array([chip for chip, _ in self.placement.sites])
        rows = []
        for chip in range(mapped.topology.chips):
            here = chip_of == chip
            cores, memory = int(here.sum()), int(usage.synaptic_memory[here].sum())
            rows.append(
                {
                    "chip": chip,
                    "cores": cores,
                    "usable_cores": mapped.topology.usable,
                    "neurons": int(usage.neurons[here].sum()),
                    "synaptic_memory_used": memory,
                    "utilization": memory / max(1, cores * self.profile.limits.synaptic_memory),
                    "holds": chip_contents(self.placement, chip),
                }
            )
        return rows


def place(
    graph: SpikingGraph,
    hw: PathLike | Profile,
    *,
    activity: Text | None = None,
    embedding: Where = "host",
    head: Where = "chip",
    seed: int = 0,
    artifact: PathLike | None = None,
    unknown: Unknown = "error",
    progress: Progress | None = None,
) -> Placed:
    """Place ``graph`` on the cores and chips of ``hw``; the same arguments, the same placement.

    Parameters
    ----------
    hw
        A hardware profile: its name, the path of a file, or the profile itself.
    activity
        A text or token ids whose first 128 tokens' activity weighs the traffic; None: the built-in
        text, or random ids where the graph has no vocabulary.
    embedding, head
        ``"chip"`` or ``"host"``.
    artifact
        The directory that the graph was loaded from: the placement keeps its checksum.

    Raises
    ------
    DoesNotFit
        With every limit that does not hold in ``violations``.

    Examples
    --------
    >>> placed = sgn.place(graph, "loihi2", activity="The return value")
    >>> placed.chips, placed.neurons
    (1, 9696)
    """
    profile = hw if isinstance(hw, Profile) else load_profile(hw)

    def measure() -> Rates:
        tokens = _tokens(graph, activity, unknown, seed)
        return measured_rates(graph, run(graph, tokens, record="events", progress=progress))

    found = place_by_activity(
        graph,
        profile,
        measure,
        embedding=embedding,
        head=head,
        seed=seed,
        artifact=checksum_of(artifact),
    )
    return placed(found, profile)


def checksum_of(artifact: PathLike | None) -> str | None:
    """What a placement keeps of the artifact it was made from."""
    return None if artifact is None else sha256_of(Path(artifact) / CONFIG)


def _tokens(
    graph: SpikingGraph, text: Text | None, unknown: Unknown, seed: int
) -> NDArray[np.int64]:
    if graph.vocabulary is None and text is None:
        rng = np.random.default_rng(seed)
        return rng.integers(0, graph.shape.vocab_size, ACTIVITY_TOKENS)
    return tokens_of(graph, text, unknown=unknown, count=ACTIVITY_TOKENS)


def placed(found: Mapped, profile: Profile) -> Placed:
    """The figures of a placement."""
    used = int(found.usage.synaptic_memory.sum())
    return Placed(
        hardware=profile.name,
        chips=found.topology.chips,
        cores=found.cores,
        neurons=found.load.neurons,
        synapses=found.load.dense_synapses,
        synaptic_memory_used=used,
        utilization=used / (found.cores * profile.limits.synaptic_memory),
        violations=(),
        lower_bound_cores=lower_bound_cores(found.load, profile),
        message_hops_per_token=found.hops.placed,
        message_hops_plain_order=found.hops.plain_order,
        message_hops_random_order=found.hops.random_order,
        host_messages_per_token=found.traffic.from_host + found.traffic.to_host,
        embedding=found.placement.embedding,
        head=found.placement.head,
        mapped=found,
        profile=profile,
    )
