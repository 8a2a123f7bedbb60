"""The example of docs/energy.md: a graph of five populations whose events are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.graph.graph import Population, Projection, SpikingGraph
from spikegpt_neuro.hardware.profile import Profile, load_profile
from spikegpt_neuro.mapping.placement import Placement, structure_of
from spikegpt_neuro.mapping.traffic import Piece
from spikegpt_neuro.model.spikegpt import ModelShape
from spikegpt_neuro.neurons import LIF, Embedding, Requantize, TokenMix
from spikegpt_neuro.running import Run

EVENTS = {
    "embedding": [[1, 0], [1, 1]],
    "mix": [[5, 0], [-3, 7]],
    "current": [[40, 0, -2], [0, 9, 1]],
    "lif": [[1, 0, 0], [0, 1, 1]],
    "logits": [[10, -4], [0, 3]],
}
SITES = {"mix": 0, "current": 0, "lif": 1, "logits": 2}


def _constant(value: int, size: int) -> np.ndarray:
    return np.full(size, value, np.int32)


def example_graph() -> SpikingGraph:
    """Embedding -> token mix -> dense -> LIF -> dense -> logits."""
    one = 1 << 14
    mix = TokenMix(_constant(3000, 2), _constant(one, 2), _constant(14, 2), bits=8)
    current = Requantize(_constant(one, 3), _constant(13, 3), bits=18, quantizer=False)
    logits = Requantize(_constant(one, 2), _constant(14, 2), bits=24, quantizer=False)
    return SpikingGraph(
        shape=ModelShape(layers=1, width=2, vocab_size=2),
        populations=(
            Population("embedding", 2, Embedding(np.array([[1, 0], [1, 1]], np.uint8))),
            Population("mix", 2, mix),
            Population("current", 3, current),
            Population("lif", 3, LIF(du=4095, dv=2048, vth=60)),
            Population("logits", 2, logits),
        ),
        projections=(
            Projection("embedding -> mix", "embedding", "mix", "input"),
            Projection(
                "value", "mix", "current", "input", np.array([[3, 0], [-2, 4], [1, 1]], np.int8)
            ),
            Projection("current -> lif", "current", "lif", "current"),
            Projection(
                "head", "lif", "logits", "input", np.array([[1, 2, 3], [0, -1, 2]], np.int8)
            ),
        ),
        logit_scale=1.0,
    ).validate()


def example_run(graph: SpikingGraph) -> Run:
    """Two tokens with the events of the table."""
    events: dict[str, NDArray[np.integer]] = {}
    for p in graph.populations[:-1]:
        sent = EVENTS[p.name]
        events[p.name] = np.array(sent, np.uint8 if p.events.is_binary else np.int32)
    logits = np.array(EVENTS["logits"], np.int32)
    return Run(np.array([0, 1]), logits, graph.logit_scale, events)


def example_placement(graph: SpikingGraph, profile: Profile) -> Placement:
    """Two cores of one tile and a core of the chip below; the embedding on the host."""
    return Placement(
        hardware=profile.name,
        hardware_sha256=profile.sha256,
        graph=structure_of(graph),
        artifact=None,
        embedding="host",
        head="chip",
        seed=0,
        chips=2,
        usable_cores=profile.count("chip.usable_cores"),
        sites=((0, 0), (0, 1), (1, 20)),
        pieces=tuple(Piece(name, 0, len(EVENTS[name][0]), core) for name, core in SITES.items()),
    )


def profile_with(folder: Path, *lines: str, base: str = "loihi2") -> Profile:
    """A profile that builds on another one; each line is ``section.key = {...}``."""
    sections: dict[str, list[str]] = {}
    for line in lines:
        section, rest = line.split(".", 1)
        sections.setdefault(section, []).append(rest)
    text = ["schema = 1", 'title = "changed"', f'base = "{base}"', "[sources]", 'own = "a test"']
    for section, entries in sections.items():
        text += [f"[{section}]", *entries]
    file = folder / "changed.toml"
    file.write_text("\n".join(text) + "\n")
    return load_profile(file)
