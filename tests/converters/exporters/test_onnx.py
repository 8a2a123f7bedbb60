"""ONNX: integers equal to the reference, floats close to it, and checkpoints read back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from spikegpt_neuro.backends.reference import Executor, ReferenceBackend
from spikegpt_neuro.backends.reference.executor import TOKEN
from spikegpt_neuro.cli import run as run_cli
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.converters.reader import read_checkpoint
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.graph.graph import Population, Projection, SpikingGraph
from spikegpt_neuro.model.float_forward import FloatModel
from spikegpt_neuro.model.spikegpt import LIFParameters, ModelShape, SpikeGPT
from spikegpt_neuro.neurons import (
    LIF,
    WKV,
    Embedding,
    Gate,
    LayerNorm,
    Program,
    Requantize,
    Residual,
    SquaredReLU,
    TokenMix,
)
from spikegpt_neuro.neurons.program import IntArray
from spikegpt_neuro.vocabulary import CharacterVocabulary

from dead_zones import pruned, with_real_dead_zones
from random_models import EVERY_PRINTABLE, random_model, random_tokens, save_safetensors
from toy_graph import toy_graph

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx_steps import (  # noqa: E402
    Evaluate,
    in_onnx_reference,
    in_onnxruntime,
    metadata,
    steps,
)

from spikegpt_neuro.converters.exporters import onnx_file, onnx_float  # noqa: E402
from spikegpt_neuro.converters.exporters.names import FORMATS  # noqa: E402
from spikegpt_neuro.converters.exporters.registry import export  # noqa: E402

from places import ROOT  # noqa: E402

EXAMPLE = ROOT / "examples" / "pydoc-4x128.pth"
TOKENS = 512


@cache
def example() -> SpikeGPT:
    pytest.importorskip("torch")
    return read_checkpoint(EXAMPLE)


VARIANTS: dict[str, Callable[[], SpikeGPT]] = {
    "example": example,
    "3 layers": lambda: random_model(layers=3),
    "9 layers": lambda: random_model(layers=9, seed=7),
    "ffn-pre": lambda: random_model(ffn_pre=True, seed=2),
    "graded embedding": lambda: random_model(spike_embedding=False, seed=3),
    "spike input": lambda: random_model(spike_input=True, seed=4),
    "myelin": lambda: random_model(
        lif=LIFParameters(tau=4.0, threshold=0.7, decay_input=False), seed=5
    ),
    "upstream-run": lambda: random_model(layers=7, seed=6).with_compat("upstream-run"),
    "sparse": lambda: pruned(with_real_dead_zones(random_model(layers=2, seed=8))),
    "sparse ffn-pre": lambda: pruned(with_real_dead_zones(random_model(ffn_pre=True, seed=9))),
}


@cache
def graph_of(variant: str, bits: int = 8) -> SpikingGraph:
    model = VARIANTS[variant]()
    return lower(model, random_tokens(model, 700), weight_bits=bits, activation_bits=bits)


def assert_equals_reference(
    graph: SpikingGraph, path: Path, evaluate: Evaluate, tokens: np.ndarray[Any, Any]
) -> None:
    """Every logit after every token, and every state, are those of the reference."""
    logits = ReferenceBackend().run(graph, tokens, record="logits").logits_int
    executor = Executor(graph)
    state = executor.initial_state()
    for t, outputs in enumerate(steps(path, evaluate, tokens)):
        state = executor.advance(state, {TOKEN: tokens[t : t + 1, None].astype(np.int32)}).state
        assert np.array_equal(outputs.pop("logits"), logits[t]), t
        expected = {
            f"state_out.{population.name}.{name}": vector
            for population in graph.populations
            for name, vector in zip(
                population.program.state_names, state[population.name], strict=True
            )
        }
        assert outputs.keys() == expected.keys()
        for name, vector in expected.items():
            assert outputs[name].dtype == np.int32
            assert np.array_equal(outputs[name], vector), (t, name)


@pytest.mark.parametrize("variant", ["example", "3 layers", "9 layers"])
def test_onnxruntime_gives_every_integer_of_the_reference(variant: str, tmp_path: Path) -> None:
    graph, path = graph_of(variant), tmp_path / "model.onnx"
    done = export(graph, "onnx", path)
    assert (done.path, done.unexported) == (path, ())
    tokens = random_tokens(VARIANTS[variant](), TOKENS)
    assert_equals_reference(graph, path, in_onnxruntime(path), tokens)


@pytest.mark.parametrize("variant", sorted(VARIANTS.keys() - {"example", "3 layers", "9 layers"}))
def test_every_variant_gives_the_integers_of_the_reference(variant: str, tmp_path: Path) -> None:
    graph, path = graph_of(variant), tmp_path / "model.onnx"
    export(graph, "onnx", path)
    tokens = random_tokens(VARIANTS[variant](), 64)
    assert_equals_reference(graph, path, in_onnxruntime(path), tokens)


def test_four_bits_give_the_integers_of_the_reference(tmp_path: Path) -> None:
    graph, path = graph_of("3 layers", bits=4), tmp_path / "model.onnx"
    export(graph, "onnx", path)
    tokens = random_tokens(VARIANTS["3 layers"](), 64)
    assert_equals_reference(graph, path, in_onnxruntime(path), tokens)


@pytest.mark.parametrize("variant", ["3 layers", "spike input"])
def test_onnx_reference_gives_every_integer_too(variant: str, tmp_path: Path) -> None:
    graph, path = graph_of(variant), tmp_path / "model.onnx"
    export(graph, "onnx", path)
    tokens = random_tokens(VARIANTS[variant](), 32)
    assert_equals_reference(graph, path, in_onnx_reference(path), tokens)


SIZE = 48
ROWS = 64


def integers(rng: np.random.Generator, bits: int, size: int = SIZE) -> np.ndarray[Any, Any]:
    """Signed integers of up to ``bits`` bits of all magnitudes, with the extremes among them."""
    limit = (1 << (bits - 1)) - 1
    values = rng.integers(-limit, limit + 1, size) >> rng.integers(0, bits - 1, size)
    values[:3] = limit, -limit, 0
    return values.astype(np.int32)


def scales(rng: np.random.Generator, low: int, high: int) -> tuple[IntArray, IntArray]:
    mantissa = rng.integers(1 << 14, 1 << 15, SIZE)
    mantissa[5] = 0
    return mantissa.astype(np.int32), rng.integers(low, high, SIZE).astype(np.int32)


def program(kind: str, rng: np.random.Generator) -> Program:
    """A program with random parameters, far beyond what a checkpoint leads to."""
    if kind == "wkv":
        decay = -np.abs(integers(rng, 24))
        key, value = scales(rng, 6, 20), scales(rng, 14, 24)
        receptance, output = scales(rng, 10, 24), scales(rng, 10, 24)
        first = integers(rng, 22)
        return WKV(decay, first, *key, *value, *receptance, *output, bits=8)
    programs: dict[str, Callable[[], Program]] = {
        "gate": lambda: Gate(*scales(rng, 10, 24), *scales(rng, 10, 24), bits=18),
        "token_mix": lambda: TokenMix(integers(rng, 16), *scales(rng, 0, 40), bits=8),
        "requantize": lambda: Requantize(*scales(rng, -3, 46), bits=18, quantizer=True),
        "residual": lambda: Residual(halve=1),
        "squared_relu": lambda: SquaredReLU(*scales(rng, 14, 30), 23456, 26, bits=8),
        "lif": lambda: LIF(du=1000, dv=300, vth=5000),
        "layer_norm": lambda: LayerNorm(
            weight=integers(rng, 16),
            bias=integers(rng, 24),
            weight_fraction=int(rng.integers(-4, 15)),
            output_fraction=12,
            mean_mantissa=round(2**28 / SIZE),
            mean_shift=28,
            root_mantissa=28378,
            root_shift=12,
            epsilon=1 << int(rng.integers(0, 20)),
        ),
    }
    return programs[kind]()


@pytest.mark.parametrize(
    "kind",
    ["gate", "layer_norm", "lif", "requantize", "residual", "squared_relu", "token_mix", "wkv"],
)
@pytest.mark.parametrize("seed", range(3))
def test_every_program_is_equal_at_the_limits_of_its_formats(
    kind: str, seed: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(seed)
    table = np.stack([integers(rng, 16) for _ in range(ROWS)]).astype(np.int16)
    shift = int(rng.integers(0, 9))
    tested = program(kind, rng)
    logits = Requantize(*scales(rng, 12, 16), bits=24, quantizer=True)
    graph = SpikingGraph(
        shape=ModelShape(layers=1, width=SIZE, vocab_size=ROWS),
        populations=(
            Population("embedding", SIZE, Embedding(table)),
            Population("tested", SIZE, tested),
            Population("logits", SIZE, logits),
        ),
        projections=(
            *(
                Projection(f"to {port}", "embedding", "tested", port, shift=shift)
                for port in tested.ports
            ),
            Projection("out", "tested", "logits", "input"),
        ),
        logit_scale=1.0,
    )
    path = tmp_path / "model.onnx"
    export(graph, "onnx", path)
    tokens = rng.integers(0, ROWS, 128)
    assert_equals_reference(graph, path, in_onnxruntime(path), tokens)


def test_dense_sums_of_wide_and_extreme_events_are_exact(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = np.stack([integers(rng, 16) for _ in range(ROWS)]).astype(np.int16)
    table[0], table[1] = 32767, -32767
    weights = rng.choice(np.array([-127, -1, 127], np.int8), (SIZE, SIZE))
    weights[0], weights[1] = 127, -127
    unit = np.full(SIZE, 1 << 14, np.int32), np.full(SIZE, 17, np.int32)
    squared = np.full(SIZE, 1 << 14, np.int32), np.full(SIZE, 16, np.int32)
    readout = np.full(ROWS, 1 << 14, np.int32), np.full(ROWS, 17, np.int32)
    head = np.resize(weights, (ROWS, SIZE))
    graph = SpikingGraph(
        shape=ModelShape(layers=1, width=SIZE, vocab_size=ROWS),
        populations=(
            Population("embedding", SIZE, Embedding(table)),
            Population("wide", SIZE, Requantize(*unit, bits=8, quantizer=True)),
            Population("unsigned", SIZE, SquaredReLU(*squared, 1 << 14, 14, bits=8)),
            Population("logits", ROWS, Requantize(*readout, bits=24, quantizer=True)),
        ),
        projections=(
            Projection("16 bits", "embedding", "wide", "input", weights),
            Projection("8 bits", "wide", "unsigned", "key", weights),
            Projection("8 bits, unsigned", "unsigned", "logits", "input", head),
        ),
        logit_scale=1.0,
    ).validate()
    path = tmp_path / "model.onnx"
    export(graph, "onnx", path)
    assert {n.op_type for n in onnx.load(path).graph.node} >= {"Dense", "DenseWide"}
    run = ReferenceBackend().run(graph, np.arange(ROWS), record="events")
    assert run.events["unsigned"].max() == 255  # the products meet their largest values
    assert_equals_reference(graph, path, in_onnxruntime(path), np.arange(ROWS))


@pytest.mark.parametrize("to", ["onnx", "onnx-float"])
@pytest.mark.parametrize(
    "variant", ["3 layers", "ffn-pre", "spike input", "graded embedding", "sparse"]
)
def test_the_checker_passes_and_every_operator_of_ours_has_a_body(
    to: str, variant: str, tmp_path: Path
) -> None:
    source = graph_of(variant) if to == "onnx" else VARIANTS[variant]()
    path = tmp_path / "model.onnx"
    done = export(source, to, path)
    model = onnx.load(str(path))
    onnx.checker.check_model(model, full_check=True)
    assert done.nodes == len(model.graph.node)
    bodies = {(f.domain, f.name): f for f in model.functions}
    nodes = [*model.graph.node, *(node for f in model.functions for node in f.node)]
    ours = {(node.domain, node.op_type) for node in nodes if node.domain}
    assert ours <= bodies.keys()
    assert all(len(bodies[key].node) > 0 for key in ours)
    inside = [attribute for f in model.functions for n in f.node for attribute in n.attribute]
    assert any(attribute.ref_attr_name for attribute in inside)


def test_metadata_tell_pairing_and_initial_values(tmp_path: Path) -> None:
    graph, path = graph_of("3 layers"), tmp_path / "model.onnx"
    export(graph, "onnx", path)
    entries = metadata(path)
    states = {state["input"]: state for state in entries["states"]}
    stateful = {f"{p.name}.{name}" for p in graph.populations for name in p.program.state_names}
    assert {name.removeprefix("state_in.") for name in states} == stateful
    assert states["state_in.blocks.0.att.wkv.p"]["output"] == "state_out.blocks.0.att.wkv.p"
    assert states["state_in.blocks.0.att.wkv.p"]["initial"] == -(2**23 - 1)
    assert states["state_in.blocks.0.lif1.v"]["initial"] == 0
    assert entries["logit_scale"] == graph.logit_scale
    assert entries["provenance"]["source_file"] == graph.provenance["source_file"]

    export(VARIANTS["3 layers"](), "onnx-float", path, force=True)
    names = {state["input"] for state in metadata(path)["states"]}
    per_layer = ("previous1", "a", "b", "p", "membrane1", "previous2", "membrane2")
    assert names == {f"state_in.{layer}.{name}" for layer in range(3) for name in per_layer}


def largest_difference(model: SpikeGPT, path: Path, tokens: np.ndarray[Any, Any]) -> float:
    onnx_float.export(model, path)
    ours = np.stack([o["logits"] for o in steps(path, in_onnxruntime(path), tokens)])
    return float(np.abs(ours - FloatModel(model).logits(tokens)).max())


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_float_model_is_close_to_the_float_reference(variant: str, tmp_path: Path) -> None:
    model = VARIANTS[variant]()
    tokens = random_tokens(model, TOKENS)
    assert largest_difference(model, tmp_path / "model.onnx", tokens) < 1e-4


def test_float_model_runs_in_onnx_reference(tmp_path: Path) -> None:
    model, path = VARIANTS["3 layers"](), tmp_path / "model.onnx"
    export(model, "onnx-float", path)
    tokens = random_tokens(model, 32)
    ours = np.stack([o["logits"] for o in steps(path, in_onnx_reference(path), tokens)])
    assert np.abs(ours - FloatModel(model).logits(tokens)).max() < 1e-4


def test_initializers_have_the_names_and_shapes_of_the_checkpoint(tmp_path: Path) -> None:
    model, path = VARIANTS["3 layers"](), tmp_path / "model.onnx"
    export(model, "onnx-float", path)
    found = {t.name: tuple(t.dims) for t in onnx.load(str(path)).graph.initializer}
    assert found == model.shape.tensor_shapes()


@pytest.mark.parametrize("variant", ["sparse", "sparse ffn-pre"])
def test_dead_zones_and_pruning_are_read_back(variant: str, tmp_path: Path) -> None:
    model, path = VARIANTS[variant](), tmp_path / "model.onnx"
    export(model, "onnx-float", path)
    again = read_checkpoint(path)
    assert (again.shape, again.pruned) == (model.shape, True)
    assert list(again.stored) == list(model.stored)
    for name, tensor in model.stored.items():
        np.testing.assert_array_equal(again.stored[name], tensor, err_msg=name)
    export(VARIANTS["3 layers"](), "onnx-float", path, force=True)
    assert "pruned" not in metadata(path)
    assert read_checkpoint(path).sparsities == ()


def test_thresholds_of_double_precision_are_those_of_the_reference(tmp_path: Path) -> None:
    model = VARIANTS["sparse"]()
    wide = {name: zone.astype(np.float64) / 3 for name, zone in model.dead_zones.items()}
    model = replace(model, dead_zones=wide)
    assert largest_difference(model, tmp_path / "model.onnx", random_tokens(model, 64)) < 1e-4


def test_a_word_that_is_no_flag_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export(VARIANTS["sparse"](), "onnx-float", path)
    model = onnx.load(str(path))
    (entry,) = (e for e in model.metadata_props if e.key == "spikegpt_neuro.pruned")
    entry.value = '"half"'
    onnx.save(model, str(path))
    with pytest.raises(UnsupportedInput, match=r"metadata: pruned is 'half', expected true or"):
        read_checkpoint(path)


# External data


def test_large_tensors_lie_beside_the_model(tmp_path: Path, monkeypatch: Any) -> None:
    model, path = VARIANTS["3 layers"](), tmp_path / "model.onnx"
    export(model, "onnx-float", path)
    tokens = random_tokens(model, 16)
    inside = [o["logits"] for o in steps(path, in_onnxruntime(path), tokens)]
    path.write_bytes(b"an older file")
    monkeypatch.setattr(onnx_file.write_step_model, "__defaults__", (0,))
    export(model, "onnx-float", path, force=True)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
    assert path.stat().st_size < (tmp_path / "model.onnx.data").stat().st_size
    onnx.checker.check_model(str(path))
    beside = [o["logits"] for o in steps(path, in_onnxruntime(path), tokens)]
    assert np.array_equal(inside, beside)
    again = read_checkpoint(path)
    assert all(np.array_equal(again.tensors[n], model.tensors[n]) for n in model.tensors)


def test_a_crash_leaves_what_was_there(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"before")

    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(onnx_file, "_inline", fail)
    with pytest.raises(KeyboardInterrupt):
        export(graph_of("3 layers"), "onnx", path, force=True)
    assert [f.name for f in tmp_path.iterdir()] == ["model.onnx"]
    assert path.read_bytes() == b"before"


# Reading


@pytest.mark.parametrize("variant", ["3 layers", "ffn-pre", "myelin", "spike input"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_round_trip_gives_the_same_artifact(variant: str, dtype: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    model = read_checkpoint(save_safetensors(tmp_path / "model", VARIANTS[variant](), dtype))
    model = replace(model, vocabulary=CharacterVocabulary(tuple(EVERY_PRINTABLE)))
    path = tmp_path / "model.onnx"
    export(model, "onnx-float", path)
    again = read_checkpoint(path)
    assert again.shape == model.shape
    assert again.vocabulary == model.vocabulary
    tokens = random_tokens(model, 300)
    for name, source in (("first", model), ("second", again)):
        lower(source, tokens).save(str(tmp_path / name))
    files = [(tmp_path / n / "weights.safetensors").read_bytes() for n in ("first", "second")]
    assert files[0] == files[1]
    graphs = [(tmp_path / n / "graph.json").read_bytes() for n in ("first", "second")]
    assert graphs[0] == graphs[1]


def test_compat_survives_the_round_trip(tmp_path: Path) -> None:
    model, path = VARIANTS["upstream-run"](), tmp_path / "model.onnx"
    export(model, "onnx-float", path)
    assert read_checkpoint(path).with_compat("upstream-run").shape == model.shape


def foreign(names: list[str], element_type: int = TensorProto.FLOAT) -> Any:
    """A small model of another exporter."""
    tensors = [helper.make_tensor(name, element_type, [2], np.zeros(2).tolist()) for name in names]
    y = helper.make_tensor_value_info("y", element_type, [2])
    node = helper.make_node("Add", [names[0], names[0]], ["y"])
    return helper.make_model(helper.make_graph([node], "foreign", [], [y], tensors))


def test_a_file_of_another_exporter_needs_the_names_only(tmp_path: Path) -> None:
    model, path = VARIANTS["3 layers"](), tmp_path / "foreign.onnx"
    proto = foreign(["onnx::Add_7"])
    for name in model.tensors:
        array = np.array(model.tensors[name])
        shaped = array.reshape(1, 1, -1) if "time_mix" in name else array
        proto.graph.initializer.append(numpy_helper.from_array(shaped, f"module.{name}"))
    onnx.save(proto, str(path))
    again = read_checkpoint(path)
    assert again.shape == model.shape
    assert all(np.array_equal(again.tensors[n], model.tensors[n]) for n in model.tensors)


STORED: dict[int, tuple[str, Any]] = {  # type -> its field for numbers, and what stands there
    TensorProto.FLOAT: ("float_data", np.float32),
    TensorProto.DOUBLE: ("double_data", np.float64),
    TensorProto.FLOAT16: ("int32_data", np.float16),
}


@pytest.mark.parametrize("kind", STORED)
def test_numbers_may_stand_in_the_field_of_their_type(tmp_path: Path, kind: int) -> None:
    """And what is said of a place beside the file counts only where the tensor is there."""
    field, dtype = STORED[kind]
    path, values = tmp_path / "m.onnx", np.linspace(-1, 1, 32).astype(dtype)

    def change(tensor: Any) -> None:
        tensor.ClearField("raw_data")
        tensor.data_type = kind
        bits = values.view(np.uint16) if dtype is np.float16 else values
        getattr(tensor, field).extend(bits.tolist())
        tensor.external_data.add(key="location", value="gone.bin")

    onnx.save(changed(exported(tmp_path), change, "ln_out.bias"), str(path))
    np.testing.assert_array_equal(read_checkpoint(path).tensors["ln_out.bias"], values)


def write(path: Path, content: Any) -> Path:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        onnx.save(content, str(path))
    return path


def exported(folder: Path) -> Any:
    folder.mkdir(exist_ok=True)
    export(VARIANTS["3 layers"](), "onnx-float", folder / "good.onnx")
    return onnx.load(str(folder / "good.onnx"))


def with_external(model: Any, name: str, **entries: str) -> Any:
    """``model`` with one tensor stored elsewhere."""
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return model


def changed(model: Any, change: Callable[[Any], None], name: str = "head.weight") -> Any:
    change(next(t for t in model.graph.initializer if t.name == name))
    return model


def poison(tensor: Any) -> None:
    array = numpy_helper.to_array(tensor).copy()
    array.flat[3] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def as_numbers(tensor: Any, kind: int = TensorProto.FLOAT) -> None:
    """The values as single floats; of a FLOAT tensor, no raw bytes beside them."""
    tensor.float_data.extend(numpy_helper.to_array(tensor).ravel().tolist())
    tensor.data_type = kind
    if kind == TensorProto.FLOAT:
        tensor.raw_data = b""
    else:
        tensor.ClearField("raw_data")


def with_metadata(model: Any, key: str, value: str) -> Any:
    """``model`` with one more entry."""
    model.metadata_props.add(key=key, value=value)
    return model


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {  # how to make it, what is said
    "garbage": (lambda _: b"\xff\x13 this is not protobuf" * 9, "damaged ONNX file"),
    "empty": (lambda _: b"", "empty"),
    "text": (lambda _: b"hello\n", "damaged ONNX file|not an ONNX model"),
    "cut in half": (
        lambda f: (exported(f).SerializeToString())[: 3 << 12],
        "damaged ONNX file",
    ),
    "foreign": (lambda _: foreign(["fc.weight", "fc.bias"]), "none of its 2 initializers"),
    "incomplete": (lambda _: foreign(["blocks.0.ln1.weight"]), "missing tensors: emb.weight"),
    "quantized": (
        lambda _: foreign(["blocks.0.ln1.weight"], TensorProto.INT64),
        "not a float tensor",
    ),
    "wrong size": (
        lambda f: changed(exported(f), lambda t: t.dims.__setitem__(0, 97)),
        "holds 12288 bytes, shape \\(97, 32\\) needs 12416",
    ),
    "negative size": (
        lambda f: changed(exported(f), lambda t: t.dims.__setitem__(0, -1)),
        "has shape",
    ),
    "nan": (lambda f: changed(exported(f), poison), "head.weight holds 1 NaN"),
    "outside": (
        lambda f: with_external(exported(f), "head.weight", location="../secret.bin"),
        "outside the model's directory",
    ),
    "absolute": (
        lambda f: with_external(exported(f), "head.weight", location=str(f.parent / "secret.bin")),
        "outside the model's directory",
    ),
    "by a link": (
        lambda f: with_external(exported(f), "head.weight", location="link.bin"),
        "outside the model's directory",
    ),
    "data missing": (
        lambda f: with_external(exported(f), "head.weight", location="gone.data"),
        "missing beside it",
    ),
    "data short": (
        lambda f: with_external(exported(f), "head.weight", location="short.bin"),
        "lies outside short.bin",
    ),
    "offset": (
        lambda f: with_external(exported(f), "head.weight", location="short.bin", offset="x"),
        "no number",
    ),
    "no bytes of an empty file": (
        lambda f: with_external(exported(f), "head.weight", location="empty.bin", length="0"),
        "head.weight holds 0 bytes",
    ),
    "two locations": (
        lambda f: changed(
            with_external(exported(f), "head.weight", location="short.bin"),
            lambda t: t.external_data.add(key="location", value="empty.bin"),
        ),
        "head.weight: location is stored twice",
    ),
    "in two places": (
        lambda f: changed(exported(f), as_numbers, "ln_out.bias"),
        "ln_out.bias holds 0 bytes, shape \\(32,\\) needs 128",
    ),
    "numbers of another type": (
        lambda f: changed(exported(f), lambda t: as_numbers(t, TensorProto.DOUBLE), "ln_out.bias"),
        "ln_out.bias holds 0 bytes, shape \\(32,\\) needs 256",
    ),
    "segment": (
        lambda f: changed(exported(f), lambda t: setattr(t.segment, "end", 4)),
        "head.weight is a segment of a tensor; save it whole",
    ),
    "many dimensions": (
        lambda f: changed(exported(f), lambda t: t.dims.extend([1] * 64)),
        "head.weight has 66 dimensions, a model's have 8",
    ),
    "twice": (
        lambda f: changed(exported(f), lambda t: setattr(t, "name", "emb.weight")),
        "emb.weight is stored twice",
    ),
    "metadata twice": (
        lambda f: with_metadata(exported(f), "spikegpt_neuro.shape", "{}"),
        "spikegpt_neuro.shape is stored twice",
    ),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_files_get_one_clear_line(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(1 << 16))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "short.bin").write_bytes(b"1234")
    (folder / "empty.bin").touch()
    make, message = BAD[case]
    path = write(folder / "bad.onnx", make(folder))
    with pytest.raises(UnsupportedInput, match=message):
        read_checkpoint(path)
    assert run_cli(["convert", str(path), "-o", str(tmp_path / "out")]) == 3
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_integer_model_is_no_checkpoint(tmp_path: Path) -> None:
    export(graph_of("3 layers"), "onnx", tmp_path / "model.onnx")
    with pytest.raises(UnsupportedInput, match=r"integer-step.*onnx-float"):
        read_checkpoint(tmp_path / "model.onnx")


# The command line


def command(*arguments: object) -> int:
    return run_cli([str(argument) for argument in arguments])


def test_the_verb_prints_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    checkpoint = save_safetensors(tmp_path / "model", VARIANTS["3 layers"]())
    graph_of("3 layers").save(str(tmp_path / "model.sgn"))
    for source, to in ((tmp_path / "model.sgn", "onnx"), (checkpoint, "onnx-float")):
        output = tmp_path / f"{to}.onnx"
        capsys.readouterr()
        assert command("export", source, "--to", to, "-o", output, "--json") == 0
        result = json.loads(capsys.readouterr().out)
        assert result.keys() == {"path", "nodes", "unexported"}
        assert Path(result["path"]) == output
        assert result["nodes"] == len(onnx.load(str(output)).graph.node)
        assert result["unexported"] == []
        assert command("export", source, "--to", to, "-o", output) == 3
        assert "pass --force" in capsys.readouterr().err
        assert command("export", source, "--to", to, "-o", output, "--force", "-q") == 0
    assert command("export", checkpoint, "--to", "onnx", "-o", tmp_path / "x") == 2
    assert "give an artifact" in capsys.readouterr().err
    assert command("export", tmp_path / "model.sgn", "--to", "onnx-float", "-o", "x") == 2
    assert "give the checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("to", sorted(FORMATS))
def test_a_missing_package_is_named(
    to: str, tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, str(FORMATS[to].package), None)
    source = VARIANTS["3 layers"]() if to == "onnx-float" else graph_of("3 layers")
    saved = tmp_path / "source"
    if isinstance(source, SpikeGPT):
        pytest.importorskip("torch")
        save_safetensors(saved, source)
    else:
        source.save(str(saved))
    assert command("export", saved, "--to", to, "-o", tmp_path / "out") == 4
    assert f"pip install 'spikegpt-neuro[{FORMATS[to].extra}]'" in capsys.readouterr().err


def test_the_verb_offers_every_format() -> None:
    from spikegpt_neuro.cli.export import export as verb

    (to,) = (option for option in verb.params if option.name == "to")
    assert isinstance(to.type, click.Choice)
    assert tuple(to.type.choices)[: len(FORMATS)] == tuple(FORMATS)  # other packages' follow


def test_the_example_writes_text_with_onnxruntime_alone(tmp_path: Path) -> None:
    model = replace(VARIANTS["3 layers"](), vocabulary=CharacterVocabulary(tuple(EVERY_PRINTABLE)))
    graph = lower(model, random_tokens(model, 300))
    export(graph, "onnx", tmp_path / "model.onnx")
    script = ROOT / "examples" / "generate_onnx.py"
    assert "spikegpt_neuro import" not in script.read_text(encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script), "model.onnx", "Spike", "-n", "8", "--temperature", "0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    with ReferenceBackend().session(graph) as session:
        ids = graph.vocabulary.encode("Spike").tolist()  # type: ignore[union-attr]
        for token in ids:
            logits = session.step(token)
        for _ in range(8):
            ids.append(int(np.argmax(logits)))
            logits = session.step(ids[-1])
    assert done.stdout == graph.vocabulary.decode(ids) + "\n"  # type: ignore[union-attr]


def test_a_toy_graph_is_exported_too(tmp_path: Path) -> None:
    path = tmp_path / "toy.onnx"
    export(toy_graph(), "onnx", path)
    tokens = np.random.default_rng(0).integers(0, 11, 100)
    assert_equals_reference(toy_graph(), path, in_onnxruntime(path), tokens)


def test_an_unknown_program_is_refused_by_name(tmp_path: Path) -> None:
    class Novel(Residual):
        kind = "novel"

    graph = toy_graph()
    populations = tuple(
        replace(p, program=Novel()) if isinstance(p.program, Residual) else p
        for p in graph.populations
    )
    with pytest.raises(UnsupportedInput, match=r"blocks\.0\.residual.*novel"):
        export(replace(graph, populations=populations), "onnx", tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())
