"""Placement files. What is accepted places every neuron once, and the run costs something on it."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from random import Random

from fuzzing.case import Case, Changed
from fuzzing.octets import damaged
from fuzzing.parts import special, tiny_graph
from fuzzing.targets.placed import placement_on, record_on
from fuzzing.values import changed, to_json
from spikegpt_neuro.hardware.profile import load_profile
from spikegpt_neuro.mapping.placement import Placement, load_placement

FILE = "placement.json"


class PlacementFile:
    """The tiny model on Loihi 2."""

    def __init__(self) -> None:
        self._profile = load_profile("loihi2")
        with tempfile.TemporaryDirectory() as place:
            file = Path(place) / FILE
            placement_on(self._profile).save(file)
            self._data = file.read_bytes()

    def bases(self) -> list[Case]:
        return [Case({FILE: self._data})]

    def case(self, rng: Random) -> Case:
        way = rng.randrange(10)
        if way < 2:
            return Case({FILE: damaged(self._data, rng)})
        if way < 9:
            content = json.loads(self._data)
            part = rng.choice(("pieces", "pieces", "sites", "all"))
            if part == "all":
                content = changed(content, rng)
            else:
                content[part] = changed(content[part], rng)
            return Case({FILE: to_json(content)})
        return Case(special({FILE: self._data}, rng))

    def read(self, folder: Path) -> object:
        placement = load_placement(folder / FILE)
        placement.check(tiny_graph(), self._profile)
        _check_every_neuron(placement)
        return placement.pieces, placement.sites, record_on(self._profile, placement).total


def make() -> PlacementFile:
    return PlacementFile()


def _check_every_neuron(placement: Placement) -> None:
    """Raise unless the chip's neurons stand on one core each: counted one by one."""
    found = Counter(
        (piece.population, neuron)
        for piece in placement.pieces
        for neuron in range(piece.start, piece.stop)
    )
    host = {tiny_graph().input.name} if placement.embedding == "host" else set()
    host |= {tiny_graph().output.name} if placement.head == "host" else set()
    expected = {
        (p.name, neuron)
        for p in tiny_graph().populations
        if p.name not in host
        for neuron in range(p.size)
    }
    if set(found) != expected or set(found.values()) != {1}:
        raise Changed("a neuron stands on no core, or on two")
