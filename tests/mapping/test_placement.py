"""A placement is held against its graph and its chips before compiled code sees it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spikegpt_neuro as sgn
from spikegpt_neuro.backends.cycle.backend import CycleBackend
from spikegpt_neuro.backends.cycle.simulator import PlacedGraph
from spikegpt_neuro.energy.activity import activity_of
from spikegpt_neuro.energy.hardware import hardware_events
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.hardware.profile import Profile, load_profile
from spikegpt_neuro.mapping.mapper import Mapped, place
from spikegpt_neuro.mapping.placement import Placement
from spikegpt_neuro.mapping.routes import Piece

from shape_graphs import uniform_rates
from toy_graph import VOCABULARY, toy_graph

LOIHI2 = load_profile("loihi2")
GRAPH = toy_graph()


def _torn() -> tuple[Profile, Placement]:
    key = "core.neurons"
    constants = dict(LOIHI2.constants)
    constants[key] = replace(constants[key], value=10, low=None, high=None)
    profile = replace(LOIHI2, constants=constants)
    found = place(GRAPH, profile, uniform_rates(GRAPH))
    assert isinstance(found, Mapped)
    return profile, found.placement


PROFILE, PLACEMENT = _torn()
TOKENS = np.arange(VOCABULARY)
ACTIVITY = activity_of(GRAPH, sgn.run(GRAPH, TOKENS, record="events"))


def operations(placement: Placement) -> int:
    found = hardware_events(GRAPH, ACTIVITY, PROFILE, placement, len(TOKENS))
    return sum(own.synaptic_operation + own.neuron_update for own in found.values())


EXPECTED = operations(PLACEMENT)
NAMES = [*(p.name for p in GRAPH.populations), "nobody", ""]
NUMBERS = st.integers(-3, 24) | st.sampled_from([-(1 << 40), 1 << 31, 1 << 40])


@st.composite
def mutated(draw: st.DrawFn) -> Placement:
    """One piece changed in one field, lost, or there twice."""
    pieces = list(PLACEMENT.pieces)
    at = draw(st.integers(0, len(pieces) - 1))
    kind = draw(st.sampled_from(["population", "start", "stop", "core", "lost", "twice"]))
    if kind == "lost":
        del pieces[at]
    elif kind == "twice":
        pieces.insert(at, pieces[at])
    else:
        value: Any = draw(st.sampled_from(NAMES) if kind == "population" else NUMBERS)
        pieces[at] = replace(pieces[at], **{kind: value})
    return replace(PLACEMENT, pieces=tuple(pieces))


@given(mutated())
@settings(max_examples=150, deadline=None)
def test_a_changed_piece_is_refused_or_harmless(placement: Placement) -> None:
    refusal = refused(placement)
    if refusal is None:
        assert operations(placement) == EXPECTED
        PlacedGraph.of(GRAPH, PROFILE, placement)
        return
    idle = r"core \d+ of chip \d+ is in use without a neuron"
    assert re.match(rf"the placement: (population .*\d+ to .*\d+|{idle})", refusal)
    for use in (operations, lambda p: PlacedGraph.of(GRAPH, PROFILE, p)):
        with pytest.raises(UnsupportedInput):
            use(placement)


def refused(placement: Placement) -> str | None:
    try:
        placement.check(GRAPH, PROFILE)
    except UnsupportedInput as error:
        return str(error)
    return None


FIRST = PLACEMENT.pieces[0]
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "too long": (
        {"pieces": (replace(FIRST, stop=99), *PLACEMENT.pieces[1:])},
        f"population {FIRST.population} is not covered once",
    ),
    "embedding": ({"embedding": "cloud"}, "embedding is 'cloud', expected 'chip' or 'host'"),
    "head": ({"head": None}, "head is None, expected 'chip' or 'host'"),
    "on the host": (
        {"pieces": (*PLACEMENT.pieces, Piece("embedding", 0, 8, 0))},
        "population embedding, 0 to 8: are on core 0, this population is on the host",
    ),
    "unknown": (
        {"pieces": (*PLACEMENT.pieces, Piece("nobody", 0, 8, 0))},
        "population nobody, 0 to 8: the graph has no such population",
    ),
    "cores": ({"usable_cores": 7}, "usable_cores is 7, chips of loihi2 have 128"),
    "chips": ({"chips": 10**6}, "chips is 1000000, loihi2 has 1 to "),
    "twice": ({"sites": PLACEMENT.sites[:1] * 9}, "a core is used twice: core "),
    "site": ({"sites": ((0, 128), *PLACEMENT.sites[1:])}, "core 128 of chip 0 does not exist"),
    "no site": ({"sites": ()}, "stands on no core"),
    "idle core": (
        {"sites": (*PLACEMENT.sites, (0, 127))},
        "core 127 of chip 0 is in use without a neuron",
    ),
    "nothing": ({"pieces": ()}, "is not covered once: 0 to 8 are on no core"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(case: str) -> None:
    change, expected = WRONG[case]
    with pytest.raises(UnsupportedInput, match=re.escape(expected)) as error:
        replace(PLACEMENT, **change).check(GRAPH, PROFILE)
    assert str(error.value).endswith("; place the model again")


def test_the_backend_asks_too(tmp_path: Path) -> None:
    wrong = replace(PLACEMENT, pieces=(*PLACEMENT.pieces[:-1],))
    wrong.save(tmp_path / "placement.json")
    for given_as in (wrong, tmp_path / "placement.json"):
        backend = CycleBackend(PROFILE, placement=given_as)
        with pytest.raises(UnsupportedInput, match="on no core"):
            backend.run(GRAPH, TOKENS)
