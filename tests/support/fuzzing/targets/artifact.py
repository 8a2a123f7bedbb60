"""Artifacts. Damage must be seen; what is changed with its checksums renewed must still be a graph.

Such a graph means the same in both modes of the reference, and after it is saved once more.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from random import Random

import numpy as np

from fuzzing.case import Case, Changed
from fuzzing.octets import damaged
from fuzzing.parts import Files, lost, special, tiny_graph
from fuzzing.targets.safetensors import joined, split
from fuzzing.values import changed, to_json
from spikegpt_neuro.api.models import describe
from spikegpt_neuro.backends.reference.backend import ReferenceBackend
from spikegpt_neuro.graph import writer
from spikegpt_neuro.graph.artifact import CARD, CONFIG, GRAPH, WEIGHTS, load
from spikegpt_neuro.graph.graph import SpikingGraph

TOKENS = np.array([1, 2, 0, 1])
LARGEST = 1 << 20  # neurons: a graph that asks for more says so honestly, and is slow to run


class Artifact:
    """Weights of 8 bits and of 4."""

    def __init__(self) -> None:
        self._bases = [_saved(tiny_graph(bits)) for bits in (8, 4)]

    def bases(self) -> list[Case]:
        return [Case(files, same=True) for files in self._bases]

    def case(self, rng: Random) -> Case:
        files = dict(rng.choice(self._bases))
        name = rng.choice((CONFIG, GRAPH, WEIGHTS, WEIGHTS, *files))
        content = files[name]
        assert isinstance(content, bytes)
        way = rng.randrange(12)
        if way < 4:
            return Case({**files, name: damaged(content, rng)}, same=name != CARD)
        if way < 7:
            return _renewed({**files, GRAPH: _changed_json(files[GRAPH], rng)})
        if way < 9:
            return _renewed({**files, CONFIG: _changed_json(files[CONFIG], rng)})
        if way < 11:
            return _renewed({**files, WEIGHTS: _changed_weights(files[WEIGHTS], rng)})
        return Case(special(files, rng) if rng.random() < 0.5 else lost(files, rng))

    def read(self, folder: Path) -> object:
        graph = load(folder)
        if sum(p.size for p in graph.populations) > LARGEST:
            return None
        logits = _logits_of_both_modes(graph)
        again = folder / "again.sgn"
        graph.save(str(again))
        if not np.array_equal(_logits_of_both_modes(load(again)), logits):
            raise Changed("saved again, it gives other integers")
        words = None if graph.vocabulary is None else graph.vocabulary.decode([0, 1, 2])
        described = describe(graph).to_dict()
        facts = (
            repr(described),
            graph.shape,
            graph.logit_scale,
            graph.weight_bits,
            graph.activation_bits,
        )
        return (*facts, logits.tobytes(), words, json.dumps(dict(graph.provenance)))


def make() -> Artifact:
    return Artifact()


def _logits_of_both_modes(graph: SpikingGraph) -> np.ndarray:
    tokens = np.minimum(TOKENS, graph.shape.vocab_size - 1)
    backend = ReferenceBackend()
    run = backend.run(graph, tokens, record="events")
    with backend.session(graph) as session:
        stepped = np.stack([session.step(int(token)) for token in tokens])
    if not np.array_equal(run.logits_int, stepped):
        raise Changed("the two modes give different integers")
    return run.logits_int


def _saved(graph: SpikingGraph) -> Files:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "graph.sgn"
        graph.save(str(folder))
        return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def _renewed(files: Files) -> Case:
    """The files with the checksums that ``config.json`` should have for them and for itself."""
    config = files[CONFIG]
    assert isinstance(config, bytes)
    try:
        content = json.loads(config)
        for name in content["files"]:
            known = files.get(name)
            if isinstance(known, bytes):
                content["files"][name] = hashlib.sha256(known).hexdigest()
        if (seal := getattr(writer, "checksum_of", None)) is not None:
            content[writer.CHECKSUM] = seal(content)  # type: ignore[attr-defined,unused-ignore]
        files[CONFIG] = json.dumps(content).encode()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass  # a config that is none has no checksums
    return Case(files)


def _changed_json(content: object, rng: Random) -> bytes:
    assert isinstance(content, bytes)
    return to_json(changed(json.loads(content), rng))


def _changed_weights(content: object, rng: Random) -> bytes:
    assert isinstance(content, bytes)
    header, data = split(content)
    if rng.random() < 0.4:
        return joined(json.dumps(header).encode(), damaged(data, rng))
    return joined(to_json(changed(header, rng)), data)
