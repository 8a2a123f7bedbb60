"""A graph cut into a chain of parts: the input side, every block, the output side.

Each part becomes one Lava process. Between two neighbours there is one boundary, which carries
the events of all populations before it that are needed by anyone after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.graph.layers import block_of, layer_of


@dataclass(frozen=True)
class Part:
    """``populations`` that run in one place.

    ``receives``, ``sends``: names of the populations whose events cross the boundary to the
    part before and after, in this order; the last part sends the output's events.
    """

    name: str
    populations: tuple[str, ...]
    receives: tuple[str, ...]
    sends: tuple[str, ...]


def parts(graph: SpikingGraph) -> tuple[Part, ...]:
    """The chain of parts, in the order data flows.

    Raises :class:`UnsupportedInput` where populations of one block do not stand together.
    """
    names = [p.name for p in graph.populations]
    groups = [(key, tuple(group)) for key, group in groupby(names, _sides(names).__getitem__)]
    keys = [key for key, _ in groups]
    if repeated := {key for key in keys if keys.count(key) > 1}:
        raise UnsupportedInput(f"{min(repeated)}: its populations do not stand together")
    boundaries = [(), *(_boundary(graph, groups, index) for index in range(1, len(groups)))]
    boundaries.append((graph.output.name,))
    return tuple(
        Part(key, members, boundaries[index], boundaries[index + 1])
        for index, (key, members) in enumerate(groups)
    )


def _sides(names: list[str]) -> dict[str, str]:
    """Population -> ``input``, ``blocks.N`` or ``output``."""
    blocks = {name: layer_of(name) for name in names if block_of(name) is not None}
    first = min((names.index(name) for name in blocks), default=1)
    return {
        name: blocks.get(name, "input" if index < first else "output")
        for index, name in enumerate(names)
    }


def _boundary(
    graph: SpikingGraph, groups: list[tuple[str, tuple[str, ...]]], index: int
) -> tuple[str, ...]:
    """Populations in the groups before ``index`` whose events are read from there on."""
    after = {name for _, members in groups[index:] for name in members}
    needed = {q.source for q in graph.projections if q.target in after}
    return tuple(p.name for p in graph.populations if p.name in needed - after)
