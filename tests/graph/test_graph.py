"""The contract of the graph, and the artifact on disk."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from spikegpt_neuro.arithmetic.packing import unpack
from spikegpt_neuro.backends.lava.limits import check_stock_arithmetic
from spikegpt_neuro.backends.loihi.deployment import deploy
from spikegpt_neuro.backends.reference import ReferenceBackend
from spikegpt_neuro.benchmark.memory import weight_bytes
from spikegpt_neuro.converters.exporters.pairs import linear_lif_pairs
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.energy.activity import activity_of
from spikegpt_neuro.energy.counts import arrivals_of
from spikegpt_neuro.errors import CannotWrite, UnsupportedInput
from spikegpt_neuro.files import sha256_of
from spikegpt_neuro.graph import weights
from spikegpt_neuro.graph.artifact import load
from spikegpt_neuro.graph.graph import Population, Projection, SpikingGraph
from spikegpt_neuro.graph.pipeline import delays, latency, stages
from spikegpt_neuro.graph.writer import checksum_of
from spikegpt_neuro.model.spikegpt import LIFOrigin
from spikegpt_neuro.neurons import LIF
from spikegpt_neuro.running import first_mismatch
from spikegpt_neuro.vocabulary import ByteVocabulary

from dense_weights import weights_of
from places import TESTS
from random_models import random_model, random_tokens

GOLDEN = TESTS / "golden"


def small_graph(**options: Any) -> SpikingGraph:
    model = replace(random_model(1, 16, 256, **options), vocabulary=ByteVocabulary())
    return lower(model, random_tokens(model, 300))


@pytest.fixture(scope="module")
def graph() -> SpikingGraph:
    return small_graph()


@pytest.fixture
def artifact(graph: SpikingGraph, tmp_path: Path) -> Path:
    graph.save(str(tmp_path / "model"))
    return tmp_path / "model"


# Validation


def test_a_lowered_graph_is_valid(graph: SpikingGraph) -> None:
    assert graph.validate() is graph
    assert graph.input.name == "embedding"
    assert graph.output.name == "logits"
    assert [p.name for p in graph.spiking()] == ["embedding", "blocks.0.lif1", "blocks.0.lif2"]
    assert sum(q.synapses for q in graph.projections) == 13 * 16**2 + 256 * 16


def with_projection(graph: SpikingGraph, called: str, **changes: Any) -> SpikingGraph:
    return replace(
        graph,
        projections=tuple(
            replace(q, **changes) if q.name == called else q for q in graph.projections
        ),
    )


BROKEN: dict[str, tuple[Callable[[SpikingGraph], SpikingGraph], str]] = {
    "no populations": (lambda g: replace(g, populations=()), "no populations"),
    "duplicate": (
        lambda g: replace(g, populations=(*g.populations, g.populations[3])),
        "blocks.0.att.mix_k",
    ),
    "one name for two projections": (
        lambda g: with_projection(g, "head", name=g.projections[0].name),
        r"projection name used twice: embedding -> ln0\.input",
    ),
    "layers": (
        lambda g: replace(g, shape=replace(g.shape, layers=1 << 64)),
        "shape of 18446744073709551616 layers",
    ),
    "width": (
        lambda g: replace(g, shape=replace(g.shape, width=17)),
        "shape of width 17, the embedding has 16 neurons",
    ),
    "no embedding": (lambda g: replace(g, populations=g.populations[1:]), "not an embedding"),
    "vocabulary": (
        lambda g: replace(g, shape=replace(g.shape, vocab_size=99)),
        "embedding has 256 rows, expected 99",
    ),
    "bits": (lambda g: replace(g, weight_bits=0), "weights of 0 bits, not 2 to 8"),
    "scale": (lambda g: replace(g, logit_scale=float("nan")), "logit scale nan"),
    "unknown end": (
        lambda g: with_projection(g, "head", target="nowhere"),
        "projection head: no population nowhere",
    ),
    "unknown port": (lambda g: with_projection(g, "head", port="gate"), "has no port gate"),
    "wrong weights": (
        lambda g: with_projection(g, "head", weights=np.zeros((3, 16), np.int8)),
        r"weights \(3, 16\), expected \(256, 16\)",
    ),
    "wide weights": (lambda g: replace(g, weight_bits=4), r"exceeds 4 bits \(\+-7\)"),
    "weight type": (
        lambda g: with_projection(g, "head", weights=np.zeros((256, 16), np.int16)),
        "expected int8",
    ),
    "unfed port": (
        lambda g: replace(g, projections=g.projections[:-1]),
        "port input is fed by 0 projections",
    ),
    "backward": (
        lambda g: replace(g, populations=(g.input, *g.populations[-2:0:-1], g.output)),
        "against the order",
    ),
    "one-to-one sizes": (
        lambda g: with_projection(g, "head", weights=None),
        "one-to-one between 16 and 256",
    ),
    "shift": (
        lambda g: with_projection(g, "embedding -> ln0.input", shift=99),
        r"shift 99 is outside 0..23",
    ),
}


@pytest.mark.parametrize("case", sorted(BROKEN))
def test_a_broken_graph_is_named(graph: SpikingGraph, case: str) -> None:
    change, message = BROKEN[case]
    with pytest.raises(UnsupportedInput, match=message) as error:
        change(graph).validate()
    assert "\n" not in str(error.value)


def test_a_bad_parameter_is_named(graph: SpikingGraph) -> None:
    populations = tuple(
        Population(p.name, p.size, LIF(4095, 9999, 2040)) if p.name == "blocks.0.lif1" else p
        for p in graph.populations
    )
    with pytest.raises(
        UnsupportedInput, match=r"population blocks\.0\.lif1: dv is 9999, expected 0\.\.4096"
    ):
        replace(graph, populations=populations).validate()


def test_accumulators_that_could_overflow_int32_are_refused(graph: SpikingGraph) -> None:
    wide = Projection("wide", "blocks.0.residual2", "logits", "input", np.zeros((256, 16), np.int8))
    others = tuple(q for q in graph.projections if q.name != "head")
    with pytest.raises(UnsupportedInput, match="overflow int32"):
        replace(graph, projections=(*others, wide)).validate()


# Pipeline


@pytest.mark.parametrize("options", [{}, {"ffn_pre": True}, {"spike_input": True}])
def test_the_pipeline_balances_every_path(options: dict[str, bool]) -> None:
    """Along any path from the input, dense steps and delays add up to the stage."""
    graph = small_graph(**options)
    stage, delay = stages(graph), delays(graph)
    assert stage[graph.input.name] == 0
    for projection in graph.projections:
        steps = stage[projection.source] + projection.is_dense + delay[projection.name]
        assert steps == stage[projection.target]
        assert delay[projection.name] >= 0
    for population in graph.populations[1:]:
        assert 0 in [delay[q.name] for q in graph.incoming[population.name]]
    assert latency(graph) == 2 + 2 + 1  # two dense projections in each half of the block, the head


# Artifact


def test_what_is_saved_is_what_is_loaded(graph: SpikingGraph, artifact: Path) -> None:
    loaded = load(artifact)
    assert loaded.shape == graph.shape
    assert loaded.provenance == dict(graph.provenance)
    assert loaded.vocabulary == graph.vocabulary
    assert (loaded.weight_bits, loaded.activation_bits) == (8, 8)
    tokens = random_tokens(random_model(1, 16, 256), 50)
    runs = [ReferenceBackend().run(g, tokens, record="events") for g in (graph, loaded)]
    assert first_mismatch(graph, runs[1], runs[0]) is None
    assert len(runs[1].events) == len(graph.populations) - 1


def test_weights_of_4_bits_are_stored_two_to_a_byte(tmp_path: Path) -> None:
    model = random_model(1, 16, 255)  # an odd size, so that a row is padded
    graph = lower(model, random_tokens(model, 300), weight_bits=4)
    name = "blocks.0.ffn.value"
    value = next(q for q in graph.projections if q.name == name).weights
    graph = with_projection(graph, name, weights=np.asfortranarray(value))
    order = {q.name: q.by_source for q in graph.projections}
    assert order[name]
    assert not order["head"]
    graph.save(str(tmp_path / "model"))
    stored = load_file(tmp_path / "model" / "weights.safetensors")
    assert stored["projections/head"].shape == (255, 8)
    assert stored["projections/blocks.0.ffn.value"].shape == (64, 8)
    loaded = load(tmp_path / "model")
    assert {q.name: q.by_source for q in loaded.projections} == order
    for ours, theirs in zip(graph.projections, loaded.projections, strict=True):
        assert ours.is_dense == theirs.is_dense
        assert not ours.is_dense or np.array_equal(weights_of(ours), weights_of(theirs))
        assert (ours.shape, ours.synapses, ours.fan_out) == (
            theirs.shape,
            theirs.synapses,
            theirs.fan_out,
        )
    before = {file.name: sha256_of(file) for file in (tmp_path / "model").iterdir()}
    loaded.save(str(tmp_path / "again"))
    assert before == {file.name: sha256_of(file) for file in (tmp_path / "again").iterdir()}


def test_packed_weights_stay_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading, a session, activity and saving unpack nothing; sequence mode one after another."""
    model = random_model(1, 64, 300, hidden_density=0.2)
    lower(model, random_tokens(model, 300), weight_bits=4).save(str(tmp_path / "model"))
    unpacked: list[int] = []

    def counted(rows: NDArray[np.int8], columns: int) -> NDArray[np.int8]:
        unpacked.append(rows.size)
        return unpack(rows, columns)

    monkeypatch.setattr(weights, "unpack", counted)
    loaded = load(tmp_path / "model")
    dense = [q for q in loaded.projections if q.is_dense]
    assert {q.by_source for q in dense} == {True, False}
    assert weight_bytes(loaded) == sum(q.packed.rows.nbytes for q in dense if q.packed)
    assert weight_bytes(loaded) * 2 == sum(q.synapses for q in dense)
    with ReferenceBackend().session(loaded) as session:
        session.step(1)
    loaded.save(str(tmp_path / "again"))
    assert unpacked == []
    ReferenceBackend().run(loaded, random_tokens(model, 20))
    assert len(unpacked) <= len(dense)
    first, second = weights_of(dense[0]), weights_of(dense[0])
    assert first is not second
    assert np.array_equal(first, second)


def test_one_look_at_packed_weights_unpacks_them_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(1, 16, 40)
    lower(model, random_tokens(model, 300), weight_bits=4).save(str(tmp_path / "model"))
    graph = load(tmp_path / "model")
    activity = activity_of(graph, ReferenceBackend().run(graph, np.arange(9), record="events"))
    unpacked: list[int] = []

    def counted(rows: NDArray[np.int8], columns: int) -> NDArray[np.int8]:
        unpacked.append(rows.size)
        return unpack(rows, columns)

    monkeypatch.setattr(weights, "unpack", counted)
    dense = [q for q in graph.projections if q.is_dense]
    for look in (
        lambda: arrivals_of(graph, activity),
        lambda: check_stock_arithmetic(graph),
        lambda: deploy(graph).trips,
        lambda: [pair.current_weights for pair in linear_lif_pairs(graph)],
    ):
        unpacked.clear()
        look()
        assert len(unpacked) <= len(dense)


# What people see


def test_a_graph_and_its_parts_are_shown_in_one_line(graph: SpikingGraph) -> None:
    assert repr(graph) == (
        "SpikingGraph(1 layer, width 16, 256 token ids, 8-bit weights, "
        f"{len(graph.populations)} populations, 7.42 k synapses)"
    )
    assert repr(graph.by_name["blocks.0.lif1"]) == "Population(blocks.0.lif1, 16 neurons of lif)"
    dense, one = (next(q for q in graph.projections if q.is_dense is d) for d in (True, False))
    assert repr(dense) == (
        f"Projection({dense.name}, {dense.source} -> {dense.target}.{dense.port}, 16 x 16 synapses)"
    )
    assert repr(one) == (
        f"Projection({one.source} -> {one.target}.{one.port}, one-to-one, shift {one.shift})"
    )
    table = graph._repr_html_()
    assert table.count("<tr>") == table.count("</tr>") == 6
    assert "<td>dense synapses</td><td>7,424</td>" in table
    assert "1, 16, 256" in table


def test_a_packed_weight_beyond_4_bits_is_named(tmp_path: Path) -> None:
    model = random_model(1, 16, 40)
    lower(model, random_tokens(model, 100), weight_bits=4).save(str(tmp_path / "model"))
    path = tmp_path / "model" / "weights.safetensors"
    for byte in (8, -128):  # -8 in the low, in the high half
        tensors = load_file(path)
        tensors["projections/head"][3, 2] = byte
        save_file(tensors, path)
        rehash(tmp_path / "model", path.name)
        with pytest.raises(UnsupportedInput, match=r"head: weight 8 exceeds 4 bits \(\+-7\)"):
            load(tmp_path / "model")


def resident(array: np.ndarray) -> int:
    """Bytes of the mapping around ``array`` that are in this process's memory now."""
    address, found = array.ctypes.data, 0
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(match[1], 16) <= address < int(match[2], 16)
        elif inside and line.startswith("Rss:"):
            found += int(line.split()[1]) * 1024
    return found


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="looks into /proc")
@pytest.mark.parametrize("bits", [8, 4])
def test_weights_stay_in_their_file(bits: int, tmp_path: Path) -> None:
    model = random_model(1, 128, 20000)
    lower(model, random_tokens(model, 50), weight_bits=bits).save(str(tmp_path / "model"))
    loaded = load(tmp_path / "model")
    size = weight_bytes(loaded)
    stored = next(q for q in loaded.projections if q.name == "head").stored(bits)
    assert resident(stored) < size / 4
    total = int(stored.sum(dtype=np.int64))
    assert resident(stored) > size / 2
    with ReferenceBackend().session(loaded) as session:  # has copied them in one piece
        session.step(1)
        assert resident(stored) < size / 4
    assert int(stored.sum(dtype=np.int64)) == total
    with pytest.raises(ValueError, match="read-only"):
        stored[0, 0] = 1


def test_saving_twice_gives_the_same_files(graph: SpikingGraph, artifact: Path) -> None:
    before = {file.name: sha256_of(file) for file in artifact.iterdir()}
    graph.save(str(artifact), force=True)
    assert before == {file.name: sha256_of(file) for file in artifact.iterdir()}


def test_an_existing_directory_is_kept(graph: SpikingGraph, artifact: Path) -> None:
    with pytest.raises(CannotWrite, match="exists; choose another output or pass force=True"):
        graph.save(str(artifact))
    foreign = artifact.parent / "photos"
    foreign.mkdir()
    (foreign / "holiday.jpg").write_text("sun")
    with pytest.raises(CannotWrite, match="something else than an artifact"):
        graph.save(str(foreign), force=True)
    assert (foreign / "holiday.jpg").read_text() == "sun"


def test_a_failed_save_leaves_nothing(
    graph: SpikingGraph, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {file.name: sha256_of(file) for file in artifact.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("spikegpt_neuro.graph.writer._write_json", full)
    for target in (artifact, artifact.parent / "new"):
        with pytest.raises(CannotWrite, match="No space left on device"):
            graph.save(str(target), force=True)
    assert [path.name for path in artifact.parent.iterdir()] == ["model"]
    assert before == {file.name: sha256_of(file) for file in artifact.iterdir()}


def test_a_parent_that_does_not_exist_is_named(graph: SpikingGraph, tmp_path: Path) -> None:
    with pytest.raises(CannotWrite, match="does not exist"):
        graph.save(str(tmp_path / "no" / "where"))


def test_a_parent_that_cannot_be_written_is_named(
    graph: SpikingGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, _: path != tmp_path)  # root may write anywhere
    with pytest.raises(CannotWrite, match="cannot be written"):
        graph.save(str(tmp_path / "model"))


def rewrite(artifact: Path, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file of an artifact and bring its checksum up to date."""
    content = json.loads((artifact / name).read_text())
    change(content)
    if name == "config.json" and "sha256" in content:
        content["sha256"] = checksum_of(content)
    (artifact / name).write_text(json.dumps(content))
    if name != "config.json":
        rehash(artifact, name)


def rehash(artifact: Path, name: str) -> None:
    checksum = sha256_of(artifact / name)
    rewrite(artifact, "config.json", lambda c: c["files"].update({name: checksum}))


def test_a_damaged_file_is_named(artifact: Path) -> None:
    weights = artifact / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UnsupportedInput, match=r"weights.safetensors: checksum differs"):
        load(artifact)


def mixing(content: dict[str, Any]) -> dict[str, Any]:
    """The first population that mixes tokens."""
    return next(p for p in content["populations"] if p["program"] == "token_mix")


DAMAGE: dict[str, tuple[str, Callable[[dict[str, Any]], object], str]] = {
    "schema": ("config.json", lambda c: c.update(schema_version=99), "schema version 99"),
    "format": ("config.json", lambda c: c.update(format="other"), "not a spikegpt-neuro artifact"),
    "shape": (
        "config.json",
        lambda c: c["shape"].update(layers="4"),
        "shape.layers: expected a whole number, found '4'",
    ),
    "bool for int": (
        "config.json",
        lambda c: c["shape"].update(layers=True),
        "shape.layers: expected a whole number, found True",
    ),
    "no checksum": ("config.json", lambda c: c["files"].pop("graph.json"), "no checksum of graph"),
    "outside": (
        "config.json",
        lambda c: c["files"].update({"../model/graph.json": "0"}),
        "../model/graph.json' of config.json is missing",
    ),
    "vocabulary": ("config.json", lambda c: c.update(vocabulary="runes"), "runes"),
    "program": (
        "graph.json",
        lambda c: c["populations"][1].update(program="os.system"),
        "unknown program 'os.system'",
    ),
    "parameter": (
        "graph.json",
        lambda c: c["populations"][1]["parameters"].pop("epsilon"),
        "epsilon: expected a whole number, found nothing",
    ),
    "many bits": (
        "graph.json",
        lambda c: mixing(c)["parameters"].update(bits=1 << 40),
        "payload of 1099511627776 bits exceeds 24",
    ),
    "no bits": (
        "graph.json",
        lambda c: mixing(c)["parameters"].update(bits=0),
        "payload of 0 bits, expected at least 1",
    ),
    "tensor": (
        "graph.json",
        lambda c: c["populations"][1].update(name="ln9"),
        "no tensor populations/ln9/weight",
    ),
    "projection": (
        "graph.json",
        lambda c: c["projections"][0].update(target="nowhere"),
        "no population nowhere",
    ),
    "entry": (
        "graph.json",
        lambda c: c["populations"].append(7),
        r"populations\[\d+\]: expected an object, found 7",
    ),
}


@pytest.mark.parametrize("case", sorted(DAMAGE))
def test_an_artifact_that_does_not_fit_is_named(artifact: Path, case: str) -> None:
    file, change, message = DAMAGE[case]
    rewrite(artifact, file, change)
    with pytest.raises(UnsupportedInput, match=message) as error:
        load(artifact)
    assert "\n" not in str(error.value)


def test_files_that_are_no_json_or_no_tensors_are_named(artifact: Path) -> None:
    (artifact / "weights.safetensors").write_bytes(b"\xff" * 64)
    rehash(artifact, "weights.safetensors")
    with pytest.raises(UnsupportedInput, match=r"weights.safetensors: damaged safetensors file"):
        load(artifact)
    (artifact / "config.json").write_text("[" * 100_000)
    with pytest.raises(UnsupportedInput, match=r"config.json: expected an object, found a list"):
        load(artifact)
    with pytest.raises(UnsupportedInput, match="cannot be read"):
        load(artifact / "nothing")


def test_a_tensor_of_another_type_or_shape_is_named(artifact: Path) -> None:
    path = artifact / "weights.safetensors"
    tensors = load_file(path)
    tensors["populations/ln0/bias"] = tensors["populations/ln0/bias"][:5].copy()
    save_file(tensors, path)
    rehash(artifact, path.name)
    with pytest.raises(UnsupportedInput, match=r"ln0: bias has shape \(5,\), expected \(16,\)"):
        load(artifact)


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "logit scale": lambda c: c.update(logit_scale=2 * c["logit_scale"]),
    "tau": lambda c: c["shape"]["lif"].update(tau=4.0),
    "threshold": lambda c: c["shape"]["lif"].update(threshold=0.5),
    "vocabulary": lambda c: c.update(vocabulary=None),
    "embedding": lambda c: c["shape"].update(spike_embedding=False),
    "origin": lambda c: c["provenance"].update(source_file="other.pth"),
    "stated": lambda c: c["lif_origin"].update(tau="stated: config.json"),
    "no checksum": lambda c: c.pop("sha256"),
    "its checksum": lambda c: c.update(sha256="0" * 64),
    "an older schema": lambda c: c.update(schema_version=1),
    "an unknown key": lambda c: c.update(extra=1),
}


@pytest.mark.parametrize("case", sorted(CHANGES))
def test_a_changed_configuration_is_refused(artifact: Path, case: str) -> None:
    config = json.loads((artifact / "config.json").read_text())
    CHANGES[case](config)
    (artifact / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedInput, match=r"config.json: its content differs") as error:
        load(artifact)
    assert error.value.exit_code == 3


def test_the_checksum_is_of_the_content_however_it_is_laid_out(
    graph: SpikingGraph, artifact: Path
) -> None:
    """A tool that formats JSON or sorts its keys changes nothing."""
    config = json.loads((artifact / "config.json").read_text())
    (artifact / "config.json").write_text(json.dumps(config, sort_keys=True))
    loaded = load(artifact)
    assert (loaded.logit_scale, loaded.shape) == (graph.logit_scale, graph.shape)
    assert loaded.lif_origin == LIFOrigin()
    assert loaded.remarks == ()


def test_an_artifact_of_the_schema_before_loads_with_a_remark(tmp_path: Path) -> None:
    """``golden/artifact`` has schema version 1: its config.json has no checksum."""
    old = load(GOLDEN / "artifact")
    assert old.lif_origin is None
    assert len(old.remarks) == 1
    assert "schema version 1" in old.remarks[0]
    old.save(str(tmp_path / "new"))
    again = load(tmp_path / "new")
    assert again.shape == old.shape
    assert again.remarks == old.remarks
    assert again.provenance == old.provenance
    for name in ("graph.json", "weights.safetensors"):
        assert (tmp_path / "new" / name).read_bytes() == (GOLDEN / "artifact" / name).read_bytes()
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    before = json.loads((GOLDEN / "artifact" / "config.json").read_text())
    kept = before.keys() - {"schema_version"}
    assert {key: config[key] for key in kept} == {key: before[key] for key in kept}


# Golden trace: the integers of a checked-in artifact never change.


def test_golden_trace() -> None:
    """All events of 24 tokens through ``golden/artifact`` (1 layer, width 8, 8 bits)."""
    expected = load_file(GOLDEN / "trace.safetensors")
    graph = load(GOLDEN / "artifact")
    run = ReferenceBackend().run(graph, expected.pop("tokens"), record="events")
    assert np.array_equal(run.logits_int, expected.pop("logits"))
    assert expected.keys() == run.events.keys()
    for name, events in expected.items():
        assert np.array_equal(run.events[name], events), name


def write_golden() -> None:
    """How the golden files were made; only for a new schema version or new semantics."""
    model = random_model(1, 8, 11, seed=9)
    graph = lower(model, random_tokens(model, 500))
    shutil.rmtree(GOLDEN, ignore_errors=True)
    GOLDEN.mkdir()
    graph.save(str(GOLDEN / "artifact"))
    tokens = random_tokens(model, 24)
    run = ReferenceBackend().run(graph, tokens, record="events")
    trace = {"tokens": tokens, "logits": run.logits_int} | dict(run.events)
    save_file({k: np.ascontiguousarray(v) for k, v in trace.items()}, GOLDEN / "trace.safetensors")
