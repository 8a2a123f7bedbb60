"""NIR: other simulators load the file and give the same spikes."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikegpt_neuro.backends.reference import ReferenceBackend
from spikegpt_neuro.cli import run as run_cli
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.converters.reader import read_checkpoint
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.model.float_forward import FloatModel
from spikegpt_neuro.model.spikegpt import LIFParameters, SpikeGPT
from spikegpt_neuro.neurons import LIF, Requantize
from spikegpt_neuro.running import Run

from dense_weights import weights_of
from random_models import random_model, random_tokens, save_safetensors

nir = pytest.importorskip("nir")

from spikegpt_neuro.converters.exporters.nir_export import TIME_STEP  # noqa: E402
from spikegpt_neuro.converters.exporters.registry import export  # noqa: E402

from places import ROOT  # noqa: E402

Array = np.ndarray[Any, Any]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the peers' own
NEURON_STEPS = 10_000
PEERS: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "snntorch": ("snntorch.import_nir", lambda m, g: m.import_from_nir(g)),
    "spikingjelly": (
        "spikingjelly.activation_based.nir_exchange",
        lambda m, g: m.import_from_nir(g, dt=TIME_STEP),
    ),
    "norse": ("norse.torch.utils.import_nir", lambda m, g: m.from_nir(g, dt=TIME_STEP)),
}


@cache
def example() -> SpikeGPT:
    pytest.importorskip("torch")
    return read_checkpoint(ROOT / "examples" / "pydoc-4x128.pth")


@cache
def example_graph() -> SpikingGraph:
    return lower(example(), random_tokens(example(), 2000))


@cache
def example_run(tokens: int) -> Run:
    text = random_tokens(example(), tokens, seed=5)
    return ReferenceBackend().run(example_graph(), text, record="events")


def float_values(model: SpikeGPT, tokens: Array) -> dict[str, Array]:
    """Every intermediate value (T, n) of the float reference."""
    found: dict[str, Array] = {}
    FloatModel(model).forward(
        tokens, observe=lambda name, value: found.__setitem__(name, value.copy())
    )
    return found


def pairs(graph: Any) -> list[tuple[str, str]]:
    """(Linear, LIF) names of every pair in a NIR graph."""
    return [
        (a, b)
        for a, b in graph.edges
        if isinstance(graph.nodes[a], nir.Linear) and isinstance(graph.nodes[b], nir.LIF)
    ]


def spikes_in(peer: str, chain: list[Any], inputs: Array) -> Array:
    """Spikes (T, n) that ``peer`` gives for a chain of NIR nodes and inputs (T, m)."""
    torch = pytest.importorskip("torch")
    module_name, load = PEERS[peer]
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        pytest.skip(f"{peer}: {error}")
    model = load(module, nir.NIRGraph.from_list(*chain))
    state, rows = None, []
    with torch.no_grad():
        for row in inputs.astype(np.float32):
            spikes, state = model(torch.from_numpy(row[None]), state)
            rows.append(spikes[0].numpy())
    return np.stack(rows)


@pytest.mark.parametrize("peer", PEERS)
def test_peers_give_the_spikes_of_every_pair(peer: str, tmp_path: Path) -> None:
    tokens = random_tokens(example(), NEURON_STEPS // 128 + 1, seed=5)
    values = float_values(example(), tokens)
    done = export(example(), "nir", tmp_path / "model.nir")
    graph = nir.read(str(done.path))
    found = pairs(graph)
    assert found == [(f"blocks.{i}.att.output", f"blocks.{i}.lif1") for i in range(4)]
    for linear, lif in found:
        inputs = values[linear.replace("output", "wkv")]
        ours = spikes_in(peer, [graph.nodes[linear], graph.nodes[lif]], inputs)
        assert ours.size >= NEURON_STEPS
        assert np.count_nonzero(ours != values[lif]) == 0
        assert 0.02 < ours.mean() < 0.9


@pytest.mark.parametrize("peer", PEERS)
def test_peers_give_the_spikes_of_every_lif_population(peer: str, tmp_path: Path) -> None:
    """Fed with the reference's integer currents, an artifact's LIFs fire as the reference's."""
    run = example_run(96)
    done = export(example_graph(), "nir", tmp_path / "model.nir")
    graph = nir.read(str(done.path))
    for population in example_graph().populations:
        if isinstance(population.program, LIF):
            (projection,) = example_graph().incoming[population.name]
            inputs = run.events[projection.source]
            ours = spikes_in(peer, [graph.nodes[population.name]], inputs)
            assert np.count_nonzero(ours != run.spikes[population.name]) == 0


def test_pairs_of_an_artifact_differ_by_the_rounding_of_currents_only(tmp_path: Path) -> None:
    run = example_run(512)
    done = export(example_graph(), "nir", tmp_path / "model.nir")
    graph = nir.read(str(done.path))
    assert len(pairs(graph)) == 4
    for linear, lif in pairs(graph):
        inputs = run.events[linear.replace("output", "wkv")]
        peers = [spikes_in(peer, [graph.nodes[linear], graph.nodes[lif]], inputs) for peer in PEERS]
        assert all(np.array_equal(peers[0], other) for other in peers[1:])
        assert np.mean(peers[0] != run.spikes[lif]) < 3e-4
        # An integer matrix times a 15-bit mantissa: nothing is rounded on the way to the file.
        requantize = example_graph().by_name[linear.replace("output", "requantize")].program
        assert isinstance(requantize, Requantize)
        stored = graph.nodes[linear].weight.astype(np.float64)
        scaled = stored * 2.0 ** requantize.shift[:, None] / requantize.mantissa[:, None]
        weights = next(weights_of(q) for q in example_graph().projections if q.name == linear)
        assert np.array_equal(scaled, weights)


MYELIN = LIFParameters(tau=4.0, threshold=0.7, decay_input=False)


@pytest.mark.parametrize("peer", PEERS)
def test_a_lif_whose_input_is_not_decayed(peer: str, tmp_path: Path) -> None:
    model = random_model(lif=MYELIN, seed=5)
    values = float_values(model, random_tokens(model, 320))
    graph = nir.read(str(export(model, "nir", tmp_path / "model.nir").path))
    for linear, lif in pairs(graph):
        inputs = values[linear.replace("output", "wkv")]
        ours = spikes_in(peer, [graph.nodes[linear], graph.nodes[lif]], inputs)
        assert ours.size >= NEURON_STEPS
        assert np.count_nonzero(ours != values[lif]) == 0
        assert ours.any()


VARIANTS = {
    "plain": random_model(),
    "ffn-pre": random_model(ffn_pre=True, seed=2),
    "graded embedding": random_model(spike_embedding=False, seed=3),
    "spike input": random_model(spike_input=True, seed=4),
    "upstream-run": random_model(layers=7, seed=6).with_compat("upstream-run"),
}


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_nothing_is_dropped_silently(variant: str, tmp_path: Path) -> None:
    model = VARIANTS[variant]
    graph = lower(model, random_tokens(model, 300))
    for source in (model, graph):
        done = export(source, "nir", tmp_path / "model.nir", force=True)
        content = nir.read(str(done.path))
        assert done.nodes == len(content.nodes)
        lifs = {p.name for p in graph.spiking() if "lif" in p.name}
        dense = {q.name for q in graph.projections if q.is_dense}
        assert lifs | dense == {
            name for name, node in content.nodes.items() if isinstance(node, (nir.Linear, nir.LIF))
        }
        # Every population of the graph is a node or named; quantizers exist in the graph only.
        quantizers = {p.name for p in graph.populations if p.program.kind == "requantize"}
        quantizers -= {"logits"}
        named = set(done.unexported)
        everything = {p.name for p in graph.populations}
        assert named | lifs | (set() if source is graph else quantizers) == everything
        assert json.loads(_text(content.metadata["unexported"])) == list(done.unexported)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def test_without_pairs_projections_and_lifs_stand_alone(tmp_path: Path) -> None:
    done = export(VARIANTS["spike input"], "nir", tmp_path / "model.nir")
    graph = nir.read(str(done.path))
    assert pairs(graph) == []
    assert isinstance(graph.nodes["blocks.1.lif2"], nir.LIF)


def test_halved_weights_are_exported_halved(tmp_path: Path) -> None:
    model = VARIANTS["upstream-run"]
    graph = nir.read(str(export(model, "nir", tmp_path / "model.nir").path))
    name = "blocks.6.att.output"
    assert np.array_equal(graph.nodes[name].weight, model.tensors[f"{name}.weight"] / 2)


def test_the_threshold_is_the_float_below_ours(tmp_path: Path) -> None:
    graph = nir.read(str(export(VARIANTS["plain"], "nir", tmp_path / "model.nir").path))
    (threshold,) = set(graph.nodes["blocks.0.lif1"].v_threshold.tolist())
    assert threshold < 1.0
    assert np.nextafter(np.float32(threshold), np.float32(2)) == 1.0


def test_the_verb_lists_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    checkpoint = save_safetensors(tmp_path / "model", VARIANTS["plain"])
    arguments = ["export", str(checkpoint), "--to", "nir", "-o", str(tmp_path / "model.nir")]
    assert run_cli([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert result.keys() == {"path", "nodes", "unexported"}
    assert {"embedding", "blocks.2.att.wkv", "ln_out"} <= set(result["unexported"])
    assert "are not in" in captured.err
