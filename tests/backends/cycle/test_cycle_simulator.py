"""The simulator: time and counts against figures worked out by hand, and everything around them."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from threading import Barrier, current_thread, main_thread
from threading import enumerate as enumerate_threads
from time import sleep
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import spikegpt_neuro as sgn
from spikegpt_neuro.backends.cycle import simulator
from spikegpt_neuro.backends.cycle.backend import CycleBackend
from spikegpt_neuro.backends.cycle.congestion import draw_congestion
from spikegpt_neuro.backends.cycle.crew import Crew
from spikegpt_neuro.backends.cycle.result import Simulation
from spikegpt_neuro.backends.cycle.simulator import (
    PlacedGraph,
    Setting,
    simulate,
    simulate_all,
    time_chunks,
)
from spikegpt_neuro.backends.cycle.timing.model import StepTiming
from spikegpt_neuro.backends.cycle.timing.models import timing_model
from spikegpt_neuro.backends.cycle.timing.names import MODELS
from spikegpt_neuro.backends.cycle.trace import trace_events, write_trace
from spikegpt_neuro.backends.cycle.traffic.masks import CHUNK_TOKENS, Layout, random_run
from spikegpt_neuro.backends.cycle.traffic.messages import StepMessages, VolleyMessages
from spikegpt_neuro.cli import run as run_cli
from spikegpt_neuro.energy.activity import activity_of
from spikegpt_neuro.energy.events import HardwareEvents
from spikegpt_neuro.energy.hardware import hardware_events
from spikegpt_neuro.errors import SpikeGPTError, UnsupportedInput, UsageError
from spikegpt_neuro.graph.graph import Population, Projection, SpikingGraph
from spikegpt_neuro.graph.pipeline import ON_CHIP, stages
from spikegpt_neuro.hardware.events import EVENTS
from spikegpt_neuro.hardware.profile import Profile, load_profile
from spikegpt_neuro.mapping.mapper import Mapped, measured_rates, place
from spikegpt_neuro.mapping.placed_machine import NUDGE, machine_of
from spikegpt_neuro.mapping.placement import Placement
from spikegpt_neuro.model.spikegpt import ModelShape
from spikegpt_neuro.neurons import LIF, Embedding
from spikegpt_neuro.neurons.micro_operations import update_of
from spikegpt_neuro.running import first_mismatch, get_backend
from spikegpt_neuro.schedules import SCHEDULES

from cycle_recount import step_by_hand
from places import CHECKPOINT, ROOT
from shape_graphs import shape_graph, uniform_rates
from toy_graph import VOCABULARY, toy_graph

LOIHI2 = load_profile("loihi2")
TOKENS = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3])


def changed(profile: Profile, **values: Any) -> Profile:
    """The profile with other values, in the constants' own units; None takes one out."""
    constants = dict(profile.constants)
    for name, value in values.items():
        key = name.replace("__", ".")
        constants[key] = replace(constants[key], value=value, low=None, high=None)
        if value is None:
            del constants[key]
    return replace(profile, constants=constants)


def torn(profile: Profile = LOIHI2) -> Profile:
    """Cores of ten neurons, two to a tile, four to a chip: the toy graph takes two chips."""
    return changed(
        profile,
        core__neurons=10,
        chip__cores_per_tile=2,
        chip__tile_columns=2,
        chip__tile_rows=1,
        chip__usable_cores=4,
    )


def placed(graph: SpikingGraph, profile: Profile, **options: Any) -> Placement:
    found = place(graph, profile, uniform_rates(graph), **options)
    assert isinstance(found, Mapped), found.violations
    return found.placement


def lif_pair() -> SpikingGraph:
    """Embedding of two neurons, two LIFs, two LIFs as output: all fire for token 1."""
    weights = np.full((2, 2), 127, np.int8)
    lif = LIF(du=4095, dv=2048, vth=1)
    return SpikingGraph(
        shape=ModelShape(layers=1, width=2, vocab_size=2),
        populations=(
            Population("embedding", 2, Embedding(np.array([[0, 0], [1, 1]], np.uint8))),
            Population("hidden", 2, lif),
            Population("output", 2, lif),
        ),
        projections=(
            Projection("to_hidden", "embedding", "hidden", "current", weights),
            Projection("to_output", "hidden", "output", "current", weights),
        ),
        logit_scale=1.0,
    )


# Time.


def test_a_step_of_four_neurons_on_loihi1_takes_what_its_table_says() -> None:
    graph, profile = lif_pair(), load_profile("loihi1")
    placement = placed(graph, profile)
    assert len(placement.sites) == 1
    run, found = simulate(graph, np.array([1]), profile, placement, "simple", "fall-through")
    assert run.logits_int.tolist() == [[1, 1]]
    # Access 5.3 ns, update 3.1 ns in addition; a synapse 3.5 ns; a barrier over one tile 113 ns.
    walk, update, four_synapses = 4 * 5.3, 2 * 3.1, 4 * 3.5
    expected = [max(walk, four_synapses) + 113, walk + update + 113, walk + update + 113]
    assert found.step_seconds == pytest.approx(np.array(expected) * 1e-9, rel=1e-12)
    assert found.seconds_per_token == pytest.approx(sum(expected) * 1e-9)
    assert found.left_out == (
        "latency.micro_operation",
        "latency.spike_out",
        "latency.axon_out",
        "latency.axon_in",
    )
    assert found.events == HardwareEvents(
        neuron_access=12,
        neuron_update=4,
        spike_out=4,
        axon_out=4,  # two to the own core, two to the host
        axon_in=4,  # two from the host
        synaptic_operation=8,
        core_step=3,
        chip_step=3,
        host_message=4,
    )
    # Three tokens, pipelined: in the middle step all are at work.
    _, found = simulate(graph, np.array([1, 1, 1]), profile, placement, "simple")
    assert found.steps == 5
    busy = max(walk + 2 * update, 2 * four_synapses) + 113
    assert found.steady_step_seconds == pytest.approx([busy * 1e-9])
    assert found.latency_seconds == pytest.approx(3 * busy * 1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("embedding", "head"), [("host", "chip"), ("chip", "host")])
def test_simple_time_is_the_busiest_core_counted_neuron_by_neuron(
    schedule: Any, embedding: Any, head: Any
) -> None:
    graph, profile = toy_graph(), changed(torn(), latency__step_minimum=None)
    placement = placed(graph, profile, embedding=embedding, head=head)
    machine = machine_of(profile, placement)
    run = sgn.run(graph, TOKENS, record="events")
    events = dict(run.events) | {graph.output.name: run.logits_int}
    stage, t = stages(graph, ON_CHIP), machine.latencies
    update = {}
    for p in graph.populations:
        updates, micro_operations = update_of(p)
        update[p.name] = (updates * t.neuron_update + micro_operations * t.micro_operation) / p.size
    _, found = simulate(graph, TOKENS, profile, placement, "simple", schedule)
    for step, seconds in enumerate(found.step_seconds):
        active = {}
        for name, sent in events.items():
            token = step - stage[name]
            if schedule == "fall-through":
                token, at = divmod(step, found.depth + 1)
                token = token if at == stage[name] else -1
            if 0 <= token < len(TOKENS):
                active[name] = sent[token]
        made, arrived, synapses = step_by_hand(
            graph, placement, active, update, t.neuron_access, t.spike_out, reaches_chips=True
        )
        processing = arrived * t.axon_in + synapses * t.synaptic_operation
        generating = np.array([core.leftover for core in made])
        for core, messages in enumerate(made):
            for target, met, work, begins in messages.made:
                generating[core] += work + t.axon_out * begins
                if target >= 0:
                    processing[target] += t.axon_in + met * t.synaptic_operation
        expected = max(generating.max(), processing.max()) + t.barrier
        assert seconds == pytest.approx(expected, rel=1e-12)


def test_the_machine_has_the_profiles_times() -> None:
    graph = shape_graph(4, 256, 256)
    profile = changed(LOIHI2, chip__usable_cores=10)
    placement = placed(graph, profile)
    machine = machine_of(profile, placement, weight_bits=4)
    assert (machine.mesh.columns, machine.mesh.rows) == (8, 4 * placement.chips)
    assert machine.synapses_per_word == 16
    links_inside, links_out = 2 * (7 * 4 + 3 * 8), 2 * (8 + 4)
    ports = ("system__ports", "bandwidth__port", "router__interchip_message")
    shared = changed(profile, **dict.fromkeys(ports))
    without = machine_of(shared, placed(graph, shared)).latencies
    t = machine.latencies
    assert t.link_interval == pytest.approx(8 * links_inside / 3.04e12)
    assert t.interchip_interval == pytest.approx(12 / 0.8e9)
    assert without.interchip_interval == pytest.approx(8 * links_out / 4.34e9)
    assert t.memory_word == pytest.approx(8 * 10 / 13.9e12)
    assert (t.barrier, t.step_minimum) == (0, 1.78e-6)
    low, high = (machine_of(profile, placement, end=end).latencies for end in ("low", "high"))
    assert high.barrier == 2e-6  # of chips; a chip alone takes 200 ns
    alone = machine_of(LOIHI2, placed(shape_graph(1, 16, 32), LOIHI2), end="high")
    assert alone.latencies.barrier == pytest.approx(200e-9)
    for field in fields(t):
        ends = (getattr(low, field.name), getattr(t, field.name), getattr(high, field.name))
        assert list(ends) == sorted(ends), field.name
    assert low.axon_in < t.axon_in < high.axon_in


@pytest.mark.parametrize("timing", ["bound", "simple", "detailed", "cycle"])
def test_no_step_takes_less_than_the_smallest(timing: str) -> None:
    graph, profile = toy_graph(), torn()
    placement = placed(graph, profile)
    free = changed(profile, latency__step_minimum=None)
    _, without = simulate(graph, TOKENS, free, placement, timing)
    _, found = simulate(graph, TOKENS, profile, placement, timing)
    least = machine_of(profile, placement).latencies.step_minimum
    assert without.step_seconds.max() < least
    assert (found.step_seconds == least).all()


def test_parts_of_a_core_may_add_up() -> None:
    graph = toy_graph()
    once = changed(torn(), latency__step_minimum=None)
    sums = changed(once, latency__core_terms="sum")
    placement = placed(graph, once)
    assert not machine_of(once, placement).adds
    assert machine_of(sums, placement).adds
    for timing in ("bound", "simple"):
        _, shorter = simulate(graph, TOKENS, once, placement, timing)
        _, longer = simulate(graph, TOKENS, sums, placement, timing)
        work = longer.step_seconds - longer.barrier
        assert (longer.step_seconds >= shorter.step_seconds).all()
        assert longer.seconds > shorter.seconds
        assert (work <= 2 * (shorter.step_seconds - shorter.barrier) * (1 + 1e-12)).all()
    for timing in ("detailed", "cycle"):
        with pytest.raises(UsageError, match=r"core_terms of the profile is 'sum'; use timing"):
            simulate(graph, TOKENS, sums, placement, timing)


def test_a_higher_supply_is_faster() -> None:
    graph = toy_graph()
    nominal = changed(torn(), voltage__nominal=0.6)
    volts = nominal["voltage.nominal"]
    slow, fast = (
        replace(
            nominal,
            constants={
                **nominal.constants,
                "voltage.supply": replace(volts, key="voltage.supply", value=value),
            },
        )
        for value in (0.6, 0.8)
    )
    placement = placed(graph, slow)
    before, after = (machine_of(p, placement).latencies for p in (slow, fast))
    for name in ("synaptic_operation", "neuron_access", "step_minimum", "link_interval"):
        assert getattr(before, name) / getattr(after, name) == pytest.approx(1.47, rel=2e-3)
    assert before.interchip_interval == after.interchip_interval
    assert before == machine_of(torn(), placement).latencies


def test_a_nudge_moves_assumed_times_only() -> None:
    graph, profile = toy_graph(), torn()
    placement = placed(graph, profile)
    before, after = (machine_of(profile, placement, end=e).latencies for e in ("value", "nudged"))
    for name in ("axon_in", "micro_operation", "hop_east_west"):
        assert getattr(after, name) == pytest.approx(NUDGE * getattr(before, name))
    for name in ("synaptic_operation", "neuron_access", "step_minimum", "spike_out"):
        assert getattr(after, name) == getattr(before, name)


@pytest.mark.parametrize(("cores_per_tile", "barrier"), [(4, 0.6e-6), (2, 1.0e-6), (1, 1.4e-6)])
def test_a_barrier_takes_longer_over_more_tiles(cores_per_tile: int, barrier: float) -> None:
    small = {"core__neurons": 1, "chip__usable_cores": 32, "chip__cores_per_tile": cores_per_tile}
    profile = changed(load_profile("loihi1-sanafe"), **small)
    placement = placed(lif_pair(), profile)
    assert len(placement.sites) == 4
    assert machine_of(profile, placement).latencies.barrier == barrier


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (load_profile("spinnaker2"), "latency.neuron_access is missing; timing needs it"),
        (changed(LOIHI2, router__cycle=None), "router.cycle is missing"),
        (changed(LOIHI2, router__cycle=0), "router.cycle is 0; expected more than 0"),
        (changed(LOIHI2, bandwidth__intercore=None), "bandwidth.tile is missing"),
        (changed(LOIHI2, latency__micro_operation=None), "latency.micro_operation is missing"),
    ],
)
def test_a_profile_without_times_gets_one_line(profile: Profile, expected: str) -> None:
    graph = shape_graph(1, 16, 32)
    with pytest.raises(UnsupportedInput, match=expected) as error:
        PlacedGraph.of(graph, profile, placed(graph, profile))
    assert "\n" not in str(error.value)


# Counts.


@pytest.fixture(scope="module")
def two_chips() -> tuple[SpikingGraph, Profile, Placement]:
    graph, profile = toy_graph(), torn()
    placement = placed(graph, profile)
    assert placement.chips == 2
    return graph, profile, placement


Case = tuple[SpikingGraph, Profile, Placement]


@pytest.mark.parametrize("embedding", ["host", "chip"])
@pytest.mark.parametrize("head", ["host", "chip"])
def test_counts_are_those_of_the_energy_room(embedding: Any, head: Any) -> None:
    """Two ways of counting that share no code: by segment here, by running sums there."""
    graph, profile = toy_graph(), torn()
    placement = placed(graph, profile, embedding=embedding, head=head)
    tokens = np.random.default_rng(2).integers(0, VOCABULARY, 2 * CHUNK_TOKENS + 3)
    activity = activity_of(graph, sgn.run(graph, tokens, record="events"))
    settings = [Setting(schedule, "bound") for schedule in SCHEDULES]
    _, simulations = simulate_all(graph, tokens, profile, placement, settings)
    for found in simulations:
        expected = hardware_events(graph, activity, profile, placement, found.steps)
        nothing = HardwareEvents()
        ours = {k: v for k, v in found.by_population.items() if v != nothing}
        assert ours == {k: v for k, v in expected.items() if v != nothing}
        assert found.cores.sent.sum() == found.events.axon_out
        assert found.cores.received.sum() == found.events.axon_in
        assert found.cores.synaptic_operations.sum() == found.events.synaptic_operation
        crossing = found.events.hop_east_west + found.events.hop_north_south
        assert found.links.messages.sum() == crossing
        assert len(found.links.names) == len(set(found.links.names)) == found.mesh.links


def test_both_schedules_do_the_same_work(two_chips: Case) -> None:
    settings = [Setting("pipelined", "bound"), Setting("fall-through", "bound")]
    run, (pipelined, falling) = simulate_all(two_chips[0], TOKENS, *two_chips[1:], settings)
    of_steps = dict.fromkeys(event.name for event in EVENTS if event.is_of_steps)
    assert set(of_steps) == {"neuron_access", "core_step", "chip_step"}
    without = dict.fromkeys(of_steps, 0)
    once, twice = (replace(s.events, **without) for s in (pipelined, falling))
    assert once == twice
    assert once.interchip_hop > 0
    assert (pipelined.steps, falling.steps) == (10 + pipelined.depth, 10 * (falling.depth + 1))
    assert pipelined.tokens == falling.tokens == len(run.tokens) == 10
    for found in (pipelined, falling):
        assert found.events.core_step == found.mesh.cores * found.steps
        assert found.events.chip_step == found.chips * found.steps == 2 * found.steps
        assert found.events.neuron_access > 0
    assert pipelined.tokens_per_second is not None
    assert falling.tokens_per_second is not None
    assert pipelined.tokens_per_second > falling.tokens_per_second


def test_sums_are_those_of_the_steps(two_chips: Case) -> None:
    _, found = simulate(two_chips[0], TOKENS, *two_chips[1:], "detailed")
    series, cores, links = found.series, found.cores, found.links
    assert series.steps == found.steps
    both = np.maximum(series.generating, series.processing)
    assert (series.generating > series.processing).any()
    assert (series.generating < series.processing).any()
    np.testing.assert_allclose(both.sum(axis=0), cores.busy, rtol=1e-5)
    np.testing.assert_allclose(both.max(axis=1), found.core_seconds, rtol=1e-6)
    np.testing.assert_allclose(series.stalled.sum(axis=0), cores.stalled, rtol=1e-5, atol=1e-15)
    np.testing.assert_array_equal(series.core_queue.max(axis=0), cores.queue)
    np.testing.assert_array_equal(series.link_queue.max(axis=0), links.queue)
    np.testing.assert_array_equal(series.link_messages.sum(axis=0), links.messages)
    slow = machine_of(*two_chips[1:]).latencies.interchip_interval
    in_use = links.messages > 0
    between_chips = links.occupied[in_use] == links.messages[in_use] * slow
    assert links.messages[in_use][between_chips].sum() == found.events.interchip_hop > 0


def test_a_run_is_the_references(two_chips: Case) -> None:
    graph = two_chips[0]
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, 2 * CHUNK_TOKENS + 3)
    run, _ = simulate(graph, tokens, *two_chips[1:], "bound", record="events")
    reference = sgn.run(graph, tokens, record="events")
    assert first_mismatch(graph, run, reference) is None
    assert run.activity == reference.activity
    assert run.counts == reference.counts
    np.testing.assert_array_equal(run.tokens, tokens)


def test_a_short_run_says_that_it_is_no_throughput(two_chips: Case) -> None:
    depth = simulate(two_chips[0], TOKENS, *two_chips[1:], "bound")[1].depth
    _, short = simulate(two_chips[0], TOKENS[:depth], *two_chips[1:], "bound")
    assert not short.is_steady
    assert short.latency_seconds is None
    assert short.seconds_per_token == pytest.approx(short.seconds / depth)
    _, long = simulate(two_chips[0], TOKENS[: depth + 1], *two_chips[1:], "bound")
    assert long.is_steady
    assert len(long.steady_step_seconds) == 1
    full = Setting("pipelined", "bound", fill=False)
    _, (only,) = simulate_all(two_chips[0], TOKENS, *two_chips[1:], [full])
    _, whole = simulate(two_chips[0], TOKENS, *two_chips[1:], "bound")
    np.testing.assert_array_equal(only.step_seconds, whole.steady_step_seconds)
    assert only.tokens == len(TOKENS) - depth


# Interrupts.


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [0, 1, 17, 40])
def test_an_interrupt_leaves_whole_steps(
    monkeypatch: pytest.MonkeyPatch, two_chips: Case, schedule: Any, steps: int
) -> None:
    tokens = np.tile(TOKENS, 5)
    _, whole = simulate(two_chips[0], tokens, *two_chips[1:], "detailed", schedule)
    real = timing_model

    class Interrupted:
        """Stops in the middle of a step."""

        def __init__(self, model: Any) -> None:
            self.model, self.left = model, steps

        def step(self, messages: StepMessages) -> StepTiming:
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            timing: StepTiming = self.model.step(messages)
            return timing

    monkeypatch.setattr(
        simulator, "timing_model", lambda name, machine: Interrupted(real(name, machine))
    )
    run, found = simulate(two_chips[0], tokens, *two_chips[1:], "detailed", schedule)
    assert found.interrupted
    assert found.steps == steps
    assert found.tokens == whole.timetable.done(steps)
    np.testing.assert_array_equal(found.step_seconds, whole.step_seconds[:steps])
    np.testing.assert_array_equal(found.series.sent, whole.series.sent[:steps])
    assert found.events.neuron_access == whole.events.neuron_access // whole.steps * steps
    assert found.cores.sent.sum() == found.series.sent.sum()
    whole_tokens = found.tokens * (1 if schedule == "pipelined" else found.depth + 1)
    assert len(found.steady_step_seconds) <= whole_tokens
    chunks = found.timetable.tokens_at(range(steps + 1)).max() // CHUNK_TOKENS + 1
    assert len(run.tokens) == len(run.logits_int) == min(len(tokens), chunks * CHUNK_TOKENS)
    assert json.loads(json.dumps(found.to_json()))["interrupted"] is True


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_an_interrupt_leaves_whole_blocks_of_steps(two_chips: Case, schedule: Any) -> None:
    tokens = np.tile(TOKENS, 5)
    _, whole = simulate(two_chips[0], tokens, *two_chips[1:], "bound", schedule)

    def interrupt(done: int, total: int) -> None:
        if done > total // 3:
            raise KeyboardInterrupt

    _, found = simulate(two_chips[0], tokens, *two_chips[1:], "bound", schedule, progress=interrupt)
    assert found.interrupted
    assert whole.steps // 3 < found.steps < whole.steps
    np.testing.assert_array_equal(found.step_seconds, whole.step_seconds[: found.steps])
    np.testing.assert_array_equal(found.series.sent, whole.series.sent[: found.steps])
    assert found.cores.sent.sum() == found.series.sent.sum()


@pytest.mark.parametrize("timing", MODELS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_steps_timed_at_once_are_those_timed_one_by_one(
    monkeypatch: pytest.MonkeyPatch, two_chips: Case, timing: Any, schedule: Any
) -> None:
    found = {}
    for threads in (1, 3):
        monkeypatch.setattr(simulator, "Crew", lambda threads=threads: Crew(threads, -1.0))
        _, found[threads] = simulate(
            two_chips[0], np.tile(TOKENS, 4), *two_chips[1:], timing, schedule
        )
    assert found[1].to_json() == found[3].to_json()
    np.testing.assert_array_equal(found[1].step_seconds, found[3].step_seconds)
    np.testing.assert_array_equal(found[1].series.core_queue, found[3].series.core_queue)


@pytest.mark.parametrize("timing", MODELS)
def test_a_model_answers_alike_where_messages_come_one_by_one(
    monkeypatch: pytest.MonkeyPatch, two_chips: Case, timing: Any
) -> None:
    real, seen = timing_model, []

    class Both:
        """Asks for every step twice."""

        def __init__(self, model: Any) -> None:
            self.model = model

        def step(self, messages: StepMessages) -> StepTiming:
            assert isinstance(messages, VolleyMessages)
            by_volleys, one_by_one = map(self.model.step, (messages, messages.one_by_one()))
            for name, value in asdict(by_volleys).items():
                np.testing.assert_array_equal(getattr(one_by_one, name), value, name)
            seen.append(messages.count)
            timing: StepTiming = by_volleys
            return timing

    monkeypatch.setattr(simulator, "timing_model", lambda *of: Both(real(*of)))
    simulate(two_chips[0], TOKENS, *two_chips[1:], timing)
    assert sum(seen) > 100


def test_a_crew_works_in_threads_and_answers_in_order() -> None:
    together = Barrier(2)

    def work(number: int) -> int:
        if number < 2:
            together.wait(timeout=30)  # the first two are under way at once
        else:
            sleep(0.01 * (number % 2))
        return number

    with Crew(2, worth=-1.0) as crew:
        assert list(crew.each(work, range(9), at_once=True)) == list(range(9))
        began: list[int] = []
        assert next(crew.each(began.append, range(100), at_once=False)) is None
        assert began == [0]


def test_quick_steps_are_not_handed_to_threads() -> None:
    seen: list[tuple[int, bool]] = []

    def work(number: int) -> int:
        sleep(0.02 if 50 <= number < 60 else 0.0)
        seen.append((number, current_thread() is main_thread()))
        return number

    with Crew(2) as crew:
        assert list(crew.each(work, range(200), at_once=True)) == list(range(200))
    at_home = dict(seen)
    assert all(at_home[number] for number in range(51))
    assert not any(at_home[number] for number in range(54, 62))
    assert all(at_home[number] for number in range(150, 200))


def test_an_interrupt_ends_a_crew_after_what_is_under_way(
    monkeypatch: pytest.MonkeyPatch, two_chips: Case
) -> None:
    monkeypatch.setattr(simulator, "Crew", lambda: Crew(2, worth=-1.0))
    seen = []

    def stop(done: int, total: int) -> None:
        seen.append(done)
        if done == 5:
            raise KeyboardInterrupt

    _, whole = simulate(two_chips[0], TOKENS, *two_chips[1:], "cycle")
    _, found = simulate(two_chips[0], TOKENS, *two_chips[1:], "cycle", progress=stop)
    assert found.interrupted
    assert seen[-1] == 5
    assert 0 < found.steps < whole.steps
    np.testing.assert_array_equal(found.step_seconds, whole.step_seconds[: found.steps])
    assert not [thread for thread in enumerate_threads() if "ThreadPool" in thread.name]


def test_progress_counts_tokens_and_may_interrupt(two_chips: Case) -> None:
    seen: list[tuple[int, int]] = []
    tell: Any = lambda *now: seen.append(now)  # noqa: E731
    simulate(two_chips[0], TOKENS, *two_chips[1:], "bound", progress=tell)
    assert seen == [(10, 10)]  # all in one block
    seen.clear()
    simulate(two_chips[0], TOKENS, *two_chips[1:], "detailed", progress=tell)
    assert seen[-1] == (10, 10)
    assert seen == sorted(set(seen))
    assert len(seen) > 5

    def stop(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    _, found = simulate(two_chips[0], TOKENS, *two_chips[1:], "detailed", progress=stop)
    assert found.interrupted
    assert 0 < found.steps < 10 + found.depth


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_long_run_says_early_what_to_expect(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    two_chips: Case,
    schedule: Any,
) -> None:
    tokens = np.tile(TOKENS, 4)
    with caplog.at_level("INFO", logger="spikegpt_neuro.backends.cycle"):
        simulate(two_chips[0], tokens, *two_chips[1:], "detailed", schedule)
        assert caplog.messages == []  # it took no ten seconds
        monkeypatch.setattr("spikegpt_neuro.backends.cycle.watch.LONG_RUN_SECONDS", 0.0)
        simulate(two_chips[0], tokens, *two_chips[1:], "detailed", schedule)
    (message,) = caplog.messages
    assert "s to go for 40 tokens" in message
    assert f"tokens/s ({schedule})" in message


def test_nothing_to_simulate_is_refused(two_chips: Case) -> None:
    with pytest.raises(UnsupportedInput, match=r"T >= 1"):
        simulate(two_chips[0], TOKENS[:0], *two_chips[1:], "bound")
    with pytest.raises(UsageError, match="give at least one setting"):
        simulate_all(two_chips[0], TOKENS, *two_chips[1:], [])
    with pytest.raises(UsageError, match="timing is 'guess', expected one of bound"):
        simulate(two_chips[0], TOKENS, *two_chips[1:], "guess")


# Without integers.


def test_random_masks_have_their_rates() -> None:
    graph = shape_graph(1, 64, 96)
    placement = PlacedGraph.of(graph, LOIHI2, placed(graph, LOIHI2))
    rates = {p.name: 0.25 for p in graph.populations}
    chunks = random_run(Layout.of(graph), rates, 40)
    runs, (found,) = time_chunks(placement, chunks, 40, [Setting(timing="bound", fill=False)])
    assert runs == []
    assert found.tokens == 40 - found.depth
    neurons = sum(p.size for p in graph.populations[1:])
    assert found.events.spike_out / found.tokens / neurons == pytest.approx(0.25, abs=0.01)


# What a person looks at.


@pytest.fixture(scope="module")
def simulated(two_chips: Case) -> Simulation:
    return simulate(two_chips[0], TOKENS, *two_chips[1:], "detailed")[1]


def test_the_trace_is_one_that_a_viewer_opens(
    simulated: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "trace.json"
    write_trace(file, simulated)
    content = json.loads(file.read_text())
    assert content["otherData"]["tokens"] == 10
    rows: dict[tuple[int, int], float] = {}
    for event in content["traceEvents"]:
        assert event["ph"] in ("M", "X", "C")
        assert isinstance(event["pid"], int)
        if event["ph"] == "X":  # slices of a row do not overlap
            row = event["pid"], event["tid"]
            assert event["ts"] >= rows.get(row, 0.0) - 1e-6
            rows[row] = event["ts"] + event["dur"]
        elif event["ph"] == "C":
            assert event["args"]["count"] >= 0
    neurons = sum(e["dur"] for e in content["traceEvents"] if e["name"] == "neurons")
    assert neurons == pytest.approx(1e6 * simulated.cores.generating.sum(), rel=1e-4)
    steps = [e for e in content["traceEvents"] if e["name"].startswith("step ")]
    assert len(steps) == simulated.steps
    assert list(tmp_path.iterdir()) == [file]
    monkeypatch.setattr("spikegpt_neuro.backends.cycle.trace.EVENTS", 200)
    assert len(list(trace_events(simulated))) <= 200 + 3 * len(simulated.cores.names) + 1


def test_the_picture_shows_cores_and_both_directions(
    two_chips: Case, simulated: Simulation
) -> None:
    root = ElementTree.fromstring(draw_congestion(simulated, *two_chips[1:], "a <model>"))
    space = "{http://www.w3.org/2000/svg}"
    cores = [e.text or "" for e in root.iterfind(f"{space}rect/{space}title")]
    assert len(cores) == len(two_chips[2].sites)
    lines = [e.text or "" for e in root.iter(f"{space}title") if "->" in (e.text or "")]
    assert len(lines) == np.count_nonzero(simulated.links.messages)
    link = simulated.critical_link
    assert link is not None
    words = " ".join(str(e.text) for e in root.iter(f"{space}text"))
    assert simulated.links.names[link] in words
    assert simulated.cores.names[simulated.critical_core] in words


def test_names_say_where_to_look(simulated: Simulation) -> None:
    assert simulated.cores.names[0].startswith("chip ")
    assert {name.split("(")[1] for name in simulated.cores.names} >= {"head)"}
    assert simulated.links.names[0] == "chip 0 router (0,0) -> east"
    assert simulated.links.names[-1].endswith("-> south")
    figures = simulated.to_json()
    assert figures["critical_core"]["name"] in simulated.cores.names
    assert 0 < figures["critical_core"]["busy_share"] <= 1
    assert figures["events"] == asdict(simulated.events)


# The backend and the command line.


@pytest.fixture(scope="module")
def example() -> SpikingGraph:
    pytest.importorskip("torch", reason="reading .pth needs torch")
    root = ROOT
    return sgn.convert(str(root / "examples" / "pydoc-4x128.pth"), calibration=np.arange(96) % 90)


def test_no_model_beats_the_bound_on_the_example(example: SpikingGraph) -> None:
    tokens = np.random.default_rng(1).integers(0, example.shape.vocab_size, 56)
    run = sgn.run(example, tokens, record="events")
    found = place(example, LOIHI2, measured_rates(example, run))
    assert isinstance(found, Mapped)
    names = ("bound", "simple", "detailed", "cycle")
    settings = [Setting(timing=name, fill=False) for name in names]
    _, simulations = simulate_all(example, tokens, LOIHI2, found.placement, settings)
    bound = simulations[0]
    assert bound.steps == 56 - 52
    for other in simulations[1:]:
        assert other.events == bound.events
    cycle = simulations[-1]
    assert (cycle.step_seconds >= bound.step_seconds).all()
    assert cycle.critical_core == bound.critical_core
    np.testing.assert_array_equal(cycle.links.messages, bound.links.messages)


def test_the_backend_is_found_and_agrees(tmp_path: Path) -> None:
    graph = toy_graph()
    backend = get_backend(
        "cycle", timing="bound", trace=tmp_path / "t.json", svg=tmp_path / "c.svg"
    )
    assert isinstance(backend, CycleBackend)
    run = backend.run(graph, TOKENS, record="events")
    assert first_mismatch(graph, run, sgn.run(graph, TOKENS, record="events")) is None
    assert backend.simulation is not None
    assert backend.simulation.tokens == len(TOKENS)
    assert {file.name for file in tmp_path.iterdir()} == {"t.json", "c.svg"}
    with backend.session(graph) as session:
        np.testing.assert_array_equal(session.step(3), run.logits_int[0])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"timing": "guess"}, "timing is 'guess'"),
        ({"schedule": "backwards"}, "schedule is 'backwards'"),
        ({"hw": "loihi3"}, "no hardware profile"),
        ({"svg": "/no/where/c.svg"}, "does not exist"),
        ({"hw": "loihi1"}, "binary spikes only"),
        ({"hw": "spinnaker2"}, "latency.neuron_access is missing"),
    ],
)
def test_the_backend_refuses_in_one_line(options: dict[str, str], expected: str) -> None:
    with pytest.raises(SpikeGPTError, match=expected) as error:
        get_backend("cycle", **options).run(toy_graph(), TOKENS)
    assert "\n" not in str(error.value)


def test_a_placement_of_another_model_is_refused(tmp_path: Path) -> None:
    graph = shape_graph(1, 16, 32)
    file = tmp_path / "placement.json"
    placed(graph, LOIHI2).save(file)
    with pytest.raises(UnsupportedInput, match="of another model"):
        get_backend("cycle", placement=file).run(toy_graph(), TOKENS)


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="reading .pth needs torch")
    example = CHECKPOINT
    artifact = str(tmp_path / "model.sgn")
    assert run_cli(["convert", str(example), "-o", artifact, "--quiet"]) == 0
    capsys.readouterr()
    options = ["simulate", artifact, "--backend", "cycle", "--corpus", "python-docs", "--quiet"]
    options += ["--tokens", "60", "--timing", "bound"]
    trace = tmp_path / "trace.json"
    assert run_cli([*options, "--verify", "--json", "--trace", str(trace)]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["matches_reference"] is True
    assert figures["simulation"]["tokens"] == 60
    assert figures["simulation"]["critical_core"]["name"].startswith("chip 0 core ")
    assert json.loads(trace.read_text())["traceEvents"]
    assert run_cli([*options, "--schedule", "fall-through"]) == 0
    assert "critical core" in capsys.readouterr().out
    assert run_cli([*options, "--backend", "reference"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
