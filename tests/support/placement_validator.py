"""Checks a placement file neuron by neuron, knowing nothing of how the mapper keeps its books.

Everything is recomputed from the graph, the profile's constants and the file: matrices of which
neuron reaches which core, in place of the mapper's sums over intervals.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from shared_steps import stages, within, without

from spikegpt_neuro.graph.graph import Projection, SpikingGraph
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.neurons import Embedding

Array = np.ndarray[Any, Any]
TABLES = {"wkv": 257 + 257 + 257, "gate": 257, "layer_norm": 385}


@dataclass
class Recount:
    """What every core of the file uses, and messages per token between all pairs of them.

    ``to_chips``  events per token, each as often as other chips hear it.
    """

    use: dict[str, Array]
    messages: Array
    core_of: dict[str, Array]
    to_chips: float


def recount(graph: SpikingGraph, profile: Profile, file: Path, rates: dict[str, Array]) -> Recount:
    """Read the file and count; asserts that every neuron stands on exactly one core."""
    content = json.loads(file.read_text())
    cores = len(content["sites"])
    core_of, runs = _cores_of_neurons(graph, content)
    inside = _inside(graph, content)
    for source, target in inside.values():
        assert np.array_equal(core_of[source], core_of[target]), f"{source}, {target} torn apart"
    waits = _waits(graph, inside)
    graph = without(graph, set(inside))
    names = ("neurons", "synaptic_memory", "neuron_memory", "input_axons", "output_axons")
    use = {name: np.zeros(cores, np.int64) for name in names}
    messages, between = np.zeros((cores, cores)), 0.0
    chips = np.array([chip for chip, _ in content["sites"]], int)
    for population in graph.populations:
        if population.name in core_of:
            use["neurons"] += np.bincount(core_of[population.name], minlength=cores)
            _add_memory(graph, profile, population.name, core_of, runs, use, waits)
    for population in graph.populations:
        reach = _reach(graph, population.name, core_of, cores)
        use["input_axons"] += reach.sum(axis=0)
        if population.name in core_of:
            here = core_of[population.name]
            sent = _sent(profile, reach, here, chips) + _to_host(graph, population.name, core_of)
            between += float(rates[population.name] @ _to_chips(reach, here, chips))
            np.add.at(use["output_axons"], here, sent)
            np.add.at(messages, here, reach * rates[population.name][:, None])
    embedding = graph.input.program
    if graph.input.name in core_of:  # each token id is an axon from the host
        assert isinstance(embedding, Embedding)
        reached = np.unique(core_of[graph.input.name])
        use["input_axons"][reached] += len(embedding.table)
    np.fill_diagonal(messages, 0.0)
    return Recount(use, messages, core_of, between)


def _to_chips(reach: Array, here: Array, chips: Array) -> Array:
    """(n,) other chips with a core that a neuron reaches."""
    found = np.zeros(len(reach), int)
    for chip in set(chips.tolist()):
        found += reach[:, chips == chip].any(axis=1) & (chips[here] != chip)
    return found


def _sent(profile: Profile, reach: Array, here: Array, chips: Array) -> Array:
    """(n,) messages between cores that an event of a neuron makes."""
    if "support.multicast" not in profile or profile["support.multicast"].value == "core":
        return np.asarray(reach.sum(axis=1))
    at_home = (reach & (chips[here][:, None] == chips)).sum(axis=1)
    return np.asarray(at_home + _to_chips(reach, here, chips))


def _cores_of_neurons(
    graph: SpikingGraph, content: dict[str, Any]
) -> tuple[dict[str, Array], dict[str, list[tuple[int, int, int]]]]:
    """Population -> core of each neuron; population -> (core, start, length) of each piece."""
    away = {graph.input.name} if content["embedding"] == "host" else set()
    away |= {graph.output.name} if content["head"] == "host" else set()
    expected = {p.name: p.size for p in graph.populations if p.name not in away}
    times = {name: np.zeros(size, int) for name, size in expected.items()}
    core_of = {name: np.full(size, -1) for name, size in expected.items()}
    runs: dict[str, list[tuple[int, int, int]]] = {name: [] for name in expected}
    for name, start, stop, core in content["pieces"]:
        times[name][start:stop] += 1
        core_of[name][start:stop] = core
        runs[name].append((core, start, stop - start))
    for name, count in times.items():
        assert (count == 1).all(), f"{name}: a neuron stands on {set(count)} cores"
    return core_of, runs


def _inside(graph: SpikingGraph, content: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Projections within a step."""
    away = {graph.input.name} if content["embedding"] == "host" else set()
    away |= {graph.output.name} if content["head"] == "host" else set()
    return within(graph, away) if content["steps"] == "shared" else {}


def _waits(graph: SpikingGraph, inside: dict[str, tuple[str, str]]) -> dict[str, list[int]]:
    """Population -> steps that each of its inputs waits for the slowest."""
    at = stages(graph, inside)
    waits: dict[str, list[int]] = {p.name: [] for p in graph.populations}
    for q in graph.projections:
        waits[q.target].append(at[q.target] - at[q.source] - (q.name not in inside))
    return waits


def _add_memory(
    graph: SpikingGraph,
    profile: Profile,
    name: str,
    core_of: dict[str, Array],
    runs: dict[str, list[tuple[int, int, int]]],
    use: dict[str, Array],
    waits: dict[str, list[int]],
) -> None:
    word = int(profile["encoding.state_word"].base)
    program = graph.by_name[name].program
    values = [getattr(program, f.name) for f in fields(program)]  # type: ignore[arg-type]
    arrays = sum(isinstance(v, np.ndarray) for v in values)
    scalars = sum(isinstance(v, (int, bool)) for v in values)
    incoming = [q for q in graph.projections if q.target == name]
    rings = sum(1 + wait for wait in waits[name])
    if name == graph.input.name:
        arrays, rings = 0, 1
    per_neuron = word * (len(program.state_names) + arrays + rings)
    for core in set(core_of[name]):
        use["neuron_memory"][core] += word * (scalars + TABLES.get(program.kind, 0))
    for core, start, length in runs[name]:
        use["neuron_memory"][core] += length * per_neuron
        use["synaptic_memory"][core] += sum(
            _lists(graph, profile, q, start, length) for q in incoming
        )
        if name == graph.input.name:
            bits = 1 if program.events.is_binary else 16
            use["synaptic_memory"][core] += len(program.table) * _list(profile, length, bits)  # type: ignore[attr-defined]


def _lists(
    graph: SpikingGraph, profile: Profile, projection: Projection, start: int, length: int
) -> int:
    weights, bits = projection.weights, graph.weight_bits
    if weights is None:
        return length * _list(profile, 1, bits)
    if not projection.is_sparse:
        return int(weights.shape[1]) * _list(profile, length, bits)
    total = 0
    for source in weights[start : start + length].T.tolist():
        if synapses := sum(weight != 0 for weight in source):
            forms = [_list(profile, length, bits)]
            if "encoding.list_index" in profile:
                index = int(profile["encoding.list_index"].base)
                forms.append(_list(profile, synapses, bits, index))
            total += min(forms)
    return total


def _list(profile: Profile, synapses: int, bits: int, index: int = 0) -> int:
    """Bytes of one list, filled up to whole words."""
    widths = profile["support.weight_bits"].value
    assert isinstance(widths, tuple)
    stored = min(b for b in widths if isinstance(b, int) and b >= bits)
    word = int(profile["encoding.list_word"].base)
    size = int(profile["encoding.list_header"].base) + int(np.ceil(synapses * (stored + index) / 8))
    return int(np.ceil(size / word)) * word


def _reach(graph: SpikingGraph, source: str, core_of: dict[str, Array], cores: int) -> Array:
    """(neurons, cores): whether a neuron has at least one synapse on a core."""
    reach = np.zeros((graph.by_name[source].size, cores), bool)
    for projection in graph.projections:
        if projection.source == source and projection.target in core_of:
            targets, weights = core_of[projection.target], projection.weights
            if weights is None:
                reach[np.arange(len(targets)), targets] = True
            elif projection.is_sparse:
                for target, neuron in np.argwhere(weights).tolist():
                    reach[neuron, targets[target]] = True
            else:
                reach[:, np.unique(targets)] = True
    return reach


def _to_host(graph: SpikingGraph, name: str, core_of: dict[str, Array]) -> int:
    read = any(q.source == name and q.target not in core_of for q in graph.projections)
    return int(read or name == graph.output.name)


def problems(graph: SpikingGraph, profile: Profile, file: Path, counted: Recount) -> list[str]:
    """Every limit that does not hold."""
    content = json.loads(file.read_text())
    found = [
        f"{name}: {int(used.max())} of {int(profile[f'core.{name}'].base)}"
        for name, used in counted.use.items()
        if used.max(initial=0) > profile[f"core.{name}"].base
    ]
    if any((used == 0).any() for name, used in counted.use.items() if name == "neurons"):
        found.append("a core without neurons")
    sites = [tuple(site) for site in content["sites"]]
    if len(set(sites)) != len(sites):
        found.append("two cores in one place")
    chips = int(profile["system.chips"].base)
    usable = int(profile["chip.usable_cores"].base)
    if any(not (0 <= chip < chips and 0 <= core < usable) for chip, core in sites):
        found.append("a core that the system does not have")
    for name, cores in counted.core_of.items():
        if graph.by_name[name].program.population_wide and len(set(cores)) != 1:
            found.append(f"{name} is torn apart")
    return found


def hops(profile: Profile, a: tuple[int, int], b: tuple[int, int]) -> float:
    """Weighted hops between two (chip, core)."""
    rows, columns = profile["chip.tile_rows"].base, profile["chip.tile_columns"].base
    per_tile, stack = profile["chip.cores_per_tile"].base, profile["system.chip_rows"].base

    def stand(site: tuple[int, int]) -> tuple[float, float, float, float]:
        chip, core = site
        X, Y = chip // stack, chip % stack
        if X % 2:
            Y = stack - 1 - Y
        tile = core // per_tile
        return X * columns + tile // rows, Y * rows + tile % rows, X, Y

    x, y, X, Y = (abs(p - q) for p, q in zip(stand(a), stand(b), strict=True))
    return float(x + y + profile["system.chip_crossing"].base * (X + Y))


def cost(profile: Profile, sites: list[tuple[int, int]], messages: Array) -> float:
    """Messages times hops over all pairs of cores."""
    pairs = np.argwhere(messages > 0).tolist()
    return sum(float(messages[a, b]) * hops(profile, sites[a], sites[b]) for a, b in pairs)
