"""A placement: which neurons stand on which core of which chip, and its file.

The file is JSON; it names the graph and the hardware profile by fingerprints, so that a
placement is never used with another model or another chip.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

import numpy as np

from spikegpt_neuro.documents import MEGABYTE, Kind, decode_json, read_bytes
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.files import write_atomically
from spikegpt_neuro.graph.graph import Projection, SpikingGraph
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.hardware.topology import Indices
from spikegpt_neuro.mapping.objectives import STEPS, Objective, Steps
from spikegpt_neuro.mapping.requirements import (
    Where,
    Workload,
    chains_of,
    on_host,
    workload,
)
from spikegpt_neuro.mapping.routes import Piece, Routes, routes_of
from spikegpt_neuro.schedules import Schedule

FORMAT = "spikegpt-neuro placement"
SCHEMA_VERSION = 2
WHERES: tuple[Where, ...] = get_args(Where)
FILE_LIMIT = 512 * MEGABYTE
AGAIN = "place the model again"


@dataclass(frozen=True)
class Placement:
    """Where every neuron stands.

    ``sites``     (chip, core) of each core in use, in the order data flows.
    ``pieces``    neurons on cores; ``Piece.core`` counts in ``sites``.
    ``graph``     fingerprint of the graph's structure (:func:`structure_of`).
    ``artifact``  sha256 of the artifact's config.json, if it was placed from one.
    ``steps``     whether populations that need no exchange share a time step; they then stand on
                  the same cores, neuron by neuron.
    ``objective``, ``schedule``  what it was made for.
    """

    hardware: str
    hardware_sha256: str
    graph: str
    artifact: str | None
    embedding: Where
    head: Where
    seed: int
    chips: int
    usable_cores: int
    sites: tuple[tuple[int, int], ...]
    pieces: tuple[Piece, ...]
    steps: Steps = "separate"
    objective: Objective = "cores"
    schedule: Schedule = "pipelined"

    def __repr__(self) -> str:
        return (
            f"Placement({self.hardware}, chips={self.chips}, cores={len(self.sites)}, "
            f"pieces={len(self.pieces)})"
        )

    @property
    def slots(self) -> Indices:
        """Slot of each core in use; see :mod:`spikegpt_neuro.hardware.topology`."""
        chip, core = np.array(self.sites, np.int64).reshape(-1, 2).T
        return cast(Indices, chip * self.usable_cores + core)

    def workload(self, graph: SpikingGraph, profile: Profile) -> Workload:
        """What of ``graph`` stands on the chips."""
        return workload(graph, profile, self.embedding, self.head, steps=self.steps)

    def routes(self, load: Workload, profile: Profile) -> Routes:
        """Who hears whom of ``load``, over such messages as ``profile`` sends."""
        chips = self.slots // self.usable_cores if profile.reaches_chips else None
        return routes_of(load, self.pieces, len(self.sites), chips)

    def save(self, path: str | Path) -> None:
        """Write the file, whole or not at all."""
        write_atomically(Path(path), json.dumps(_to_json(self), indent=None) + "\n")

    def check(self, graph: SpikingGraph, profile: Profile) -> Placement:
        """Raise :class:`UnsupportedInput` unless it places this graph on this hardware.

        Its neurons stand on cores that exist, every neuron of a population on the chip once, none
        of the host's. Compiled code trusts that, so whatever takes a placement asks here first.
        """
        self.check_origin(graph, profile)
        for problem in _problems(self, graph, profile):
            raise UnsupportedInput(f"the placement: {problem}; {AGAIN}")
        return self

    def check_origin(self, graph: SpikingGraph, profile: Profile) -> Placement:
        """Raise :class:`UnsupportedInput` if it was made for another graph or other hardware.

        All that can be asked of a packing of a part of the graph (a Loihi job's).
        """
        if self.graph != structure_of(graph):
            raise UnsupportedInput("the placement is of another model; place this one again")
        if self.hardware_sha256 != profile.sha256:
            raise UnsupportedInput(
                f"the placement is for {self.hardware}, not for {profile.name} as it is "
                f"now; {AGAIN}"
            )
        return self


def structure_of(graph: SpikingGraph) -> str:
    """Fingerprint of everything that placement depends on: populations, projections, bits."""
    structure = {
        "populations": [(p.name, p.size, p.program.kind) for p in graph.populations],
        "projections": [
            (q.name, q.source, q.target, q.port, q.is_dense, q.shift, *_synapses_of(q))
            for q in graph.projections
        ],
        "weight_bits": graph.weight_bits,
        "vocab_size": graph.shape.vocab_size,
    }
    dead_zones = [p.name for p in graph.populations if p.program.dead_zone is not None]
    structure |= {"dead_zones": dead_zones} if dead_zones else {}
    return hashlib.sha256(json.dumps(structure).encode()).hexdigest()


def _synapses_of(projection: Projection) -> tuple[str, ...]:
    """Fingerprint of which synapses a sparse projection has; nothing where it has all."""
    if projection.sparse is None:
        return ()
    return (hashlib.sha256(projection.sparse.existing.tobytes()).hexdigest(),)


def load_placement(path: str | Path) -> Placement:
    """Read a placement file.

    Raises :class:`UnsupportedInput` naming the file, the place in it and what is wrong there.
    """
    file = Path(path)
    data = read_bytes(file, limit=FILE_LIMIT)
    kind = decode_json(data, Kind, where=str(file), remedy=AGAIN)
    if kind.format != FORMAT:
        raise UnsupportedInput(f"{file} is not a placement; {AGAIN}")
    if kind.schema_version != SCHEMA_VERSION:
        raise UnsupportedInput(
            f"{file}: schema version {kind.schema_version!r}, this version reads "
            f"{SCHEMA_VERSION}; {AGAIN}"
        )
    placement = _from_document(decode_json(data, _Document, where=str(file), remedy=AGAIN))
    for problem in (*_site_problems(placement), *_piece_problems(placement)):
        raise UnsupportedInput(f"{file}: {problem}; {AGAIN}")
    return placement


class _Row(NamedTuple):
    """A piece as the file has it."""

    population: str
    start: int
    stop: int
    core: int


@dataclass(frozen=True)
class _Hardware:
    name: str
    sha256: str


@dataclass(frozen=True)
class _Document:
    """What a placement's file holds, beside its format and schema version."""

    hardware: _Hardware
    graph: str
    artifact: str | None
    embedding: Where
    head: Where
    seed: int
    chips: int
    usable_cores: int
    sites: tuple[tuple[int, int], ...]
    pieces: tuple[_Row, ...]
    steps: Steps
    objective: Objective
    schedule: Schedule


def _to_json(placement: Placement) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "hardware": {"name": placement.hardware, "sha256": placement.hardware_sha256},
        "graph": placement.graph,
        "artifact": placement.artifact,
        "embedding": placement.embedding,
        "head": placement.head,
        "seed": placement.seed,
        "steps": placement.steps,
        "objective": placement.objective,
        "schedule": placement.schedule,
        "chips": placement.chips,
        "usable_cores": placement.usable_cores,
        "sites": [list(site) for site in placement.sites],
        "pieces": [[p.population, p.start, p.stop, p.core] for p in placement.pieces],
    }


def _from_document(document: _Document) -> Placement:
    plain = {f.name: getattr(document, f.name) for f in fields(document)}
    return Placement(
        **plain
        | {
            "hardware": document.hardware.name,
            "hardware_sha256": document.hardware.sha256,
            "pieces": tuple(Piece(*row) for row in document.pieces),
        }
    )


def _problems(placement: Placement, graph: SpikingGraph, profile: Profile) -> Iterator[str]:
    """Why it does not place ``graph`` on ``profile``, the first reason first."""
    for name, value, known in _choices(placement):
        if value not in known:
            yield f"{name} is {value!r}, expected {' or '.join(map(repr, known))}"
            return
    usable, most = profile.count("chip.usable_cores"), profile.count("system.chips")
    if placement.usable_cores != usable:
        yield f"usable_cores is {placement.usable_cores}, chips of {profile.name} have {usable}"
    if not 0 < placement.chips <= most:
        yield f"chips is {placement.chips}, {profile.name} has 1 to {most}"
    yield from _site_problems(placement)
    away = on_host(graph, placement.embedding, placement.head)
    for piece in placement.pieces:
        if piece.population not in graph.by_name:
            yield f"{_neurons(piece)}: the graph has no such population"
        elif piece.population in away:
            yield f"{_neurons(piece)}: are on core {piece.core}, this population is on the host"
    sizes = {p.name: p.size for p in graph.populations if p.name not in away}
    yield from _piece_problems(placement, sizes)
    yield from _torn_chains(placement, graph)


def _choices(placement: Placement) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """What has one of a few values: its name, its value and those."""
    yield "embedding", placement.embedding, WHERES
    yield "head", placement.head, WHERES
    yield "steps", placement.steps, STEPS


def _torn_chains(placement: Placement, graph: SpikingGraph) -> Iterator[str]:
    """Populations that share a step and do not stand together."""
    stands: dict[str, set[tuple[int, int, int]]] = {}
    for piece in placement.pieces:
        stands.setdefault(piece.population, set()).add((piece.start, piece.stop, piece.core))
    for chain in chains_of(graph, placement.steps, placement.embedding, placement.head):
        for name in chain[1:]:
            if stands.get(name) != stands.get(chain[0]):
                yield f"{chain[0]} and {name} share a step, but not their cores"


def _site_problems(placement: Placement) -> Iterator[str]:
    """Cores that do not exist, or are named twice."""
    for chip, core in placement.sites:
        if not (0 <= chip < placement.chips and 0 <= core < placement.usable_cores):
            yield f"core {core} of chip {chip} does not exist"
    if len(set(placement.sites)) != len(placement.sites):
        (chip, core), _ = Counter(placement.sites).most_common(1)[0]
        yield f"a core is used twice: core {core} of chip {chip}"


def _piece_problems(placement: Placement, sizes: Mapping[str, int] | None = None) -> Iterator[str]:
    """Neurons without a core, or with two; up to ``sizes`` of the populations where given.

    After them, cores without a neuron.
    """
    cores, covered = len(placement.sites), dict.fromkeys(sizes or {}, 0)
    for piece in sorted(placement.pieces, key=attrgetter("population", "start")):
        if piece.core not in range(cores):
            yield f"{_neurons(piece)}: on core {piece.core} of {cores}, stands on no core"
        begin = covered.get(piece.population, 0)
        if piece.stop <= piece.start:
            yield f"{_neurons(piece)}: not covered once, the piece is empty"
        elif piece.start != begin:
            wrong = "are on no core" if piece.start > begin else "are on two cores"
            first, last = sorted((begin, piece.start))
            yield f"population {piece.population} is not covered once: {first} to {last} {wrong}"
        covered[piece.population] = piece.stop
    for name, size in (sizes or {}).items():
        if covered[name] < size:
            lost = f"{covered[name]} to {size} are on no core"
            yield f"population {name} is not covered once: {lost}"
        elif covered[name] > size:
            excess = f"{size} to {covered[name]} do not exist"
            yield f"population {name} is not covered once: {excess}, it has {size} neurons"
    used = {piece.core for piece in placement.pieces}
    for number, (chip, core) in enumerate(placement.sites):
        if number not in used:
            yield f"core {core} of chip {chip} is in use without a neuron"


def _neurons(piece: Piece) -> str:
    return f"population {piece.population}, {piece.start} to {piece.stop}"
