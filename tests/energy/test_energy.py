"""Activity, counts and joules: by hand, by an independent recount, and as properties."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikegpt_neuro.api.measuring import Measured, Site, mapped_of, measure
from spikegpt_neuro.backends.reference import ReferenceBackend
from spikegpt_neuro.energy.accounting import counts_of, price
from spikegpt_neuro.energy.activity import Tally, activity_of
from spikegpt_neuro.energy.counts import arrivals_of, firing_rate
from spikegpt_neuro.energy.estimators import Timed, estimate, under_accounting
from spikegpt_neuro.energy.events import HardwareEvents
from spikegpt_neuro.energy.hardware import hardware_events
from spikegpt_neuro.energy.pricing import (
    CATEGORY_OF,
    EMBEDDED,
    STATIC,
    Time,
    kinds_of,
    time_constants,
    weakest,
)
from spikegpt_neuro.energy.pricing import price as charge
from spikegpt_neuro.energy.record import CATEGORIES, Category, Estimate, Range, from_json, to_json
from spikegpt_neuro.energy.tables import figures, layers
from spikegpt_neuro.errors import CheckFailed, UnsupportedInput, UsageError
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.graph.layers import layer_of
from spikegpt_neuro.hardware.profile import Profile, load_profile
from spikegpt_neuro.mapping.goal import Goal
from spikegpt_neuro.running import Run
from spikegpt_neuro.schedules import Schedule

from energy_example import example_graph, example_placement, example_run, profile_with
from places import ROOT
from toy_graph import VOCABULARY, toy_graph

DOCUMENT = ROOT / "docs" / "energy.md"
TOKENS = 24


def _rows(first_cell: str) -> list[list[str]]:
    """The table of the document's example whose head begins with ``first_cell``."""
    example = DOCUMENT.read_text(encoding="utf-8").split("## An example by hand")[1]
    lines = iter(example.splitlines())
    for line in lines:
        if line.startswith(f"| {first_cell} |"):
            next(lines)
            break
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


@pytest.fixture(scope="module")
def priced(tmp_path_factory: pytest.TempPathFactory) -> tuple[SpikingGraph, Profile, Estimate]:
    """The document's example with the document's constants."""
    lines = [
        f'energy.{name} = {{ value = {constant}, unit = "pJ", kind = "fitted", source = "own" }}'
        for name, _, constant, _ in _rows("event")
        if name != "static"
    ]
    static = 'power.static_per_chip = { value = 1, unit = "mW", kind = "fitted", source = "own" }'
    profile = profile_with(tmp_path_factory.mktemp("profile"), *lines, static)
    graph = example_graph()
    activity = activity_of(graph, example_run(graph))
    timed = Timed("pipelined", "given", steps=2, seconds=Range.exactly(2e-6), constants=())
    placement = example_placement(graph, profile).check(graph, profile)
    return graph, profile, estimate("reference", graph, activity, profile, placement, timed)


# The example by hand.


def test_the_documents_events_are_counted() -> None:
    graph = example_graph()
    activity = activity_of(graph, example_run(graph))
    for name, size, program, bits, first, second, events in _rows("population"):
        population = graph.by_name[name]
        assert (population.size, population.program.kind) == (int(size), program)
        assert population.events.bits == int(bits)
        sent = [np.array(cell.split(), int) for cell in (first, second)]
        assert activity.per_token[name].tolist() == [np.count_nonzero(row) for row in sent]
        assert activity.per_neuron[name].tolist() == np.count_nonzero(sent, axis=0).tolist()
        assert activity.largest[name] == np.abs(sent).max()
        assert activity.events(name) == int(events)


def test_the_documents_synapses_are_counted() -> None:
    graph = example_graph()
    arrivals = arrivals_of(graph, activity_of(graph, example_run(graph)))
    rows = _rows("projection")
    assert [row[0] for row in rows] == [a.name for a in arrivals]
    for arrived, (_, kind, *numbers) in zip(arrivals, rows, strict=True):
        assert arrived.kind == kind
        assert [
            arrived.fan_out,
            arrived.events.sum(),
            arrived.synaptic_operations,
            arrived.payload_bit_operations,
            arrived.effective_acs,
            arrived.effective_macs,
            arrived.dense,
        ] == [int(number) for number in numbers]


def test_the_documents_joules_are_recomputed(
    priced: tuple[SpikingGraph, Profile, Estimate],
) -> None:
    graph, profile, found = priced
    placement = example_placement(graph, profile)
    activity = activity_of(graph, example_run(graph))
    events = hardware_events(graph, activity, profile, placement, steps=2)
    total = asdict(sum(events.values(), HardwareEvents()))
    rows = _rows("event")
    assert {row[0] for row in rows} == {*total, "static"}
    for name, count, constant, joules in rows:
        # The row's own arithmetic, then the tool's.
        formula, _, result = count.rpartition("=")
        number = int(result)
        if formula and name != "static":
            assert eval(formula.replace("x", "*")) == number  # our own file: digits and signs
        assert number * float(constant) == float(joules)
        if name != "static":
            assert total[name] == number
        operation = STATIC if name == "static" else name
        assert found.by_operation[operation].value == pytest.approx(float(joules) * 1e-12, 1e-12)
    *categories, (_, expected) = _rows("category")
    assert sum(float(joules) for _, joules in categories) == float(expected)
    for category, joules in categories:
        value = found.joules[category].value
        assert value == pytest.approx(float(joules) * 1e-12, rel=1e-12)
    assert found.total.value == pytest.approx(float(expected) * 1e-12, rel=1e-12)


def test_the_documents_sentences_hold(priced: tuple[SpikingGraph, Profile, Estimate]) -> None:
    graph, _, found = priced
    arrivals = arrivals_of(graph, activity_of(graph, example_run(graph)))
    said = figures(found, arrivals, [])
    text = DOCUMENT.read_text(encoding="utf-8")
    assert f"{said['joules_per_token'] * 1e12:.2f} pJ per token" in text
    assert said["share_spike_driven"] == 9 / 22
    assert "9 of 22 synaptic operations are spike-driven" in text


# Activity.


@pytest.fixture(scope="module")
def toy() -> tuple[SpikingGraph, np.ndarray, Run]:
    graph = toy_graph()
    tokens = np.random.default_rng(1).integers(0, VOCABULARY, TOKENS)
    return graph, tokens, ReferenceBackend().run(graph, tokens, record="events")


def test_chunks_count_as_the_whole(toy: tuple[SpikingGraph, np.ndarray, Run]) -> None:
    graph, _, run = toy
    whole = activity_of(graph, run)

    @given(st.lists(st.integers(1, TOKENS - 1), max_size=4).map(sorted))
    def same(cuts: list[int]) -> None:
        tally = Tally(graph)
        for start, stop in zip([0, *cuts], [*cuts, TOKENS], strict=True):
            for name, events in (*run.events.items(), (graph.output.name, run.logits_int)):
                tally.see(name, events[start:stop])
        found = tally.activity()
        assert found.tokens == whole.tokens
        assert found.largest == whole.largest
        for name in whole.per_token:
            assert (found.per_token[name] == whole.per_token[name]).all()
            assert (found.per_neuron[name] == whole.per_neuron[name]).all()

    same()


def test_a_run_that_recorded_too_little_is_refused(
    toy: tuple[SpikingGraph, np.ndarray, Run],
) -> None:
    graph, tokens, _ = toy
    spikes = ReferenceBackend().run(graph, tokens, record="spikes")
    with pytest.raises(UsageError, match=r"blocks\.0\.mix: 0 of 24 tokens .* record='events'"):
        activity_of(graph, spikes)


def _recount(graph: SpikingGraph, run: Run) -> dict[str, int]:
    """Projection -> synaptic operations, synapse by synapse."""
    found = {}
    for q in graph.projections:
        operations = 0
        for row in run.events[q.source].tolist():
            for payload in row:
                if payload:
                    operations += graph.by_name[q.target].size if q.weights is not None else 1
        found[q.name] = operations
    return found


def test_synaptic_operations_are_those_of_a_recount(
    toy: tuple[SpikingGraph, np.ndarray, Run],
) -> None:
    graph, tokens, run = toy
    expected = _recount(graph, run)
    streamed = measure(graph, tokens).activity  # what the backends reference and cycle count
    for activity in (activity_of(graph, run), streamed):
        found = {a.name: a.synaptic_operations for a in arrivals_of(graph, activity)}
        assert found == expected
    assert {n: a.synaptic_operations for n, a in run.activity.items()} == expected


def test_lava_counts_the_same(toy: tuple[SpikingGraph, np.ndarray, Run]) -> None:
    pytest.importorskip("lava")
    from spikegpt_neuro.backends.lava.backend import LavaBackend

    graph, tokens, run = toy
    measured = measure(graph, tokens, LavaBackend(granularity="block"))
    arrivals = arrivals_of(graph, measured.activity)
    assert {a.name: a.synaptic_operations for a in arrivals} == _recount(graph, run)
    for name, counts in activity_of(graph, run).per_neuron.items():
        assert (measured.activity.per_neuron[name] == counts).all()


def test_layers_and_firing_rate() -> None:
    assert [layer_of(n) for n in ("blocks.3.att.wkv", "blocks.0.lif1", "ln_out", "head.input")] == [
        *("blocks.3", "blocks.0", "ln_out", "head")
    ]
    graph = example_graph()
    assert firing_rate(graph, activity_of(graph, example_run(graph))) == 3 / 6


# Hardware events: worked out, and counted by the simulator.


@pytest.fixture(scope="module")
def scattered(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """Small cores, few of them on a chip: a toy fills several chips."""
    limits = {
        "core.neurons": (3, "neurons"),
        "chip.usable_cores": (3, "cores"),
        "chip.cores_per_tile": (2, "cores"),
        "system.chip_rows": (2, "chips"),
    }
    lines = (
        f'{key} = {{ value = {value}, unit = "{unit}", kind = "fitted", source = "own" }}'
        for key, (value, unit) in limits.items()
    )
    return profile_with(tmp_path_factory.mktemp("scattered"), *lines)


def _site(measured: Measured, profile: Profile, embedding: Any, head: Any) -> Site:
    found = mapped_of(measured.graph, lambda: measured, profile, Goal(), embedding, head, seed=0)
    return Site(measured, profile, found.placement)


@pytest.mark.parametrize("schedule", ["pipelined", "fall-through"])
@pytest.mark.parametrize(("embedding", "head"), [("host", "chip"), ("chip", "host")])
def test_the_simulator_counts_what_we_work_out(
    toy: tuple[SpikingGraph, np.ndarray, Run],
    scattered: Profile,
    schedule: Schedule,
    embedding: str,
    head: str,
) -> None:
    graph, tokens, _ = toy
    site = _site(measure(graph, tokens), scattered, embedding, head)
    assert site.placement.chips > 1
    timed, simulated = site.time(schedule, "bound")
    steps = timed.steps + timed.filling_steps
    expected = hardware_events(graph, site.measured.activity, scattered, site.placement, steps)
    assert expected == simulated
    total = sum(expected.values(), HardwareEvents())
    assert total.interchip_hop > 0
    assert total.hop_east_west + total.hop_north_south > 0
    reference = site.record("reference", timed)
    cycle = site.record("cycle", timed, simulated)
    assert replace(reference, estimator="") == replace(cycle, estimator="")


def test_the_clocked_model_gives_a_record(
    toy: tuple[SpikingGraph, np.ndarray, Run],
) -> None:
    graph, tokens, _ = toy
    site = _site(measure(graph, tokens), load_profile("loihi2"), "host", "chip")
    bound, clocked = (site.time("pipelined", timing)[0] for timing in ("bound", "cycle"))
    assert clocked.seconds.low <= clocked.seconds.value <= clocked.seconds.high
    assert clocked.seconds.value >= bound.seconds.value * (1 - 1e-12)
    assert (clocked.steps, clocked.filling_steps) == (bound.steps, bound.filling_steps)


def test_steady_state_does_not_depend_on_the_length(
    toy: tuple[SpikingGraph, np.ndarray, Run],
) -> None:
    graph, _, _ = toy
    profile = load_profile("loihi2")
    found = []
    for count in (12, 48):
        tokens = np.full(count, 3)
        site = _site(measure(graph, tokens), profile, "host", "chip")
        timed, _ = site.time("pipelined", "bound")
        record = site.record("reference", timed)
        assert record.filling_steps == 6
        assert record.filling_seconds.value > 0
        assert record.filling_joules.value > 0
        found.append(record.joules["neuron"].value / count)
    assert found[0] == pytest.approx(found[1], rel=1e-12)


def test_a_text_too_short_for_the_pipeline_is_priced_as_it_ran(
    toy: tuple[SpikingGraph, np.ndarray, Run],
) -> None:
    graph, tokens, _ = toy
    site = _site(measure(graph, tokens[:3]), load_profile("loihi2"), "host", "chip")
    timed, _ = site.time("pipelined", "bound")
    assert not timed.is_steady
    assert (timed.steps, timed.filling_steps) == (3 + 6, 0)


def test_what_does_not_fit_is_refused(toy: tuple[SpikingGraph, np.ndarray, Run]) -> None:
    graph, tokens, _ = toy
    with pytest.raises(CheckFailed, match="carry binary spikes only"):
        _site(measure(graph, tokens), load_profile("loihi1"), "host", "chip")


# Prices.


EVERYTHING = tuple(CATEGORY_OF)


def _priced(profile: Profile) -> Estimate:
    graph = example_graph()
    activity = activity_of(graph, example_run(graph))
    placement = example_placement(graph, profile)
    constants = time_constants(profile, placement.chips)
    timed = Timed("pipelined", "given", 2, Range(1e-3, 5e-4, 2e-3), constants)
    return estimate("reference", graph, activity, profile, placement, timed)


def _complete(folder: Path, doubled: str | None = None) -> Profile:
    """A profile that prices everything; ``doubled`` costs twice as much."""
    lines = [
        f'energy.{name} = {{ value = {(index + 3) * (1 + (name == doubled))}, unit = "pJ", '
        f'kind = "assumed", low = 1, high = 90, source = "own" }}'
        for index, name in enumerate(EVERYTHING)
    ]
    powers = [
        f"power.{name} = {{ value = {watts * (1 + (name == doubled))}, "
        'unit = "W", kind = "measured", source = "own" }'
        for name, watts in ((STATIC, 1), (EMBEDDED, 3))
        if name == STATIC or doubled in (None, name)
    ]
    return profile_with(folder, *lines, *powers)


@pytest.mark.parametrize("doubled", [*EVERYTHING, STATIC])
def test_doubling_a_constant_moves_only_its_category(tmp_path: Path, doubled: str) -> None:
    before = _priced(_without_embedded(_complete(tmp_path)))
    after = _priced(_complete(tmp_path, doubled))
    moved: Category = "static" if doubled == STATIC else CATEGORY_OF[doubled]
    for category in CATEGORIES:
        change = after.joules[category].value - before.joules[category].value
        if category != moved:
            assert change == 0
        else:
            assert change == pytest.approx(before.by_operation[doubled].value, rel=1e-9)
            assert change > 0
    for operation, joules in before.by_operation.items():
        factor = 2 if operation == doubled else 1
        assert after.by_operation[operation].value == pytest.approx(factor * joules.value, 1e-12)


def _without_embedded(profile: Profile) -> Profile:
    constants = {k: c for k, c in profile.constants.items() if k != f"power.{EMBEDDED}"}
    return replace(profile, constants=constants)


def test_embedded_processors_are_static_power_beside_that_of_the_cores(tmp_path: Path) -> None:
    both = _priced(_complete(tmp_path))
    twice = _priced(_complete(tmp_path, EMBEDDED))
    alone = _priced(_without_embedded(_complete(tmp_path)))
    assert both.joules["static"].value == pytest.approx(4 * alone.joules["static"].value)
    assert both.by_operation[STATIC] == alone.by_operation[STATIC]
    assert both.by_operation[EMBEDDED].value == pytest.approx(2 * 3 * 1e-3)
    assert twice.by_operation[EMBEDDED].value == pytest.approx(2 * 2 * 3 * 1e-3)
    for category in CATEGORIES:
        if category != "static":
            assert both.joules[category] == alone.joules[category] == twice.joules[category]


def test_static_energy_is_divided_by_what_its_time_rests_on() -> None:
    loihi2 = load_profile("loihi2")
    constants = time_constants(loihi2, chips=2)
    for assumed, shares in (
        (None, {"assumed": 1.0}),
        (0.25, {"scaled": 0.75, "assumed": 0.25}),
        (0.0, {"scaled": 1.0, "assumed": 0.0}),
    ):
        time = Time(Range.exactly(1e-3), constants, assumed)
        assert kinds_of("measured", time, loihi2) == shares
        assert kinds_of("assumed", time, loihi2) == {"assumed": 1.0}
        found = charge({}, time, 2, loihi2)
        assert sum(found.by_kind.values()) == pytest.approx(found.joules["static"].value)
        assert found.by_kind.get("assumed", 0.0) == pytest.approx(
            shares["assumed"] * found.joules["static"].value
        )


def test_how_much_of_a_time_is_assumed(toy: tuple[SpikingGraph, np.ndarray, Run]) -> None:
    """All of it where every constant is assumed; none where none is."""
    graph, tokens, _ = toy
    loihi2 = load_profile("loihi2")
    measured = measure(graph, tokens)
    for kind, share in (("assumed", 1.0), ("measured", 0.0)):
        constants = {k: replace(c, kind=kind) for k, c in loihi2.constants.items()}
        profile = replace(loihi2, constants=constants)
        timed, _ = _site(measured, profile, "host", "chip").time("pipelined", "bound")
        assert timed.assumed == pytest.approx(share, abs=1e-9)
    timed, _ = _site(measured, loihi2, "host", "chip").time("pipelined", "bound")
    assert timed.assumed == 0  # the smallest step, which was measured


def test_every_sum_is_the_total(tmp_path: Path) -> None:
    found = _priced(_complete(tmp_path))
    total = found.total.value
    assert min(found.joules[c].value for c in CATEGORIES) > 0
    assert sum(joules.value for joules in found.by_operation.values()) == pytest.approx(
        total, 1e-12
    )
    assert sum(found.by_kind.values()) == pytest.approx(total, 1e-12)
    by_layer = layers(found)
    for category in CATEGORIES:
        summed = sum(table[category].value for table in by_layer.values() if category in table)
        assert summed == pytest.approx(found.joules[category].value, rel=1e-12)


def test_figures_are_the_record_per_token(tmp_path: Path) -> None:
    profile = _complete(tmp_path)
    found = _priced(profile)
    graph = example_graph()
    arrivals = arrivals_of(graph, activity_of(graph, example_run(graph)))
    said = figures(found, arrivals, [profile[key] for key in found.constants])
    assert json.loads(json.dumps(said)) == said
    assert said["joules_per_token"] == pytest.approx(sum(said["joules"].values()), rel=1e-12)
    assert said["joules_per_token_low"] == pytest.approx(sum(said["joules_low"].values()), 1e-12)
    assert said["joules_per_token_high"] == pytest.approx(sum(said["joules_high"].values()), 1e-12)
    per_layer = sum(row["joules_per_token"] for row in said["by_layer"])
    assert per_layer == pytest.approx(said["joules_per_token"], rel=1e-12)
    assert (
        sum(row["synops_per_token"] for row in said["by_layer"]) == said["synops_per_token"] == 11
    )
    assert said["by_arrival"] == {
        "binary": {"events": 6 / 2, "synaptic_operations": 9 / 2, "payload_bit_operations": 0},
        "graded": {
            "events": 7 / 2,
            "synaptic_operations": 13 / 2,
            "payload_bit_operations": 131 / 2,
        },
        "dense": {"events": 0, "synaptic_operations": 0, "payload_bit_operations": 0},
    }
    assert said["seconds_per_token"] * said["tokens_per_second"] == pytest.approx(1, rel=1e-12)
    kinds = {row["operation"]: row["kind"] for row in said["by_operation"]}
    assert kinds[STATIC] == "assumed"  # measured power over an assumed time


def test_ranges_hold_the_value(tmp_path: Path) -> None:
    found = _priced(_without_embedded(_complete(tmp_path)))
    ranges = [*found.joules.values(), *found.by_operation.values(), found.total, found.seconds]
    for each in (*ranges, found.tokens_per_second):
        assert each.low <= each.value <= each.high
    assert found.joules["static"] == Range(2 * 1e-3, 2 * 5e-4, 2 * 2e-3)


def test_what_has_no_constant_is_named(tmp_path: Path) -> None:
    loihi2 = load_profile("loihi2")
    without = {k: c for k, c in loihi2.constants.items() if k != "energy.axon_in"}
    found = _priced(replace(loihi2, constants=without))
    assert any(n.startswith("energy.axon_in (13 in the run)") for n in found.not_modelled)
    assert "axon_in" not in found.by_operation
    without_power = replace(
        loihi2, constants={k: c for k, c in loihi2.constants.items() if k != f"power.{STATIC}"}
    )
    assert any(n.startswith(f"power.{STATIC}") for n in _priced(without_power).not_modelled)
    assert any("the host's own work" in n for n in found.not_modelled)


def test_the_weakest_constant_names_the_kind() -> None:
    assert weakest(["measured", "scaled", "fitted"]) == "scaled"
    assert weakest(["measured", "pre-silicon"]) == "pre-silicon"
    assert weakest(["assumed", "convention"]) == "convention"
    loihi2 = load_profile("loihi2")
    one, two = (time_constants(loihi2, chips) for chips in (1, 2))
    assert set(two) - set(one) == {
        *("latency.interchip_hop", "latency.barrier_chips", "bandwidth.interchip")
    }


def test_every_hardware_event_has_a_category_and_a_key() -> None:
    from spikegpt_neuro.hardware.schema import SPECS

    assert {f.name for f in fields(HardwareEvents)} == set(CATEGORY_OF)
    assert {f"energy.{name}" for name in CATEGORY_OF} <= set(SPECS)


def test_an_accounting_keeps_the_time_and_changes_the_joules() -> None:
    graph = example_graph()
    activity = activity_of(graph, example_run(graph))
    ours = _priced(load_profile("loihi2"))
    theirs = price("kerasspiking", counts_of(graph, activity, 64))
    found = under_accounting(ours, theirs)
    assert found.total.value == pytest.approx(theirs.joules * 2, rel=1e-12)
    assert found.seconds == ours.seconds
    assert found.accounting.startswith("kerasspiking:")
    assert "static" not in found.joules
    assert sum(found.by_kind.values()) == pytest.approx(found.total.value, rel=1e-12)


# The record in a file.


def test_a_record_survives_json(tmp_path: Path) -> None:
    found = replace(_priced(_complete(tmp_path)), undivided=Range(1, 0, 2), raw={"rail": [1, 2]})
    assert from_json(json.loads(json.dumps(to_json(found)))) == found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"joules": {"warmth": {"value": 1}}}, "no category warmth"),
        ({"joules": {"static": {"worth": 1}}}, "worth"),
        ({"seconds": 3}, "seconds: expected an object, found 3"),
        ({"surprise": 1}, "surprise: unknown key"),
    ],
)
def test_a_damaged_record_gets_one_line(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    content = to_json(_priced(_complete(tmp_path))) | change
    with pytest.raises(UnsupportedInput, match=said):
        from_json(content)
    del content["joules"]
    with pytest.raises(UnsupportedInput):
        from_json(content)
