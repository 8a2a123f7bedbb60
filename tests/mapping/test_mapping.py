"""Placement: every neuron once, every limit kept, few cores, short ways, the same every time."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example as also
from hypothesis import given, settings
from hypothesis import strategies as st
from profiles_changed import with_constants

import spikegpt_neuro as sgn
from spikegpt_neuro.cli import run as run_cli
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.errors import DoesNotFit, UnsupportedInput
from spikegpt_neuro.evaluation.corpus import held_out, python_documentation
from spikegpt_neuro.graph.graph import Projection, SpikingGraph
from spikegpt_neuro.hardware.mesh import HOST, Mesh
from spikegpt_neuro.hardware.profile import Profile, load_profile
from spikegpt_neuro.hardware.topology import Topology
from spikegpt_neuro.mapping.anneal import hop_weighted
from spikegpt_neuro.mapping.mapper import (
    Mapped,
    Refused,
    lower_bound_cores,
    measured_rates,
    place,
    place_by_activity,
)
from spikegpt_neuro.mapping.partition import cores_of, partition
from spikegpt_neuro.mapping.picture import draw, link_loads
from spikegpt_neuro.mapping.placement import load_placement
from spikegpt_neuro.mapping.requirements import Where, list_bytes, workload
from spikegpt_neuro.mapping.routes import by_population, messages_per_event, routes_of
from spikegpt_neuro.mapping.traffic import rate_of
from spikegpt_neuro.model.synthetic import random_model, random_tokens
from spikegpt_neuro.units import scaled
from spikegpt_neuro.vocabulary import read_vocabulary

from placement_validator import cost, hops, problems, recount
from places import ROOT
from shape_graphs import random_graph, shape_graph, uniform_rates
from toy_graph import toy_graph

LOIHI2 = load_profile("loihi2")
BOUND = 1.15
Rates = dict[str, np.ndarray[Any, Any]]


def mapped(graph: SpikingGraph, profile: Profile, rates: Rates, **options: Any) -> Mapped:
    found = place(graph, profile, rates, **options)
    assert isinstance(found, Mapped), found.violations
    return found


def check(graph: SpikingGraph, profile: Profile, rates: Rates, found: Mapped, folder: Path) -> None:
    """The placement's file, recounted by the independent validator, breaks nothing."""
    file = folder / "placement.json"
    found.placement.save(file)
    counted = recount(graph, profile, file, rates)
    assert problems(graph, profile, file, counted) == []
    for name, used in counted.use.items():  # the figures that users see are true
        assert np.array_equal(used, getattr(found.usage, name)), name
    messages = np.zeros_like(counted.messages)
    np.add.at(messages, (found.traffic.source, found.traffic.target), found.traffic.messages)
    assert np.array_equal(messages > 0, counted.messages > 0), "a synapse without a route"
    assert np.allclose(messages, counted.messages)
    weighed = cost(profile, list(found.placement.sites), counted.messages)
    assert weighed == pytest.approx(found.hops.placed)
    if found.prediction is not None and profile.reaches_chips:
        assert found.prediction.interchip_messages == pytest.approx(counted.to_chips)


# Random graphs on random profiles.

small_profiles = st.builds(
    lambda **changes: with_constants(LOIHI2, **changes),
    core__neurons=st.integers(20, 80),
    core__synaptic_memory=st.integers(400, 8000),
    core__neuron_memory=st.integers(3200, 12000),
    core__input_axons=st.integers(60, 300),
    core__output_axons=st.integers(20, 400),
    core__fan_in=st.integers(40, 200),
    encoding__list_header=st.integers(0, 8),
    encoding__list_word=st.sampled_from([1, 2, 4, 8]),
    chip__tile_columns=st.integers(1, 4),
    chip__tile_rows=st.integers(1, 3),
    chip__cores_per_tile=st.just(4),
    chip__usable_cores=st.integers(1, 4),
    system__chip_rows=st.integers(1, 4),
)
places = st.sampled_from(["chip", "host"])


FEW_AXONS = {
    "core__neurons": 37,
    "core__synaptic_memory": 400,
    "core__neuron_memory": 3200,
    "core__input_axons": 60,
    "core__output_axons": 20,
    "core__fan_in": 40,
    "encoding__list_header": 0,
    "encoding__list_word": 1,
    "chip__tile_columns": 1,
    "chip__tile_rows": 1,
    "chip__cores_per_tile": 4,
    "chip__usable_cores": 1,
    "system__chip_rows": 1,
}


@settings(max_examples=150)
@also(110, with_constants(LOIHI2, **FEW_AXONS), "chip", "chip")  # lists of many axons
@given(st.integers(0, 10_000), small_profiles, places, places)
def test_any_graph_on_any_profile(
    tmp_path_factory: pytest.TempPathFactory, seed: int, profile: Profile, embedding: Any, head: Any
) -> None:
    graph = random_graph(seed)
    rng = np.random.default_rng(seed)
    rates = {p.name: rng.uniform(0.1, 1, p.size) for p in graph.populations}
    found = place(graph, profile, rates, embedding=embedding, head=head)
    if isinstance(found, Refused):
        assert found.violations
        for violation in found.violations:
            assert re.search(r"\([\d,]+ missing", str(violation)), violation
        return
    check(graph, profile, rates, found, tmp_path_factory.getbasetemp())
    assert found.hops.placed <= found.hops.plain_order * (1 + 1e-12)


def test_a_population_that_stays_together_may_use_the_reserve() -> None:
    """A reserve of synaptic memory does not refuse what an empty core can hold."""
    base = toy_graph()
    norm = replace(shape_graph(1, 8, 11).by_name["ln0"], name="norm")
    weights = np.ones((norm.size, base.input.size), np.int8)
    graph = replace(
        base,
        populations=(base.input, norm),
        projections=(Projection("in", "embedding", "norm", "input", weights),),
    )
    load = workload(graph, LOIHI2)
    (demand,) = load.demands
    tight = with_constants(
        LOIHI2, core__synaptic_memory=demand.synaptic_bytes(norm.size, LOIHI2.encoding)
    )
    assert len(partition(load, tight)[0]) == 1


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(0, 5))
def test_the_same_seed_gives_the_same_file(
    tmp_path_factory: pytest.TempPathFactory, graph_seed: int, seed: int
) -> None:
    graph = random_graph(graph_seed)
    tight = with_constants(LOIHI2, core__synaptic_memory=2000, core__neurons=50)
    files = [tmp_path_factory.getbasetemp() / f"placement{k}.json" for k in (1, 2)]
    for file in files:
        found = place(graph, tight, uniform_rates(graph), seed=seed)
        if isinstance(found, Refused):
            return
        found.placement.save(file)
    assert files[0].read_bytes() == files[1].read_bytes()


# Whole models.


@pytest.mark.parametrize(
    ("layers", "width", "vocab_size", "options"),
    [
        (2, 64, 96, {}),
        (2, 96, 300, {"ffn_pre": True}),
        (1, 64, 96, {"spike_input": True}),
        (1, 64, 96, {"spike_embedding": False}),
    ],
)
@pytest.mark.parametrize("head", ["chip", "host"])
def test_every_kind_of_model(
    tmp_path: Path, layers: int, width: int, vocab_size: int, options: Any, head: Any
) -> None:
    graph = shape_graph(layers, width, vocab_size, **options)
    small = with_constants(LOIHI2, core__synaptic_memory=16 * 1024, core__output_axons=512)
    rates = uniform_rates(graph)
    check(graph, small, rates, mapped(graph, small, rates, head=head), tmp_path)


@pytest.mark.parametrize(("layers", "width", "vocab_size"), [(12, 512, 256), (18, 768, 50277)])
def test_few_cores_short_ways(tmp_path: Path, layers: int, width: int, vocab_size: int) -> None:
    graph = shape_graph(layers, width, vocab_size)
    rates = uniform_rates(graph)
    found = mapped(graph, LOIHI2, rates)
    weights = sum(q.synapses for q in graph.projections)
    bound = -(-weights // LOIHI2.limits.synaptic_memory)  # one byte each, no overhead at all
    assert lower_bound_cores(found.load, LOIHI2) == bound
    assert found.cores <= BOUND * bound
    assert 2 * found.hops.placed <= found.hops.random_order
    assert found.hops.placed < 0.7 * found.hops.plain_order
    check(graph, LOIHI2, rates, found, tmp_path)


@pytest.mark.parametrize("bits", [4, 6])
def test_fewer_bits_fill_fewer_cores(tmp_path: Path, bits: int) -> None:
    graph = replace(shape_graph(12, 512, 256), weight_bits=bits)
    rates = uniform_rates(graph)
    found = mapped(graph, LOIHI2, rates)
    assert found.cores <= BOUND * lower_bound_cores(found.load, LOIHI2)
    check(graph, LOIHI2, rates, found, tmp_path)


@pytest.mark.parametrize("name", ["hala-point", "spinnaker2"])
def test_other_systems(tmp_path: Path, name: str) -> None:
    graph, profile = shape_graph(4, 256, 256), load_profile(name)
    rates = uniform_rates(graph)
    check(graph, profile, rates, mapped(graph, profile, rates), tmp_path)


def test_an_embedding_on_the_chip_is_synapses_from_token_axons(tmp_path: Path) -> None:
    graph = shape_graph(2, 64, 96)
    rates = uniform_rates(graph)
    on_host = mapped(graph, LOIHI2, rates, embedding="host")
    on_chip = mapped(graph, LOIHI2, rates, embedding="chip")
    check(graph, LOIHI2, rates, on_chip, tmp_path)
    assert on_chip.load.neurons == on_host.load.neurons + 64
    assert on_chip.load.dense_synapses == on_host.load.dense_synapses + 64 * 96
    assert on_chip.traffic.from_host == pytest.approx(1.0)  # one token id per token


def test_layer_norm_stays_together() -> None:
    graph = shape_graph(3, 128, 96)
    found = mapped(graph, LOIHI2, uniform_rates(graph))
    cores: dict[str, set[int]] = {}
    for piece in found.placement.pieces:
        cores.setdefault(piece.population, set()).add(piece.core)
    norms = [p for p in graph.populations if p.program.kind == "layer_norm"]
    assert len(norms) == 8
    assert all(len(cores[p.name]) == 1 for p in norms)


# The example, with activity that was measured.


@pytest.fixture(scope="module")
def example() -> tuple[SpikingGraph, Rates]:
    pytest.importorskip("torch")
    folder = ROOT / "examples"
    vocabulary = read_vocabulary(folder / "pydoc-vocab.json", 96)
    tokens = vocabulary.encode(held_out(python_documentation())[:2048], unknown="replace")
    graph = sgn.convert(
        folder / "pydoc-4x128.pth", vocab=folder / "pydoc-vocab.json", calibration=tokens
    )
    run = sgn.run(graph, tokens[:128], record="events")
    return graph, dict(measured_rates(graph, run))


def test_measured_rates_are_events_per_token(example: tuple[SpikingGraph, Rates]) -> None:
    graph, rates = example
    assert {name: len(rate) for name, rate in rates.items()} == {
        p.name: p.size for p in graph.populations
    }
    assert all(rate.min() >= 0 and rate.max() <= 1 for rate in rates.values())
    assert 0.02 < np.mean([r.mean() for name, r in rates.items() if ".lif" in name]) < 0.6


def test_the_example_is_placed_well(tmp_path: Path, example: tuple[SpikingGraph, Rates]) -> None:
    graph, rates = example
    found = mapped(graph, LOIHI2, rates)
    check(graph, LOIHI2, rates, found, tmp_path)
    assert 2 * found.hops.placed <= found.hops.random_order
    assert found.hops.placed <= found.hops.plain_order


def test_the_46m_shape_with_the_examples_activity(example: tuple[SpikingGraph, Rates]) -> None:
    small, measured = example
    graph = shape_graph(12, 512, 256)
    parts: dict[str, list[float]] = {}
    for population in small.populations:
        mean = float(measured[population.name].mean())
        parts.setdefault(part_of(population.name), []).append(mean)
    rates = {p.name: np.full(p.size, np.mean(parts[part_of(p.name)])) for p in graph.populations}
    found = mapped(graph, LOIHI2, rates)
    assert 2 * found.hops.placed <= found.hops.random_order
    assert found.hops.placed <= found.hops.plain_order


def part_of(name: str) -> str:
    return re.sub(r"^blocks\.\d+\.", "", name)


@given(st.integers(0, 10_000), st.sampled_from(["chip", "host"]))
@settings(max_examples=30)
def test_the_partitioner_counts_the_messages_of_the_routes(seed: int, head: Where) -> None:
    graph = random_graph(seed)
    profile = with_constants(LOIHI2, core__neurons=45)
    load = workload(graph, profile, "host", head)
    pieces = partition(load, profile)[0]
    routes = routes_of(load, pieces, cores_of(pieces))
    placed = by_population(pieces)
    for index, name in enumerate(routes.sources):
        mine = np.flatnonzero(routes.population == index)
        mine = mine[np.argsort(routes.start[mine])]
        each = np.repeat(routes.messages[mine], (routes.stop - routes.start)[mine])
        if name in load.readers and len(mine):
            assert np.array_equal(messages_per_event(load, name, placed), each)


# What does not fit.


def refused(graph: SpikingGraph, profile: Profile, **options: Any) -> Refused:
    found = place(graph, profile, {}, **options)
    assert isinstance(found, Refused)
    return found


def test_what_does_not_fit_is_an_error_with_every_violation() -> None:
    graph = shape_graph(2, 64, 96)
    expected = refused(graph, load_profile("loihi1")).violations
    with pytest.raises(DoesNotFit) as caught:
        place_by_activity(graph, load_profile("loihi1"), pytest.fail)
    assert caught.value.violations == expected
    assert str(caught.value).startswith(str(expected[0]))
    rates = uniform_rates(graph)
    found = place_by_activity(graph, LOIHI2, lambda: rates, seed=3, artifact="a")
    assert found.placement == mapped(graph, LOIHI2, rates, seed=3, artifact="a").placement


def test_loihi_1_refuses_graded_events_by_name() -> None:
    for name in ("loihi1", "loihi1-sanafe"):
        first = str(refused(shape_graph(1, 16, 96), load_profile(name)).violations[0])
        assert first.startswith("population ln0 and ")
        assert f"sends graded events, cores of {name} carry binary spikes only" in first
        assert "hw='loihi2'" in first


def test_too_few_chips_names_what_would_help() -> None:
    graph = shape_graph(12, 512, 256)
    found = refused(graph, load_profile("loihi2-1"))
    (violation,) = found.violations
    assert found.chips == 3
    assert found.cores is not None
    assert f"fills {found.cores} cores of 3 chips, loihi2-1 has 1 chip (2 missing)" in str(
        violation
    )
    assert "head='host' takes 3" in str(violation)
    assert "weight_bits=4 at convert takes 2" in str(violation)
    assert "a system of 3 or more chips fits" in str(violation)


LIMITS = {
    "core__fan_in": (
        63,
        "blocks.0.att.wkv",
        "192 synapses per neuron, a core of loihi2 has 63 (129",
    ),
    "core__input_axons": (200, "blocks.0.ffn.gate", "320 input axons"),
    "core__synaptic_memory": (1000, "blocks.0.att.wkv", "1,536 bytes of synaptic memory"),
    "core__neurons": (63, "ln0", "all 64 neurons of a layer_norm together need 64 neurons"),
    "core__neuron_memory": (3000, "blocks.0.att.wkv", "3,152 bytes of neuron memory"),
    "core__output_axons": (60, "ln_out", "64 output axons, a core of loihi2 has 60 (4 missing)"),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_one_neuron_too_large_names_population_and_limit(limit: str) -> None:
    available, population, expected = LIMITS[limit]
    profile = with_constants(LOIHI2, **{limit: available})
    found = refused(shape_graph(1, 64, 96), profile)
    text = " | ".join(str(v) for v in found.violations)
    assert f"population {population}" in text
    assert expected in text


def test_the_head_on_the_host_helps_its_input() -> None:
    few = with_constants(LOIHI2, core__output_axons=40, core__synaptic_memory=4096)
    found = refused(shape_graph(1, 16, 9000), few)
    assert "population head.input: one neuron (0) needs" in str(found.violations[0])
    assert "head='host'" in str(found.violations[0])


def test_an_embedding_that_fits_no_core_belongs_on_the_host() -> None:
    found = refused(shape_graph(1, 64, 50277), LOIHI2, embedding="chip")
    assert "population embedding" in str(found.violations[0])
    assert "50,277 synapses per neuron" in str(found.violations[0])
    assert "embedding='host'" in str(found.violations[0])
    real = shape_graph(1, 64, 96, spike_embedding=False)
    assert "16 bits" in str(refused(real, LOIHI2, embedding="chip").violations[0])


def test_weights_wider_than_the_memory_and_missing_programs() -> None:
    narrow = dict(LOIHI2.constants)
    narrow["support.weight_bits"] = replace(narrow["support.weight_bits"], value=(2, 4))
    kinds = narrow["support.programs"].value
    assert isinstance(kinds, tuple)
    programs = tuple(str(k) for k in kinds if k != "wkv")
    narrow["support.programs"] = replace(narrow["support.programs"], value=programs)
    narrow["support.delay"] = replace(narrow["support.delay"], value=1)
    found = refused(shape_graph(1, 16, 96), replace(LOIHI2, constants=narrow))
    text = " | ".join(str(v) for v in found.violations)
    assert "its weights have 8 bits, cores of loihi2 store 4; convert with weight_bits=4" in text
    assert "population blocks.0.att.wkv: runs the program wkv" in text
    assert "waits 5 steps, synapses of loihi2 at most 1" in text


# The parts.


def test_lists_of_synapses_fill_words() -> None:
    encoding = LOIHI2.encoding  # 2 bytes of header, words of 8 bytes
    assert [list_bytes(n, 8, encoding) for n in (1, 6, 7)] == [8, 8, 16]
    assert list_bytes(13, 4, encoding) == 16
    assert list_bytes(12, 4, encoding) == 8


@pytest.mark.parametrize("name", ["loihi2", "loihi2-8", "hala-point", "spinnaker2"])
def test_distances_are_those_of_the_mesh(name: str) -> None:
    profile = load_profile(name)
    topology = Topology.of(profile, 6)
    rng = np.random.default_rng(0)
    for a, b in rng.integers(0, topology.slots, (200, 2)):
        sites = (divmod(int(a), topology.usable), divmod(int(b), topology.usable))
        assert topology.hops(a, b) == hops(profile, *sites)
    walk = topology.serpentine()
    assert sorted(walk) == list(range(topology.slots))
    if topology.usable == topology.columns * topology.rows * topology.cores_per_tile:
        within = [topology.hops(a, b) for a, b in itertools.pairwise(walk[: topology.usable])]
        assert max(within) == 1


def test_consecutive_chips_are_neighbours() -> None:
    topology = Topology.of(LOIHI2, 12)
    X, Y = topology.chip_xy
    steps = np.abs(np.diff(X)) + np.abs(np.diff(Y))
    assert (steps == 1).all()


def test_links_carry_every_hop() -> None:
    graph = shape_graph(4, 256, 256)
    found = mapped(graph, with_constants(LOIHI2, chip__usable_cores=10), uniform_rates(graph))
    assert found.topology.chips > 2
    flat = replace(found.topology, crossing=0.0)
    each = hop_weighted(found.traffic, found.placement.slots, flat)
    alone = link_loads(replace(found, prediction=None))
    assert alone.east.sum() + alone.south.sum() == pytest.approx(each)
    mesh = Mesh.of(found.topology, found.placement.slots)
    routes = found.placement.routes(found.load, LOIHI2)
    rates = uniform_rates(graph)
    events = routes.rates_of(lambda name: rate_of(found.load, name, rates))[routes.segment]
    hops, real = np.zeros(len(events)), link_loads(found)
    own = (routes.core[routes.segment] < routes.cores) & (routes.target != HOST)
    hops[own] = mesh.ways_from(routes.departures(mesh)[own], routes.target[own]).weighted(0.0)
    assert real.east.sum() + real.south.sum() == pytest.approx(float(events @ hops))
    assert events @ hops < each


def test_the_picture_shows_every_core() -> None:
    graph = shape_graph(4, 256, 256)
    profile = with_constants(LOIHI2, chip__usable_cores=10)
    found = mapped(graph, profile, uniform_rates(graph))
    root = ElementTree.fromstring(draw(found, profile, "a <model> & more"))
    space = "{http://www.w3.org/2000/svg}"
    hints = [e.text or "" for e in root.iterfind(f"{space}rect/{space}title")]
    assert len(hints) == found.cores
    assert found.prediction is not None
    busiest = scaled(float(found.prediction.busy.max()), "s")
    assert sum(f"{busiest} per token" in hint for hint in hints) >= 1
    assert any("blocks.0.att.wkv" in hint and "s per token" in hint for hint in hints)
    words = [e.text for e in root.iter(f"{space}text")]
    assert "a <model> & more" in words
    assert sum(str(word).startswith("chip ") for word in words) == found.topology.chips
    width, height = (float(root.attrib[k]) for k in ("width", "height"))
    for rect in root.iter(f"{space}rect"):
        x, y = float(rect.get("x", 0)), float(rect.get("y", 0))
        assert 0 <= x <= width - float(rect.attrib["width"])
        assert 0 <= y <= height - float(rect.attrib["height"])


# The file and the command line.


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = random_model(2, 32, 96)
    path = tmp_path_factory.mktemp("mapping") / "model.sgn"
    lower(model, random_tokens(model, 64)).save(str(path))
    return path


def called(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run_cli([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_map_prints_its_keys_and_saves(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, picture = tmp_path / "placement.json", tmp_path / "placement.svg"
    options = ("map", artifact, "--hw", "loihi2", "-o", file, "--svg", picture, "--json", "-q")
    code, out, err = called(capsys, *options)
    assert (code, err) == (0, "")
    figures = json.loads(out)
    graph = sgn.load(artifact)
    assert figures["chips"] == 1
    assert figures["violations"] == []
    assert figures["synapses"] == sum(q.synapses for q in graph.projections)
    assert figures["neurons"] == sum(p.size for p in graph.populations[1:])
    assert 0 < figures["utilization"] <= 1
    memory = figures["cores"] * LOIHI2.limits.synaptic_memory
    assert figures["synaptic_memory_used"] == pytest.approx(figures["utilization"] * memory)
    placement = load_placement(file).check(graph, LOIHI2)
    assert len(placement.sites) == figures["cores"]
    assert picture.read_text().startswith("<svg")
    first = file.read_bytes()
    assert called(capsys, *options)[0] == 0
    assert file.read_bytes() == first
    to_host = ("map", artifact, "--hw", "loihi2", "--head", "host")
    for optimize, holds in (("cores", "ln0 to head"), ("energy", "block 0 to block 1")):
        code, out, _ = called(capsys, *to_host, "--optimize", optimize)
        assert code == 0
        assert holds in out


def test_map_exits_with_1_where_it_does_not_fit(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = called(capsys, "map", artifact, "--hw", "loihi1", "--json")
    assert code == 1
    assert json.loads(out)["violations"]
    assert json.loads(out)["chips"] is None
    assert err.startswith("error: population ln0 and ")
    assert err.count("\n") == 1
    tiny = tmp_path / "tiny.toml"
    tiny.write_text(
        'schema = 1\ntitle = "tiny"\nbase = "loihi2-1"\n[sources]\nx = "a test"\n[core]\n'
        'synaptic_memory = { value = 256, unit = "byte", kind = "measured", source = "x" }\n'
    )
    code, out, err = called(capsys, "map", artifact, "--hw", tiny)
    assert code == 1
    assert "256 (512 missing)" in err
    assert "fewer --weight-bits" in out
    fewer = (
        '[chip]\nusable_cores = { value = 8, unit = "cores", kind = "measured", source = "x" }\n'
    )
    tiny.write_text(tiny.read_text().replace("256", "2048") + fewer)
    code, out, err = called(capsys, "map", artifact, "--hw", tiny, "--json")
    assert code == 1
    figures = json.loads(out)
    assert figures["chips"] > 1
    assert "tiny has 1 chip (" in figures["violations"][0]


def test_map_refuses_what_it_cannot_use(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(capsys, "map", artifact, "--hw", "loihi3")[0] == 2
    text = tmp_path / "text.txt"
    text.write_text("activity")
    code, _, err = called(capsys, "map", artifact, "--hw", "loihi2", "--activity", text)
    assert code == 3  # a random model has no vocabulary
    assert "--vocab" in err
    lost = tmp_path / "no" / "placement.json"
    assert called(capsys, "map", artifact, "--hw", "loihi2", "-o", lost)[0] == 3


def test_a_placement_is_for_its_own_model_and_hardware(artifact: Path, tmp_path: Path) -> None:
    graph = sgn.load(artifact)
    found = mapped(graph, LOIHI2, uniform_rates(graph))
    file = tmp_path / "placement.json"
    found.placement.save(file)
    assert load_placement(file) == found.placement
    with pytest.raises(UnsupportedInput, match="of another model"):
        load_placement(file).check(shape_graph(1, 16, 96), LOIHI2)
    with pytest.raises(UnsupportedInput, match="for loihi2, not for hala-point"):
        load_placement(file).check(graph, load_profile("hala-point"))
    assert [f.name for f in tmp_path.iterdir()] == ["placement.json"]


DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], str], str]] = {
    "no JSON": (lambda c: "{", "not valid JSON: it ends too early; place the model again"),
    "another file": (lambda c: '{"format": "x"}', "is not a placement; place the model again"),
    "version": (lambda c: json.dumps(c | {"schema_version": 9}), "schema version 9"),
    "key": (
        lambda c: json.dumps({k: v for k, v in c.items() if k != "sites"}),
        "sites: is missing; place",
    ),
    "twice": (lambda c: json.dumps(c | {"sites": c["sites"][:1] * 2}), "a core is used twice"),
    "site": (lambda c: json.dumps(c | {"sites": [[0, 999]]}), "does not exist"),
    "piece": (lambda c: json.dumps(c | {"pieces": c["pieces"][1:] * 2}), "not covered once"),
    "core": (lambda c: json.dumps(c | {"sites": []}), "stands on no core"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_placement_is_refused(artifact: Path, tmp_path: Path, case: str) -> None:
    graph = sgn.load(artifact)
    file = tmp_path / "placement.json"
    mapped(graph, LOIHI2, uniform_rates(graph)).placement.save(file)
    damage, expected = DAMAGE[case]
    file.write_text(damage(json.loads(file.read_text())))
    with pytest.raises(UnsupportedInput, match=expected):
        load_placement(file)


@pytest.mark.slow
def test_a_real_model_of_46m_with_its_own_activity(tmp_path: Path) -> None:
    model = random_model(12, 512, 256)
    graph = lower(model, random_tokens(model, 256))
    run = sgn.run(graph, random_tokens(model, 32), record="events")
    rates = dict(measured_rates(graph, run))
    found = mapped(graph, LOIHI2, rates)
    check(graph, LOIHI2, rates, found, tmp_path)
    assert found.cores <= BOUND * lower_bound_cores(found.load, LOIHI2)
    assert 2 * found.hops.placed <= found.hops.random_order
    assert found.hops.placed <= found.hops.plain_order
