"""Routes and messages of a step: as the mapper's traffic has them, and as counted by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spikegpt_neuro.backends.cycle.timing.bound import BoundTiming
from spikegpt_neuro.backends.cycle.timing.event_loads import EventLoads
from spikegpt_neuro.backends.cycle.timing.loads import loads
from spikegpt_neuro.backends.cycle.timing.simple import SimpleTiming
from spikegpt_neuro.backends.cycle.traffic.accounts import sent_by_core
from spikegpt_neuro.backends.cycle.traffic.masks import Layout, Masks
from spikegpt_neuro.backends.cycle.traffic.schedule import IDLE, Timetable
from spikegpt_neuro.backends.cycle.traffic.step_messages import NeuronWork, messages_of, reach_of
from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.mesh import HOST
from spikegpt_neuro.hardware.profile import Profile, load_profile
from spikegpt_neuro.mapping.mapper import Mapped, place
from spikegpt_neuro.mapping.placed_machine import machine_of
from spikegpt_neuro.mapping.routes import Routes, routes_of, with_one_token_id
from spikegpt_neuro.schedules import SCHEDULES

from cycle_recount import step_by_hand
from shape_graphs import random_graph, shape_graph, uniform_rates

LOIHI2 = load_profile("loihi2")
places = st.sampled_from(["chip", "host"])


def small_cores(**changes: int) -> Profile:
    """Loihi 2 with cores so small that populations are torn apart."""
    constants = dict(LOIHI2.constants)
    for name, value in ({"core.neurons": 45, "core.synaptic_memory": 1500} | changes).items():
        unit = constants[name].unit.replace("KiB", "byte")
        constants[name] = replace(constants[name], value=value, unit=unit, low=None, high=None)
    return replace(LOIHI2, constants=constants)


def routed(graph: SpikingGraph, found: Mapped, chips: bool = False) -> Routes:
    """``chips``: one message reaches all cores of another chip."""
    sites = np.array([chip for chip, _ in found.placement.sites]) if chips else None
    routes = routes_of(with_one_token_id(found.load), found.placement.pieces, found.cores, sites)
    assert routes.sources == Layout.of(graph).sources
    return routes


def placed_at_random(seed: int, embedding: Any, head: Any) -> tuple[SpikingGraph, Mapped]:
    graph = random_graph(seed)
    rng = np.random.default_rng(seed)
    rates = {p.name: rng.uniform(0.1, 1, p.size) for p in graph.populations}
    profile = small_cores(**{"chip.usable_cores": 4})
    found = place(graph, profile, rates, embedding=embedding, head=head)
    assume(isinstance(found, Mapped))
    assert isinstance(found, Mapped)
    return graph, found


@settings(max_examples=60)
@given(st.integers(0, 10_000), places, places, st.booleans())
def test_messages_of_a_step_are_those_of_every_neuron(
    seed: int, embedding: Any, head: Any, chips: bool
) -> None:
    graph, found = placed_at_random(seed, embedding, head)
    routes, layout = routed(graph, found, chips), Layout.of(graph)
    rng = np.random.default_rng(seed)
    masks = Masks(layout, 3)
    events = []
    for _ in range(5):  # two more than the masks hold
        rows = layout.empty(1)
        events.append({p.name: rng.integers(-1, 2, p.size) for p in graph.populations})
        for name, sent in events[-1].items():
            layout.write(rows, name, sent[None, :])
        masks.push(rows)
    at = rng.choice([IDLE, 2, 3, 4], len(layout.sources))
    at[-1] = at[0]  # a token id comes with its token
    count = len(layout.sources)
    work = NeuronWork(2.0, rng.integers(1, 9, count).astype(float), np.full(count, 3.0))
    messages, counted = messages_of(routes, reach_of(routes), work, masks, at)
    active = {
        p.name: events[at[k]][p.name] for k, p in enumerate(graph.populations) if at[k] != IDLE
    }
    update = {p.name: float(work.update[k]) for k, p in enumerate(graph.populations)}
    by_hand = step_by_hand(graph, found.placement, active, update, 2.0, 3.0, chips)
    made, arrived, arrived_synapses = by_hand
    for core, expected in enumerate(made):
        mine = slice(messages.first[core], messages.first[core + 1])
        ours = zip(
            messages.target[mine].tolist(),
            messages.synapses[mine].tolist(),
            messages.work[mine].tolist(),
            messages.begins[mine].tolist(),
            strict=True,
        )
        assert list(ours) == expected.made
        assert messages.leftover[core] == expected.leftover
    assert messages.first[-1] == messages.count
    sent = sent_by_core(routes, counted)
    np.testing.assert_array_equal(sent, [sum(m[3] for m in core.made) for core in made])
    np.testing.assert_array_equal(messages.arrived, arrived)
    np.testing.assert_array_equal(messages.arrived_synapses, arrived_synapses)
    for k, name in enumerate(routes.sources[:-1]):
        nonzero = np.count_nonzero(active[name]) if name in active else 0
        assert counted[routes.population == k].sum() == (nonzero if k in routes.population else 0)


@settings(max_examples=60)
@given(st.integers(0, 10_000), places, places, st.booleans(), st.integers(1, 5))
def test_sums_over_events_are_sums_over_messages(
    seed: int, embedding: Any, head: Any, chips: bool, steps: int
) -> None:
    graph, found = placed_at_random(seed, embedding, head)
    routes, layout = routed(graph, found, chips), Layout.of(graph)
    machine = machine_of(small_cores(**{"chip.usable_cores": 4}), found.placement)
    rng = np.random.default_rng(seed)
    masks, rows = Masks(layout, 3), layout.empty(3)
    for population in graph.populations:
        layout.write(rows, population.name, rng.random((3, population.size)) < rng.random())
    masks.push(rows)
    at = rng.choice([IDLE, 0, 1, 2], (steps, len(layout.sources)))
    at[:, -1] = at[:, 0]
    count = len(layout.sources)
    work = NeuronWork(2e-9, rng.random(count) * 1e-9, np.full(count, 3e-9))
    at_once, events = EventLoads.of(routes, work, machine).of_steps(masks, at)
    for b in range(steps):
        messages, counted = messages_of(routes, reach_of(routes), work, masks, at[b])
        np.testing.assert_array_equal(events[b], counted)
        one = loads(machine, messages)
        np.testing.assert_array_equal(at_once.memory_words[b], one.memory_words)
        np.testing.assert_array_equal(at_once.link_messages[b], one.link_messages)
        np.testing.assert_array_equal(at_once.processing[b], one.processing)
        np.testing.assert_allclose(at_once.generating[b], one.generating, rtol=1e-12)
        for model in (BoundTiming(machine), SimpleTiming(machine)):
            of_all = np.asarray(model.of_loads(at_once).seconds)
            assert of_all[b] == pytest.approx(model.step(messages).seconds, rel=1e-12)


def pairs_of(routes: Routes, rates: dict[str, Any]) -> tuple[dict[tuple[int, int], float], float]:
    """Messages per token between cores, and from the host."""
    table: dict[tuple[int, int], float] = {}
    from_host = 0.0
    for route, segment in enumerate(routes.segment):
        name = routes.sources[routes.population[segment]]
        mine = slice(routes.start[segment], routes.stop[segment])
        sent = float(rates[name][mine].sum()) if name in rates else 1.0
        source, target = int(routes.core[segment]), int(routes.target[route])
        if source == routes.cores:
            from_host += sent
        elif target != HOST and source != target:
            table[source, target] = table.get((source, target), 0.0) + sent
    return table, from_host


@settings(max_examples=60)
@given(st.integers(0, 10_000), places, places)
def test_routes_carry_the_mappers_traffic(seed: int, embedding: Any, head: Any) -> None:
    graph, found = placed_at_random(seed, embedding, head)
    rng = np.random.default_rng(seed)
    rates = {p.name: rng.uniform(0.1, 1, p.size) for p in graph.populations}
    table, from_host = pairs_of(routed(graph, found), rates)
    traffic = found.traffic
    ends = zip(traffic.source.tolist(), traffic.target.tolist(), strict=True)
    expected = dict(zip(ends, traffic.messages.tolist(), strict=True))
    assert table.keys() == expected.keys()
    assert table == pytest.approx(expected)
    if embedding == "host":  # else a token id is one message to each core with a part of it
        assert from_host == pytest.approx(traffic.from_host)


def test_segments_cover_every_neuron_once_and_differ_from_their_neighbours() -> None:
    graph = shape_graph(2, 64, 300)
    found = place(
        graph,
        small_cores(**{"core.synaptic_memory": 16384, "core.neurons": 100}),
        uniform_rates(graph),
    )
    assert isinstance(found, Mapped)
    routes = routed(graph, found)
    times = {p.name: np.zeros(p.size, int) for p in graph.populations}
    for k, population in enumerate(routes.population):
        times[routes.sources[population]][routes.start[k] : routes.stop[k]] += 1
    assert all((count == 1).all() for count in times.values())
    reach = [
        list(zip(routes.target[a:b].tolist(), routes.synapses[a:b].tolist(), strict=True))
        for a, b in zip(routes.first_route[:-1], routes.first_route[1:], strict=True)
    ]
    for k in range(1, len(reach)):
        together = (routes.core[k], routes.population[k], routes.start[k]) == (
            routes.core[k - 1],
            routes.population[k - 1],
            routes.stop[k - 1],
        )
        assert not together or reach[k] != reach[k - 1]


# Schedules.


@st.composite
def timetables(draw: st.DrawFn) -> Timetable:
    stage = np.array(draw(st.lists(st.integers(0, 6), min_size=1, max_size=8)))
    return Timetable(draw(st.sampled_from(SCHEDULES)), stage, draw(st.integers(1, 9)))


@given(timetables())
def test_every_population_works_on_every_token_once_and_in_order(timetable: Timetable) -> None:
    seen: list[list[int]] = [[] for _ in timetable.stage]
    begun: dict[int, int] = {}
    for step, at in zip(timetable.steps, timetable.tokens_at(timetable.steps), strict=True):
        for p in np.flatnonzero(at != IDLE).tolist():
            seen[p].append(int(at[p]))
            begun.setdefault(int(at[p]), step - int(timetable.stage[p]))
            assert step == begun[int(at[p])] + timetable.stage[p]  # S(p) steps after its entry
    assert seen == [list(range(timetable.tokens))] * len(seen)
    assert timetable.done(timetable.steps.stop) == timetable.tokens


@given(timetables())
def test_steps_that_are_ready_need_no_later_token(timetable: Timetable) -> None:
    for tokens in range(timetable.tokens + 1):
        needed = timetable.tokens_at(timetable.steps[: timetable.ready(tokens)])
        assert needed.max(initial=IDLE) < tokens
    assert timetable.ready(timetable.tokens) == timetable.steps.stop


@given(timetables())
def test_a_token_is_done_when_it_has_passed_the_last_stage(timetable: Timetable) -> None:
    last = int(timetable.stage.argmax())
    done = 0
    for step, at in zip(timetable.steps, timetable.tokens_at(timetable.steps), strict=True):
        done += int(at[last] != IDLE)
        assert timetable.done(step + 1) == done


def test_a_pipeline_without_its_filling_is_full_at_every_step() -> None:
    timetable = Timetable("pipelined", np.array([0, 2, 5]), 9, fill=False)
    assert list(timetable.steps) == list(timetable.steady) == [5, 6, 7, 8]
    assert (timetable.tokens_at(timetable.steps) != IDLE).all()
    assert timetable.done(timetable.steps.stop) == 4
    with pytest.raises(UsageError, match="5 tokens never fill a pipeline of depth 5"):
        Timetable("pipelined", np.array([0, 5]), 5, fill=False)
    with pytest.raises(UsageError, match="expected pipelined or fall-through"):
        Timetable("backwards", np.array([0]), 5)  # type: ignore[arg-type]
