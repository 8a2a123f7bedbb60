"""Energy events and their categories stand in one table, and everything takes them from there."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path

import numpy as np

from spikegpt_neuro.backends.loihi.comparison import COUNTED
from spikegpt_neuro.energy import pricing, record
from spikegpt_neuro.energy.events import HardwareEvents
from spikegpt_neuro.energy.hardware import Accounts
from spikegpt_neuro.hardware.events import CATEGORIES, EVENTS
from spikegpt_neuro.hardware.machine import (
    BETWEEN_CHIPS,
    INTERVALS,
    NEEDED,
    OPTIONAL,
    Latencies,
)
from spikegpt_neuro.hardware.mesh import Mesh
from spikegpt_neuro.hardware.profile import load_profile
from spikegpt_neuro.hardware.schema import SPECS
from spikegpt_neuro.hardware.topology import Topology
from spikegpt_neuro.mapping.requirements import workload
from spikegpt_neuro.mapping.routes import routes_of, with_one_token_id
from spikegpt_neuro.reports import cost

from energy_example import example_graph, example_placement
from places import ROOT

NAMES = [event.name for event in EVENTS]
TABLE = ROOT / "spikegpt_neuro" / "hardware" / "events.py"


def test_the_table_is_in_order() -> None:
    assert len(set(NAMES)) == len(NAMES)
    categories = [category.name for category in CATEGORIES]
    assert {event.category for event in EVENTS} == {*categories} - {"static"}
    assert len({category.colour for category in CATEGORIES}) == len(categories)
    assert all(category.label for category in CATEGORIES)
    assert all(event.unit and event.meaning for event in EVENTS)


def test_counts_have_a_field_for_every_row() -> None:
    assert [field.name for field in fields(HardwareEvents)] == NAMES
    counts = HardwareEvents(**{name: k for k, name in enumerate(NAMES)})
    for k, name in enumerate(NAMES):
        assert getattr(HardwareEvents(), name) == 0
        assert getattr(counts + counts, name) == 2 * k


def test_prices_and_charts_cover_every_row() -> None:
    assert {event.name: event.category for event in EVENTS} == pricing.CATEGORY_OF
    assert [category.name for category in CATEGORIES] == [*record.CATEGORIES]
    assert [c.name for c in CATEGORIES if c.is_shared] == [*record.SHARED]
    assert [*cost.COLOURS] == [*cost.LABELS] == [*record.CATEGORIES]
    assert set(COUNTED.values()) <= set(NAMES)


def test_profiles_may_give_a_constant_for_every_row() -> None:
    for event in EVENTS:
        assert SPECS[event.key].meaning == event.meaning
        assert (event.latency in SPECS) == (event.time != "none")
        assert (f"latency.{event.name}" in SPECS) == (event.latency is not None)


def test_the_simulator_has_a_latency_for_every_row_that_takes_time() -> None:
    timed = [event.name for event in EVENTS if event.time != "none"]
    assert [field.name for field in fields(Latencies)] == [*timed, *INTERVALS]
    assert {*NEEDED, *OPTIONAL, *BETWEEN_CHIPS} == set(timed)
    resting = {key for key in (*pricing.TIMES, *pricing.TIMES_BETWEEN_CHIPS) if "latency" in key}
    assert {f"latency.{name}" for name in timed} <= resting


def test_every_row_is_counted() -> None:
    """Routes of one placement count each event: what has no count would be 0 in silence."""
    graph, profile = example_graph(), load_profile("loihi2")
    placement = example_placement(graph, profile)
    load = with_one_token_id(workload(graph, profile, placement.embedding, placement.head))
    mesh = Mesh.of(Topology.of(profile, placement.chips), placement.slots)
    routes = routes_of(load, placement.pieces, mesh.cores)
    counted = Accounts.of(graph, load, routes, mesh).sums(
        np.ones(len(routes.start), np.int64), np.ones(len(routes.sources), np.int64), steps=1
    )
    assert set(counted) == set(NAMES)


def _listed(file: Path) -> list[set[str]]:
    """Names of events in each list, tuple, set, mapping to constants and class body of a file."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            words = node.elts
        elif isinstance(node, ast.Dict) and all(isinstance(v, ast.Constant) for v in node.values):
            words = [key for key in node.keys if key is not None]
        elif isinstance(node, ast.ClassDef):
            targets = (n.target for n in node.body if isinstance(n, ast.AnnAssign))
            words = [ast.Constant(t.id) for t in targets if isinstance(t, ast.Name)]
        else:
            continue
        values = {w.value for w in words if isinstance(w, ast.Constant)}
        found.append({name for name in NAMES if name in values})
    return found


def test_no_other_module_lists_the_events() -> None:
    for folder in ("spikegpt_neuro", "backends", "converters"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            for names in _listed(file) if file != TABLE else ():
                assert len(names) <= len(NAMES) / 2, (file, names)
