"""netx: Lava-DL loads the files and Lava gives the reference's spikes."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikegpt_neuro.backends.reference import ReferenceBackend
from spikegpt_neuro.cli import run as run_cli
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.converters.reader import read_checkpoint
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.graph import artifact
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.neurons import Requantize

from dense_weights import weights_of
from random_models import random_model, random_tokens
from toy_graph import toy_graph

h5py = pytest.importorskip("h5py")

from spikegpt_neuro.converters.exporters.netx_export import folded_weights  # noqa: E402
from spikegpt_neuro.converters.exporters.pairs import linear_lif_pairs  # noqa: E402
from spikegpt_neuro.converters.exporters.registry import export  # noqa: E402

from places import ROOT, SUPPORT  # noqa: E402

Array = np.ndarray[Any, Any]
LAVA_SECONDS = 240
TOKENS = 64


@cache
def small() -> SpikingGraph:
    model = random_model(layers=2)
    return lower(model, random_tokens(model, 400))


def manifest(path: Path) -> dict[str, Any]:
    return dict(json.loads((path / "pairs.json").read_text(encoding="utf-8")))


def reference_of(path: Path, graph: SpikingGraph) -> SpikingGraph:
    """The graph whose spikes the files have."""
    name = manifest(path)["reference"]
    return graph if name is None else artifact.load(path / name)


def on_lava(file: Path, events: Array, message_bits: int, folder: Path) -> Array:
    """Spikes (T, n) of a netx file on Lava's CPU backend."""
    if importlib.util.find_spec("lava") is None or importlib.util.find_spec("lava.lib.dl") is None:
        pytest.skip("lava-nc or lava-dl is not installed")
    np.save(folder / "events.npy", events)
    script = SUPPORT / "netx_on_lava.py"
    arguments = [file, folder / "events.npy", message_bits, folder / "spikes.npy"]
    done = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=LAVA_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return np.asarray(np.load(folder / "spikes.npy"))


def assert_lava_agrees(graph: SpikingGraph, path: Path, tokens: Array, pairs: int) -> None:
    """The first ``pairs`` files of an export have the spikes of their reference."""
    run = ReferenceBackend().run(reference_of(path, graph), tokens, record="events")
    assert run.saturations == 0
    for entry in manifest(path)["pairs"][:pairs]:
        bits = entry["input_message_bits"]
        spikes = on_lava(path / entry["file"], run.events[entry["input"]], bits, path.parent)
        expected = run.spikes[entry["lif"]]
        assert 0.01 < expected.mean() < 0.9
        assert np.count_nonzero(spikes != expected) == 0


def test_lava_gives_the_spikes_of_the_reference(tmp_path: Path) -> None:
    export(small(), "netx", tmp_path / "out")
    tokens = np.random.default_rng(3).integers(0, 96, TOKENS)
    assert_lava_agrees(small(), tmp_path / "out", tokens, pairs=1)


def test_lava_gives_the_spikes_of_a_graph_that_folds_exactly(tmp_path: Path) -> None:
    export(toy_graph(), "netx", tmp_path / "out")
    assert manifest(tmp_path / "out")["reference"] is None
    tokens = np.random.default_rng(3).integers(0, 11, TOKENS)
    assert_lava_agrees(toy_graph(), tmp_path / "out", tokens, pairs=1)


@pytest.mark.slow
def test_lava_gives_the_spikes_of_every_pair_of_the_example(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    model = read_checkpoint(ROOT / "examples" / "pydoc-4x128.pth")
    graph = lower(model, random_tokens(model, 2000))
    export(graph, "netx", tmp_path / "out")
    assert_lava_agrees(graph, tmp_path / "out", random_tokens(model, 256, seed=5), pairs=4)


def test_the_files_hold_the_reference_in_integers(tmp_path: Path) -> None:
    """What the files say, worked out in numpy: even weights, a threshold, and nothing between."""
    export(small(), "netx", tmp_path / "out")
    reference = reference_of(tmp_path / "out", small())
    tokens = np.random.default_rng(4).integers(0, 96, 256)
    run = ReferenceBackend().run(reference, tokens, record="events")
    for entry in manifest(tmp_path / "out")["pairs"]:
        with h5py.File(tmp_path / "out" / entry["file"]) as file:
            layer = file["layer/1"]
            weights = layer["weight"][()].astype(np.int64)
            assert layer["type"][0] == b"dense"
            assert (layer["neuron/iDecay"][()], layer["neuron/vDecay"][()]) == (4096, 2048)
            threshold = int(layer["neuron/vThMant"][()]) << 6
        assert not np.any(weights & 1)
        assert weights.min() >= -256
        assert weights.max() <= 254
        currents = run.events[entry["input"]].astype(np.int64) @ weights.T
        v = np.zeros(weights.shape[0], np.int64)
        for t, current in enumerate(currents):
            h = np.sign(v) * (np.abs(v) * 2048 >> 12) + (current << 6)
            spikes = h > threshold
            assert np.array_equal(spikes, run.spikes[entry["lif"]][t])
            v = np.where(spikes, 0, h)


def test_an_own_quantization_stays_close_to_the_artifact(tmp_path: Path) -> None:
    export(small(), "netx", tmp_path / "out")
    reference = reference_of(tmp_path / "out", small())
    assert reference.provenance["netx_requantized"] == [f"blocks.{i}.att.output" for i in range(2)]
    for ours, theirs in zip(linear_lif_pairs(reference), linear_lif_pairs(small()), strict=True):
        growth = (64 * ours.neuron.vth + 1) / (64 * theirs.neuron.vth + 1)
        error = ours.current_weights - growth * theirs.current_weights
        assert 1 < growth <= 2
        assert np.abs(error).max() <= 1 + 1e-9  # half a step of the even grid


def test_a_graph_that_was_exported_once_folds_exactly(tmp_path: Path) -> None:
    export(small(), "netx", tmp_path / "out")
    export(reference_of(tmp_path / "out", small()), "netx", tmp_path / "again")
    first, second = manifest(tmp_path / "out"), manifest(tmp_path / "again")
    assert second["reference"] is None
    assert {entry["quantization"] for entry in first["pairs"]} == {"own"}
    assert {entry["quantization"] for entry in second["pairs"]} == {"the artifact's"}
    for entry in first["pairs"]:
        contents = []
        for folder in ("out", "again"):
            with h5py.File(tmp_path / folder / entry["file"]) as file:
                contents.append(file["layer/1/weight"][()])
        assert np.array_equal(*contents)


def with_requantize(graph: SpikingGraph, program: Requantize) -> SpikingGraph:
    return replace(
        graph,
        populations=tuple(
            replace(p, program=program) if p.name == "blocks.0.current" else p
            for p in graph.populations
        ),
    )


@pytest.mark.parametrize(
    ("mantissa", "shift", "folds"),
    [
        (1 << 14, 13, True),  # 2: even weights
        (1 << 14, 14, True),  # 1: weights in -128..127, even or not
        (1 << 14, 12, False),  # 4: beyond 254
        (1 << 14, 15, False),  # 1/2: odd weights become fractions
        (30000, 14, False),
    ],
)
def test_only_exact_factors_are_folded(mantissa: int, shift: int, folds: bool) -> None:
    size = 8
    scale = np.full(size, mantissa, np.int32), np.full(size, shift, np.int32)
    graph = with_requantize(toy_graph(), Requantize(*scale, bits=18, quantizer=False))
    (pair,) = linear_lif_pairs(graph)
    folded = folded_weights(pair)
    assert (folded is not None) == folds
    if folded is not None:
        assert np.array_equal(
            folded * (1 << shift), weights_of(pair.projection).astype(int) * mantissa
        )


def test_graphs_without_a_pair_are_refused(tmp_path: Path) -> None:
    model = random_model(layers=1, spike_input=True)
    with pytest.raises(UnsupportedInput, match="no Linear -> LIF pair"):
        export(lower(model, random_tokens(model, 100)), "netx", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_matrix_that_the_loader_fails_on_is_refused_by_name(tmp_path: Path) -> None:
    graph = toy_graph()
    projections = tuple(
        replace(q, weights=-np.abs(weights_of(q))) if q.name == "value" else q
        for q in graph.projections
    )
    with pytest.raises(UnsupportedInput, match="value has no positive weight"):
        export(replace(graph, projections=projections), "netx", tmp_path / "out")


def test_the_verb_lists_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small().save(str(tmp_path / "model.sgn"))
    arguments = ["export", str(tmp_path / "model.sgn"), "--to", "netx"]
    arguments += ["-o", str(tmp_path / "out"), "--json"]
    assert run_cli(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["nodes"] == 2
    carried = {f"blocks.{i}.lif1" for i in range(2)}
    names = {p.name for p in small().populations}
    names |= {q.name for q in small().projections if q.is_dense}
    assert set(result["unexported"]) == names - carried - {
        f"blocks.{i}.att.output" for i in range(2)
    }
    assert run_cli(arguments) == 3
    assert "--force" in capsys.readouterr().err
    assert run_cli([*arguments, "--force"]) == 0
    assert run_cli([*arguments[:2], "--to", "netx", "-o", str(tmp_path), "--force"]) == 3
