"""Checkpoints with dead zones and pruned weights: read, lowered, or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_steps import in_onnxruntime, steps
from safetensors.numpy import load_file, save_file

import spikegpt_neuro as sgn
from spikegpt_neuro.backends.reference import ReferenceBackend
from spikegpt_neuro.backends.reference.stepper import Stepper
from spikegpt_neuro.cli import run as run_cli
from spikegpt_neuro.converters.lowering import calibrated, lower, lower_calibrated
from spikegpt_neuro.converters.reader import read_checkpoint
from spikegpt_neuro.converters.sparsifying import sparsify
from spikegpt_neuro.converters.writer import write_checkpoint
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.model.float_forward import FloatModel
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.neurons.program import EventFormat
from spikegpt_neuro.sparsity.request import SparsityRequest
from spikegpt_neuro.sparsity.shown import thresholds_of
from spikegpt_neuro.sparsity.thresholds import whole

from dead_zones import pruned, with_real_dead_zones
from random_models import random_model, random_tokens

PLAIN = random_model(2, 16, 40)
MODEL = pruned(with_real_dead_zones(PLAIN))
TOKENS = random_tokens(MODEL, 400)
Tensors = dict[str, Any]


@pytest.fixture(scope="module")
def graph() -> SpikingGraph:
    return lower(MODEL, TOKENS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_checkpoint(MODEL, tmp_path / "model")
    return tmp_path / "model"


def edit(folder: Path, change: Callable[[Tensors], Tensors]) -> Path:
    """Write the tensors of a checkpoint anew."""
    weights = folder / "model.safetensors"
    save_file(change(load_file(weights)), weights)
    return folder


def assert_same(found: SpikeGPT, expected: SpikeGPT) -> None:
    assert (found.shape, found.pruned) == (expected.shape, expected.pruned)
    assert list(found.dead_zones) == list(expected.dead_zones)
    for name, stored in expected.stored.items():
        np.testing.assert_array_equal(found.stored[name], stored, err_msg=name)


# Reading


@pytest.mark.parametrize(
    "wrap",
    [
        lambda name: f"module.{name}",
        lambda name: f"model.rwkv.{name}",
        lambda name: name if name.startswith("head") else f"rwkv.{name}",
        lambda name: name.replace("blocks.0.", "blocks.0._orig_mod."),
        lambda name: name.replace(".dead_zone", ".module.dead_zone"),
    ],
)
def test_wrappers_and_prefixes(folder: Path, wrap: Callable[[str], str]) -> None:
    edit(folder, lambda tensors: {wrap(name): tensor for name, tensor in tensors.items()})
    model = read_checkpoint(folder)
    assert_same(model, MODEL)
    assert model.remarks == ()


def test_torch_files_within_dictionaries(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    state = {n: torch.from_numpy(np.array(t)) for n, t in MODEL.stored.items()}
    momentum = {n: {"exp_avg": t + 1} for n, t in state.items()}
    torch.save({"model": state, "optim": momentum}, tmp_path / "m.pth")
    (tmp_path / "config.json").write_text('{"pruned": true}')
    model = read_checkpoint(tmp_path / "m.pth")
    assert_same(model, MODEL)
    assert len(model.remarks) == 1
    assert model.remarks[0].endswith("left out beside it: optim")


def test_some_populations_may_have_none(folder: Path) -> None:
    gone = ("head.input.dead_zone", "blocks.0.att.wkv.dead_zone")
    edit(folder, lambda tensors: {n: t for n, t in tensors.items() if n not in gone})
    left = {n: z for n, z in MODEL.dead_zones.items() if f"{n}.dead_zone" not in gone}
    assert_same(read_checkpoint(folder), replace(MODEL, dead_zones=left))


@pytest.mark.parametrize("stored", ["float16", "float64"])
def test_thresholds_may_have_any_float_type_and_be_rows(folder: Path, stored: str) -> None:
    name = "blocks.1.ffn.squared_relu.dead_zone"
    edit(folder, lambda tensors: tensors | {name: tensors[name].astype(stored)[None, None]})
    zone = read_checkpoint(folder).dead_zones["blocks.1.ffn.squared_relu"]
    wanted = MODEL.dead_zones["blocks.1.ffn.squared_relu"]
    np.testing.assert_array_equal(zone, wanted.astype(stored))
    assert not zone.flags.writeable


def put(name: str, tensor: Any) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {name: np.asarray(tensor, np.float32)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            put("head.input.dead_zone", np.ones(15)),
            r"head\.input\.dead_zone has shape \(15,\), expected \(16,\)",
        ),
        (
            put("blocks.0.ffn.squared_relu.dead_zone", np.ones(16)),
            r"squared_relu\.dead_zone has shape \(16,\), expected \(64,\)",
        ),
        (
            put("blocks.1.att.wkv.dead_zone", [*[0.1] * 14, -0.1, -np.float32(1e-30)]),
            r"blocks\.1\.att\.wkv\.dead_zone holds 2 negative values, expected thresholds of 0 or",
        ),
        (
            put("blocks.1.att.wkv.dead_zone", [*[0.1] * 14, np.nan, np.inf]),
            r"blocks\.1\.att\.wkv\.dead_zone holds 2 NaN or infinite values",
        ),
        *(
            (put(f"{population}.dead_zone", np.ones(16)), rf"{population}\.dead_zone: a dead zone")
            for population in (
                "blocks.0.lif1",
                "blocks.0.att.key",
                "blocks.0.ffnPre.mix_k",
                "blocks.2.att.mix_k",
                "blocks.9.ffn.mix_k",
                "head",
                "embedding",
                "ln_out",
            )
        ),
    ],
)
def test_a_dead_zone_that_cannot_be_is_one_line(
    folder: Path, change: Callable[[Tensors], Tensors], message: str
) -> None:
    with pytest.raises(UnsupportedInput, match=message) as error:
        read_checkpoint(edit(folder, change))
    assert str(error.value).startswith(f"{folder}: ")
    assert "\n" not in str(error.value)


def test_dead_zones_alone_are_no_model(folder: Path) -> None:
    edit(folder, lambda tensors: {n: t for n, t in tensors.items() if n.endswith(".dead_zone")})
    with pytest.raises(UnsupportedInput, match="dead_zone"):
        read_checkpoint(folder)


@pytest.mark.parametrize("value", ["yes", 1, None, 0.5, {"share": 0.5}])
def test_pruned_is_true_or_false(folder: Path, value: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"pruned": value}))
    with pytest.raises(UnsupportedInput, match=r"config\.json: pruned is .*, expected true or fa"):
        read_checkpoint(folder)


def test_without_the_word_zeros_are_weights(folder: Path) -> None:
    for config in ({}, {"pruned": False}):
        (folder / "config.json").write_text(json.dumps(config))
        model = read_checkpoint(folder)
        assert not model.pruned
        assert lower(model, TOKENS).weight_density == 1


# What people are shown, and what is refused


def test_a_checkpoint_says_what_is_sparse_in_it(folder: Path) -> None:
    found = sgn.describe(folder)
    zones = np.concatenate(list(MODEL.dead_zones.values()))
    assert found.weight_density == MODEL.weight_density
    assert found.dead_zones is not None
    assert found.dead_zones.to_dict() == {
        "populations": 15,
        "neurons": 2 * (6 * 16 + 64) + 16,
        "median": float(np.median(zones)),
        "largest": float(zones.max()),
    }
    assert found.thresholds is None
    said = found.to_dict()
    plain = sgn.describe(PLAIN).to_dict()
    assert said.keys() - plain.keys() == {"weight_density", "dead_zones"}
    assert sgn.describe(replace(MODEL, pruned=False)).weight_density is None


def test_neurons_without_a_threshold_do_not_count() -> None:
    zones = {"head.input": np.array([0.5, *[0.0] * 14, 1.5]), "blocks.0.att.wkv": np.zeros(16)}
    found = sgn.describe(replace(PLAIN, dead_zones=zones)).dead_zones
    assert found is not None
    assert (found.populations, found.neurons, found.median, found.largest) == (1, 2, 1.0, 1.5)


def test_from_the_command_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("abcdefgh " * 60)
    (folder / "vocab.json").write_text(json.dumps({str(i): chr(97 + i) for i in range(39)}
                                                  | {"39": " "}))  # fmt: skip
    assert run_cli(["info", str(folder)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "336 neurons of 15 populations; thresholds 0.2" in out
    command = ["convert", str(folder), "--calibrate", str(text), "-o", str(tmp_path / "m.sgn")]
    assert run_cli([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["weight_density"] == pytest.approx(MODEL.weight_density, abs=0.02)
    assert "dead_zones" not in report
    assert run_cli(["info", str(tmp_path / "m.sgn"), "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert list(described["thresholds"]) == list(MODEL.dead_zones)
    assert described["thresholds"]["head.input"]["median"] > 0
    for asked in (["--sparsity", "0.5"], ["--sparsity-budget", "0.1"], ["--prune", "0.5"]):
        assert run_cli([*command, "--force", *asked]) == 3
        error = capsys.readouterr().err
        assert error == (
            "error: model: has dead zones and pruned weights already; convert it as it is, or "
            "sparsify the checkpoint that it was made from\n"
        )
    assert run_cli(["tradeoff", str(folder), "--text", str(text), "-o", str(tmp_path / "c")]) == 3
    assert "model: has dead zones and pruned weights already" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (replace(MODEL, pruned=False), "has dead zones already"),
        (replace(MODEL, dead_zones={}), "has pruned weights already"),
    ],
)
def test_sparsity_is_not_put_on_sparsity(model: SpikeGPT, said: str) -> None:
    with pytest.raises(UnsupportedInput, match=said):
        sparsify(model, TOKENS, SparsityRequest(sparsity=0.5))
    assert sparsify(model, TOKENS, SparsityRequest()).weight_density <= 1


# Other formats


def test_nir_names_what_it_cannot_carry(tmp_path: Path) -> None:
    pytest.importorskip("nir")
    left_out = sgn.export(MODEL, "nir", tmp_path / "a.nir").unexported
    assert set(MODEL.dead_zones) <= set(left_out)
    assert set(left_out) - set(sgn.export(PLAIN, "nir", tmp_path / "b.nir").unexported) == {
        "head.input"
    }


def test_netx_leaves_dead_zones_to_the_artifact_beside(graph: SpikingGraph, tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    sgn.export(graph, "netx", tmp_path / "net")
    (rest,) = (file.parent for file in (tmp_path / "net").rglob("config.json"))
    assert thresholds_of(sgn.load(rest)) == thresholds_of(graph)


# Lowering


@given(
    share=st.floats(0, 300),
    unit=st.sampled_from([1e-6, 0.0123, 1.0, 7.7]),
    events=st.builds(EventFormat, st.sampled_from([4, 6, 8]), signed=st.booleans()),
)
def test_the_step_between_silent_and_sent_is_the_nearest_to_the_threshold(
    share: float, unit: float, events: EventFormat
) -> None:
    """Payload q stands for values up to q + 1/2 units; the last silent one ends next to a."""
    zone = int(whole(np.array([share * unit]) / unit, events)[0])
    assert 0 <= zone <= events.high
    if 0.5 <= share <= events.high + 0.5:
        assert abs(zone + 0.5 - share) <= 0.5 + 1e-9
    else:
        assert zone == (0 if share < 0.5 else events.high)


def test_the_graph_has_the_thresholds_in_its_payloads(graph: SpikingGraph) -> None:
    units = lower_calibrated(MODEL, calibrated(MODEL, TOKENS, 8, 8)).units
    for population, zone in MODEL.dead_zones.items():
        found = graph.by_name[population].program.dead_zone
        scaled = zone.astype(np.float64) / units[population] - 0.5
        high = graph.by_name[population].events.high
        assert found is not None
        assert found.tolist() == np.clip(np.round(scaled), 0, high).astype(int).tolist()
        assert len(set(found.tolist())) > 5


def test_only_weights_that_are_left_are_synapses(graph: SpikingGraph) -> None:
    assert graph.weight_density == pytest.approx(MODEL.weight_density, abs=0.02)
    for projection in graph.projections:
        if projection.is_dense:
            assert projection.is_sparse
            existing = projection.weights != 0
            kept = MODEL.tensors[f"{projection.name}.weight"] != 0
            assert not (existing & ~kept).any()


def test_few_events_are_read_by_source(graph: SpikingGraph) -> None:
    rarely = replace(PLAIN, dead_zones=with_real_dead_zones(PLAIN, largest=4).dead_zones)
    layouts = [{q.name: q.by_source for q in lower(m, TOKENS).projections} for m in (PLAIN, rarely)]
    assert not layouts[0]["blocks.0.att.key"]
    assert layouts[1]["blocks.0.att.key"]


def test_a_population_whose_every_value_is_silent_sends_nothing() -> None:
    huge = {name: np.full(n, 1e300) for name, n in PLAIN.shape.dead_zone_sizes().items()}
    model = replace(PLAIN, dead_zones=huge)
    graph = lower(model, TOKENS)
    run = ReferenceBackend().run(graph, TOKENS[:50], record="events")
    for population in huge:
        assert not run.events[population].any()
    assert np.ptp(run.logits) == 0
    assert np.ptp(FloatModel(model).logits(TOKENS[:50])) == 0


def test_thresholds_of_zero_give_the_very_same_graph(tmp_path: Path) -> None:
    zeros = with_real_dead_zones(PLAIN, largest=0)
    for name, model in (("plain", PLAIN), ("zeros", zeros)):
        lower(model, TOKENS).save(str(tmp_path / name))
    for file in (tmp_path / "plain").iterdir():
        assert file.read_bytes() == (tmp_path / "zeros" / file.name).read_bytes(), file.name


@pytest.mark.parametrize("options", [{"ffn_pre": True}, {"spike_input": True}, {"layers": 3}])
def test_both_modes_and_onnx_give_the_same_integers(options: Any, tmp_path: Path) -> None:
    model = pruned(with_real_dead_zones(random_model(**({"layers": 1} | options))))
    tokens = random_tokens(model, 40)
    graph = lower(model, random_tokens(model, 400))
    logits = ReferenceBackend().run(graph, tokens).logits_int
    stepper = Stepper(graph)
    assert np.array_equal([stepper.step(int(token)).copy() for token in tokens], logits)
    sgn.export(graph, "onnx", tmp_path / "model.onnx")
    found = steps(tmp_path / "model.onnx", in_onnxruntime(tmp_path / "model.onnx"), tokens)
    assert np.array_equal([values["logits"] for values in found], logits)


def test_the_graph_is_near_to_the_float_model_behind_its_dead_zones() -> None:
    """Nearer than to the same weights without them."""
    model = pruned(with_real_dead_zones(random_model(1, 32, 40)), 0.3)
    tokens = random_tokens(model, 300)
    graph = lower(model, random_tokens(model, 2000))
    logits = ReferenceBackend().run(graph, tokens).logits
    behind = FloatModel(model).logits(tokens)
    without = FloatModel(replace(model, dead_zones={})).logits(tokens)
    near, far = (float(np.std(logits - other)) for other in (behind, without))
    assert near < 0.6 * far
    scored = sgn.evaluate(graph, tokens, against=FloatModel(model))
    assert scored.spike_mismatch is not None
    assert scored.spike_mismatch < 0.03
    assert scored.weight_density == pytest.approx(0.7, abs=0.03)
