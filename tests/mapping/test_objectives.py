"""Placing for energy, latency and throughput: limits kept, figures true, better than packing."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profiles_changed import with_constants
from shared_steps import stages as stages_by_hand
from shared_steps import within

import spikegpt_neuro as sgn
from spikegpt_neuro.api.measuring import Site, measure
from spikegpt_neuro.cli import run as run_cli
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.errors import DoesNotFit, UnsupportedInput, UsageError
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.graph.pipeline import ON_CHIP, delays, stages, within_a_step
from spikegpt_neuro.hardware.profile import Profile, load_profile
from spikegpt_neuro.mapping import spreading
from spikegpt_neuro.mapping.balance import _balanced, _fullest, least_seconds
from spikegpt_neuro.mapping.candidates import Bench
from spikegpt_neuro.mapping.cost import Prediction
from spikegpt_neuro.mapping.goal import Goal
from spikegpt_neuro.mapping.mapper import Mapped, Refused, place
from spikegpt_neuro.mapping.objectives import OBJECTIVES, Objective, Steps
from spikegpt_neuro.mapping.placed_machine import machine_of
from spikegpt_neuro.mapping.placement import load_placement
from spikegpt_neuro.mapping.requirements import chains_of, workload
from spikegpt_neuro.mapping.routes import Piece, routes_of
from spikegpt_neuro.mapping.traffic import usage_of
from spikegpt_neuro.mapping.work import Work, waiting
from spikegpt_neuro.model.synthetic import random_model, random_tokens
from spikegpt_neuro.schedules import Schedule

from placement_validator import problems, recount
from places import ROOT
from shape_graphs import random_graph, shape_graph, uniform_rates
from toy_graph import toy_graph

LOIHI2 = load_profile("loihi2")
NOVEMBER = load_profile(ROOT / "benchmarks" / "loihi2-2026-11.toml")
SCHEDULES: tuple[Schedule, ...] = ("pipelined", "fall-through")

small_profiles = st.builds(
    lambda **changes: with_constants(LOIHI2, **changes),
    core__neurons=st.integers(20, 80),
    core__synaptic_memory=st.integers(400, 8000),
    core__neuron_memory=st.integers(3200, 12000),
    core__input_axons=st.integers(60, 300),
    core__output_axons=st.integers(20, 400),
    core__fan_in=st.integers(40, 200),
    encoding__list_word=st.sampled_from([1, 2, 4, 8]),
    chip__tile_columns=st.integers(1, 4),
    chip__tile_rows=st.integers(1, 3),
    chip__usable_cores=st.integers(1, 4),
)
places = st.sampled_from(["chip", "host"])


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    """A short search: what is asked is whether limits hold, not how good a placement is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spreading, "TRIES", 20)
        yield


def placed(graph: SpikingGraph, profile: Profile, goal: Goal, rates: Any = None) -> Mapped:
    found = place(graph, profile, rates or uniform_rates(graph), goal=goal)
    assert isinstance(found, Mapped), found.violations
    return found


@pytest.mark.usefixtures("quick")
@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 10_000),
    small_profiles,
    places,
    places,
    st.sampled_from(OBJECTIVES),
    st.sampled_from(["shared", "separate"]),
)
def test_any_graph_on_any_profile_for_any_objective(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    profile: Profile,
    embedding: Any,
    head: Any,
    objective: Objective,
    steps: Steps,
) -> None:
    """Recounted neuron by neuron, nothing breaks a limit and all figures are true."""
    graph, rng = random_graph(seed), np.random.default_rng(seed)
    rates = {p.name: rng.uniform(0.1, 1, p.size) for p in graph.populations}
    goal = Goal(objective, SCHEDULES[seed % 2], steps)
    found = place(graph, profile, rates, goal=goal, embedding=embedding, head=head)
    if isinstance(found, Refused):
        assert found.violations
        return
    file = tmp_path_factory.getbasetemp() / "placement.json"
    found.placement.save(file)
    counted = recount(graph, profile, file, rates)
    assert problems(graph, profile, file, counted) == []
    for name, used in counted.use.items():
        assert np.array_equal(used, getattr(found.usage, name)), name
    assert load_placement(file).check(graph, profile) == found.placement
    if found.prediction is not None and found.load.demands:
        least = least_seconds(work_of(found, graph, profile, rates), profile, found.topology.chips)
        assert least <= found.prediction.seconds["fall-through"] * (1 + 1e-9)


def work_of(found: Mapped, graph: SpikingGraph, profile: Profile, rates: Any) -> Work:
    return Work.of(graph, found.load, rates, machine_of(profile, found.placement).latencies)


@settings(max_examples=100)
@given(st.integers(0, 10_000), places, places)
def test_steps_are_shared_by_the_rule(seed: int, embedding: str, head: str) -> None:
    graph = random_graph(seed)
    away = {graph.input.name} if embedding == "host" else set()
    away |= {graph.output.name} if head == "host" else set()
    inside = within_a_step(graph, away)
    assert inside == set(within(graph, away))
    stage, wait = stages(graph, ON_CHIP, inside), delays(graph, ON_CHIP, inside)
    assert dict(stage) == stages_by_hand(graph, within(graph, away))
    assert min(wait.values()) >= 0
    apart = stages(graph, ON_CHIP)
    assert all(stage[name] <= apart[name] for name in stage)


def test_a_block_takes_eight_steps_where_they_are_shared_and_twelve_where_not() -> None:
    graph = shape_graph(3, 64, 96)
    for steps, expected in (("separate", 12), ("shared", 8)):
        load = workload(graph, LOIHI2, steps=cast(Steps, steps))
        assert load.stages["blocks.2.ln1"] - load.stages["blocks.1.ln1"] == expected
    assert chains_of(graph, "shared")[0] == (
        "blocks.0.att.requantize",
        "blocks.0.lif1",
        "blocks.0.residual1",
    )


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_same_arguments_give_the_same_placement(objective: Objective) -> None:
    graph = shape_graph(2, 64, 96)
    goals = [Goal(objective, "fall-through", "shared")] * 2
    first, second = (placed(graph, LOIHI2, goal).placement for goal in goals)
    assert first == second


# Better than packing, as predicted.


@pytest.fixture(scope="module")
def model() -> tuple[SpikingGraph, Any, Any]:
    model = random_model(2, 128, 128, hidden_density=0.18)
    graph = lower(model, random_tokens(model, 64))
    measured = measure(graph, random_tokens(model, 40))
    rates = {n: counts / 40 for n, counts in measured.activity.per_neuron.items()}
    return graph, measured, rates


@pytest.mark.parametrize("objective", ["latency", "throughput"])
def test_the_prediction_is_near_the_clocked_simulation(
    model: tuple[SpikingGraph, Any, Any], objective: Objective
) -> None:
    graph, measured, rates = model
    packed = placed(graph, NOVEMBER, Goal("cores"), rates)
    fast = placed(graph, NOVEMBER, Goal(objective, steps="shared", chips=1), rates)
    schedule = Goal(objective).timed
    seconds = {}
    for name, found in (("packed", packed), ("fast", fast)):
        timed, _ = Site(measured, NOVEMBER, found.placement).time(schedule, "cycle")
        seconds[name] = timed.seconds.value / measured.activity.tokens
    assert seconds["fast"] < seconds["packed"] / 2
    assert fast.prediction is not None
    assert fast.prediction.seconds[schedule] == pytest.approx(seconds["fast"], rel=0.25)


def test_shared_steps_change_no_integer_and_no_arrival(
    model: tuple[SpikingGraph, Any, Any],
) -> None:
    """Messages within a core are gone, those between programs that exchange are all there."""
    graph, measured, rates = model
    arrived = {}
    for steps in ("shared", "separate"):
        goal = Goal("latency", steps=steps, chips=1)
        site = Site(measured, NOVEMBER, placed(graph, NOVEMBER, goal, rates).placement)
        _, events = site.time("fall-through", "bound")
        arrived[steps] = {
            name: own.synaptic_operation
            for name, own in events.items()
            if name in ("blocks.0.att.mix_k", "blocks.1.ffn.squared_relu", "head.input")
        }
        sent = {name: own.spike_out for name, own in events.items()}
        assert (sent["blocks.0.att.requantize"] == 0) == (steps == "shared")
        assert (sent["blocks.0.residual1"] > 0) is True
    assert arrived["shared"] == arrived["separate"]


# A toy machine: near the best of all placements.


def test_near_the_best_of_all_ways_to_place_a_small_model() -> None:
    """Every way to cut and place the toy's matrices on three small cores is tried."""
    graph = toy_graph()
    profile = with_constants(
        NOVEMBER, core__neurons=24, core__input_axons=40, chip__usable_cores=3, system__chips=1
    )
    rng = np.random.default_rng(0)
    rates = {p.name: rng.uniform(0.5, 1, p.size) for p in graph.populations}
    for objective in ("latency", "throughput"):
        goal = Goal(objective, steps="shared")
        found = placed(graph, profile, goal, rates)
        assert found.prediction is not None
        best = min(_all_seconds(graph, profile, rates, goal, found))
        assert found.prediction.seconds[goal.timed] <= 1.1 * best
        if objective == "latency":
            assert least_seconds(work_of(found, graph, profile, rates), profile, 1) <= best


def _all_seconds(
    graph: SpikingGraph, profile: Profile, rates: Any, goal: Goal, found: Mapped
) -> list[float]:
    """Seconds of every placement of halves of each unit on the cores."""
    load = found.load
    bench = Bench(graph, profile, rates, load, found.placement)
    halves = [[(unit, 0, unit.size)] if unit.whole else _halves(unit) for unit in bench.work.units]
    parts = [part for unit in halves for part in unit]
    seconds = []
    for cores in itertools.product(range(3), repeat=len(parts)):
        if any(core > 1 + max(cores[:k], default=-1) for k, core in enumerate(cores)):
            continue  # cores are alike: they are named as they come
        pieces = [
            Piece(member.name, start, stop, core)
            for (unit, start, stop), core in zip(parts, cores, strict=True)
            for member in unit.members
        ]
        routes = routes_of(load, pieces, 1 + max(cores))
        usage = usage_of(load, pieces, routes, profile)
        limits = profile.limits
        if all((used <= getattr(limits, name)).all() for name, used in vars(usage).items()):
            slots = np.arange(1 + max(cores))
            placement = bench._placement(pieces, slots, bench._topology(1))
            prediction: Prediction = bench._prediction(routes, placement)
            seconds.append(prediction.seconds[goal.timed])
    return seconds


def _halves(unit: Any) -> list[tuple[Any, int, int]]:
    middle = unit.size // 2
    return [(unit, 0, middle), (unit, middle, unit.size)]


def test_axons_go_where_they_save_most_in_the_bound_of_perfect_balance() -> None:
    work, axons = np.array([9.0, 4.0, 1.0]), np.array([100.0, 900.0, 0.0])
    free = np.zeros(3), np.full(3, 1e9)
    pieces = _balanced(work, axons, *free, room=6000.0)
    assert pieces[:2] @ axons[:2] == pytest.approx(6000)
    assert (work[:2] / pieces[:2]).sum() == pytest.approx((30 + 60) ** 2 / 6000)
    assert pieces[2] == 1e9
    held = _balanced(work, axons, np.array([0.0, 5.0, 1.0]), np.array([10.0, 99.0, 3.0]), 6000.0)
    assert held == pytest.approx([10, 5000 / 900, 3])
    assert _fullest([3, 5, 5], limit=12) == 10
    assert _fullest([], limit=12) == 0


def test_waiting_is_the_rest_of_the_message_in_service() -> None:
    one = np.array([10.0]), np.array([3.0])
    assert waiting(*one, cores=2) == pytest.approx(10 / 2 * 3 / 2)
    assert waiting(np.zeros(1), np.zeros(1), cores=1) == 0.0
    mixed = waiting(np.array([1.0, 1.0]), np.array([1.0, 3.0]), cores=1)
    assert mixed == pytest.approx(2 * (1 + 9) / 2 / (2 * 2))


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = random_model(2, 32, 96)
    path = tmp_path_factory.mktemp("objectives") / "model.sgn"
    lower(model, random_tokens(model, 64)).save(str(path))
    return path


# What is refused.


def test_too_few_chips_says_how_many_are_missing() -> None:
    graph = shape_graph(8, 512, 256)
    found = place(graph, LOIHI2, uniform_rates(graph), goal=Goal("energy", chips=1))
    assert isinstance(found, Refused)
    (violation,) = found.violations
    assert "of 2 chips, allowed are 1 chip (1 missing)" in str(violation)
    assert "chips=2 fits" in str(violation)
    assert found.chips == 2


def test_an_objective_needs_the_activity_of_all() -> None:
    graph = toy_graph()
    rates = uniform_rates(graph)
    del rates["blocks.0.lif"]
    with pytest.raises(UsageError, match=r"activity of blocks\.0\.lif"):
        place(graph, LOIHI2, rates, goal=Goal("latency"))


@pytest.mark.parametrize(
    ("objective", "without", "named"),
    [
        ("energy", "power.static_per_chip", "power.static_per_chip is missing; placing for energy"),
        ("latency", "latency.axon_in", None),
        ("throughput", "latency.synaptic_operation", "latency.synaptic_operation is missing"),
        ("latency", "router.link_buffer", "router.link_buffer is missing"),
    ],
)
def test_a_constant_that_an_objective_needs_is_named(
    objective: Objective, without: str, named: str | None
) -> None:
    graph = toy_graph()
    constants = {key: c for key, c in LOIHI2.constants.items() if key != without}
    profile = replace(LOIHI2, constants=constants)
    if named is None:
        assert isinstance(place(graph, profile, uniform_rates(graph), goal=Goal(objective)), Mapped)
        return
    with pytest.raises(UnsupportedInput, match=named):
        place(graph, profile, uniform_rates(graph), goal=Goal(objective))
    assert placed(graph, profile, Goal(None)).placement.objective == "cores"


def test_a_placement_of_an_earlier_version_gets_one_line(tmp_path: Path) -> None:
    graph = toy_graph()
    file = tmp_path / "placement.json"
    placed(graph, LOIHI2, Goal()).placement.save(file)
    content = json.loads(file.read_text())
    content["schema_version"] = 1
    del content["steps"], content["objective"], content["schedule"]
    file.write_text(json.dumps(content))
    with pytest.raises(UnsupportedInput, match="schema version 1, this version reads 2; place the"):
        load_placement(file)


def test_populations_that_share_a_step_must_share_their_cores(tmp_path: Path) -> None:
    graph = toy_graph()
    placement = placed(graph, LOIHI2, Goal("latency", steps="shared")).placement
    pieces = [
        replace(p, core=(p.core + 1) % len(placement.sites))
        if p.population == "blocks.0.lif"
        else p
        for p in placement.pieces
    ]
    if len(placement.sites) > 1:
        with pytest.raises(UnsupportedInput, match="share a step, but not their cores"):
            replace(placement, pieces=tuple(pieces)).check(graph, LOIHI2)
    apart = replace(placement, pieces=tuple(pieces), steps="separate")
    apart.check(graph, LOIHI2)


# From the command line.


def test_map_tells_what_it_was_made_for(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = {}
    for objective in OBJECTIVES:
        options = ("--hw", "loihi2", "--optimize", objective, "--json", "-q")
        assert run_cli(["map", str(artifact), *options]) == 0
        figures[objective] = json.loads(capsys.readouterr().out)
        assert figures[objective]["objective"] == objective
    assert run_cli(["map", str(artifact), "--hw", "loihi2", "--json", "-q"]) == 0
    assert without_files(json.loads(capsys.readouterr().out)) == without_files(figures["energy"])
    for objective in OBJECTIVES:
        assert {*figures[objective]["seconds_per_token"]} == {*SCHEDULES}
        assert {*figures[objective]["joules_per_token"]} == {*SCHEDULES}
        assert figures[objective]["confirmed_seconds_per_token"] > 0
        assert figures[objective]["busiest_core"]["name"].startswith("chip 0 core ")
        assert figures[objective]["interchip_messages_per_token"] == 0
    falling = {o: figures[o]["seconds_per_token"]["fall-through"] for o in OBJECTIVES}
    assert falling["latency"] <= 1.05 * min(falling.values()) < falling["cores"]
    assert figures["cores"]["cores"] == min(f["cores"] for f in figures.values())


def without_files(figures: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in figures.items() if key not in ("placement", "svg")}


def test_cores_count_where_a_profile_cannot_price_a_token(artifact: Path) -> None:
    graph = sgn.load(artifact)
    known = {key: c for key, c in LOIHI2.constants.items() if key != "power.static_per_chip"}
    found = sgn.place(graph, replace(LOIHI2, constants=known))
    assert (found.objective, found.steps) == ("cores", "separate")


def test_a_quiet_verb_leaves_the_log_as_it_was(artifact: Path) -> None:
    log = logging.getLogger("spikegpt_neuro")
    before = log.level
    assert run_cli(["map", str(artifact), "--hw", "loihi2", "-q", "--no-confirm"]) == 0
    assert log.level == before


def test_wrong_options_are_refused(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, said in (
        (("--optimize", "speed"), "'speed' is not one of"),
        (("--chips", "0"), "0 is not in the range"),
    ):
        assert run_cli(["map", str(artifact), "--hw", "loihi2", *options]) == 2
        assert said in capsys.readouterr().err
    graph = sgn.load(artifact)
    with pytest.raises(UsageError, match="optimize is 'speed'"):
        sgn.place(graph, "loihi2", optimize=cast(Any, "speed"))
    with pytest.raises(UsageError, match="steps is 'none'"):
        sgn.place(graph, "loihi2", steps=cast(Any, "none"))
    with pytest.raises(UsageError, match="chips is 0"):
        sgn.place(graph, "loihi2", chips=0)
    with pytest.raises(DoesNotFit):
        sgn.place(graph, "loihi1")
