"""The verb ``bench`` and what it is made of. Nothing here asserts a speed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spikegpt_neuro as sgn
from spikegpt_neuro.benchmark import speed
from spikegpt_neuro.benchmark.figures import Figure, table
from spikegpt_neuro.benchmark.machine import description, thread_environment
from spikegpt_neuro.benchmark.memory import memory_reader, touched_bytes, weight_bytes
from spikegpt_neuro.benchmark.rounds import Work, take_turns
from spikegpt_neuro.benchmark.speed import Plan
from spikegpt_neuro.cli import run as run_cli
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.errors import CheckFailed, UsageError
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.memory import peak_rss_bytes
from spikegpt_neuro.model.float_forward import FloatModel
from spikegpt_neuro.model.spikegpt import LIFParameters, SpikeGPT
from spikegpt_neuro.model.synthetic import random_model, random_tokens
from spikegpt_neuro.running import get_backend

from dead_zones import with_real_dead_zones
from places import ROOT
from random_models import save_upstream

EXAMPLE = ROOT / "examples" / "pydoc-4x128.pth"
EXAMPLE_VOCAB = ROOT / "examples" / "pydoc-vocab.json"
QUICK = ["--rounds", "1", "--seconds", "0.02", "--tokens", "24"]
FIGURES = [
    *("generation", "weight_reading", "sequence"),
    *("help", "import", "load", "first_token", "peak_memory"),
]
NEEDS_TORCH = ("generation", "sequence", "first_token", "peak_memory")


def bench(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run_cli(["bench", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


# The verb.


@pytest.fixture(scope="module")
def example_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch")
    path = tmp_path_factory.mktemp("bench") / "pydoc.sgn"
    tokens = np.arange(512) % 96
    sgn.convert(EXAMPLE, vocab=EXAMPLE_VOCAB, calibration=tokens).save(str(path))
    return path


def test_every_figure_has_both_sides(
    capsys: pytest.CaptureFixture[str], example_artifact: Path
) -> None:
    code, out, err = bench(capsys, example_artifact, "--against", EXAMPLE, *QUICK, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert list(report["figures"]) == FIGURES
    for figure in report["figures"].values():
        assert figure["ours"] > 0
        assert figure["theirs"] > 0
        assert figure["ratio"] == pytest.approx(figure["ours"] / figure["theirs"])
        assert figure["against"]
        for side, values in figure["rounds"].items():
            assert max(values) == pytest.approx(figure[side])
    assert (report["shape"], report["weight_bits"], report["threads"]) == ("4x128x96", 8, 1)
    assert report["tokens"] == 24
    assert 0 < report["weight_bytes_per_token"] <= report["weight_bytes"]
    assert report["remarks"] == []
    assert report["machine"]["cores"] >= 1
    assert "measuring generation" in err


def test_the_table_of_a_random_model_without_torch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(speed, "find_spec", lambda name: None if name == "torch" else found(name))
    code, out, err = bench(capsys, "--shape", "1x16x32", "--weight-bits", 4, *QUICK)
    assert code == 0, err
    assert "torch is not installed" in err
    lines = {line[: len(name)]: line.split() for line in out.splitlines() for name in FIGURES}
    assert lines["generation"][2] == "-"
    assert lines["sequence"][2] == "-"
    assert "weight bits" in out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--shape", "12x512"], "layers x width x vocabulary"),
        (["somewhere", "--shape", "1x16x32"], "leave out the artifact"),
        (["--against", "model.pth"], "needs the artifact"),
        (["--rounds", "0"], "--rounds"),
    ],
)
def test_wrong_usage_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    code, out, err = bench(capsys, *arguments, "--quiet")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert problem in err


def test_the_checkpoint_of_another_shape_is_refused(
    capsys: pytest.CaptureFixture[str], example_artifact: Path, tmp_path: Path
) -> None:
    other = save_upstream(tmp_path / "other.pth", random_model(layers=1, width=16))
    code, _, err = bench(capsys, example_artifact, "--against", other, *QUICK)
    assert code == 2
    assert "its shape is not that of" in err


# The opponent computes the same model.


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"ffn_pre": True, "spike_embedding": False},
        {"spike_input": True, "lif": LIFParameters(threshold=0.5, decay_input=False)},
        {"lif": LIFParameters(tau=3.0, reset=-0.25)},
    ],
    ids=["plain", "ffn-pre", "spike-input", "reset"],
)
def test_torch_step_and_sequence_equal_the_float_reference(variant: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    from spikegpt_neuro.benchmark.torch_model import TorchModel

    model = random_model(layers=7, width=16, vocab_size=40, **variant)
    tokens = random_tokens(model, 48)
    for same in (model, model.with_compat("upstream-run"), with_real_dead_zones(model)):
        expected = FloatModel(same, dtype=np.float64).logits(tokens)
        opponent = TorchModel(same, dtype=torch.float64)
        sequence = opponent.forward(tokens.tolist()).numpy()
        opponent.reset()
        steps = np.stack([opponent.step(token).numpy() for token in tokens.tolist()])
        np.testing.assert_allclose(sequence, expected, atol=1e-9)
        np.testing.assert_allclose(steps, expected, atol=1e-9)


def test_an_opponent_that_computes_something_else_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("torch")
    model = random_model(layers=2, width=16)
    tokens = random_tokens(model, 16)
    opponent = speed.torch_side(model, tokens, threads=1)
    assert opponent is not None
    assert speed.torch_difference(opponent, model, tokens) < 1e-3
    other = random_model(layers=2, width=16, seed=1)
    monkeypatch.setattr(speed, "FloatModel", lambda _: FloatModel(other))
    with pytest.raises(CheckFailed, match="differ from the float reference"):
        speed.torch_side(model, tokens, threads=1)


# The parts.


def test_sides_take_turns_and_the_best_slice_counts() -> None:
    calls: list[str] = []

    def side(name: str) -> Work:
        def work() -> float:
            calls.append(name)
            return 3.0

        return work

    seen: list[tuple[int, int]] = []
    rates = take_turns(
        {"a": side("a"), "b": side("b")},
        rounds=2,
        seconds=0.0,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert calls == ["a", "a", "b", "b"] * 2  # one call to settle, one that counts
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert rates["a"].best == max(rates["a"].rounds)
    assert len(rates["b"].rounds) == 2
    with pytest.raises(UsageError, match="at least 1"):
        take_turns({"a": side("a")}, rounds=0, seconds=0.0)


@pytest.mark.parametrize("bits", [8, 4])
def test_touched_bytes_count_rows_with_events(bits: int) -> None:
    model = random_model(layers=1, width=16, vocab_size=33, hidden_density=0.15)
    tokens = random_tokens(model, 40)
    graph = lower(model, tokens, weight_bits=bits)
    run = get_backend("reference").run(graph, tokens, record="events")
    stored = expected = 0.0
    for q in graph.projections:
        if q.weights is not None:
            targets, sources = q.weights.shape
            row = targets if q.by_source else sources
            row = (row + 1) // 2 if bits == 4 else row
            active = np.count_nonzero(run.events[q.source]) / len(tokens)
            stored += (sources if q.by_source else targets) * row
            expected += (active if q.by_source else targets) * row
    assert weight_bytes(graph) == stored
    assert touched_bytes(graph, run.activity, len(tokens)) == pytest.approx(expected)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_reader_reads_all_bytes_and_ends_its_threads(threads: int) -> None:
    before = threading.active_count()
    with memory_reader(threads, size=1 << 16) as read:
        assert read() == 1 << 16
    assert threading.active_count() == before


def test_a_figure_without_the_other_side_has_no_ratio() -> None:
    alone = Figure("peak_memory", "bytes", 2e6, None, "nobody")
    both = Figure("generation", "tokens/s", 1200.0, 400.0, "torch")
    assert (alone.ratio, both.ratio) == (None, 3.0)
    lines = table([alone, both]).splitlines()
    assert lines[1].split() == ["peak", "memory", "2", "-", "MB", "-", "nobody"]
    assert lines[2].split() == ["generation", "1,200", "400", "tokens/s", "3.00", "torch"]


def test_the_machine_is_described() -> None:
    machine = description()
    assert machine["processor"]
    assert machine["numpy"] == np.__version__
    assert set(thread_environment(3).values()) == {"3"}


def test_peak_memory_is_this_programs_own() -> None:
    """The high-water mark of the starting process does not count, as it does in getrusage."""
    ballast = np.ones(80 << 20, np.uint8)
    code = "from spikegpt_neuro.memory import peak_rss_bytes; print(peak_rss_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1 << 20 < int(done.stdout) < ballast.nbytes < peak_rss_bytes()


# Synthetic models with trained sparsity.


def hidden_shares(model: SpikeGPT, tokens: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Mean share of k > 0 and of LIF spikes in the float forward."""
    shares: list[float] = []

    def observe(name: str, value: Any) -> None:
        if name.endswith("ffn.squared_relu"):
            shares.append(float((value > 0).mean()))

    run = FloatModel(model).forward(tokens, observe=observe)
    lifs = [spikes.mean() for name, spikes in run.spikes.items() if "lif" in name]
    return float(np.mean(shares)), float(np.mean(lifs))


@pytest.mark.parametrize("density", [0.15, 0.2, 0.35])
def test_hidden_density_is_what_was_asked_for(density: float) -> None:
    model = random_model(layers=3, width=128, hidden_density=density)
    positive, firing = hidden_shares(model, random_tokens(model, 200))
    assert positive == pytest.approx(density, abs=0.04)
    assert 0.1 < firing < 0.3


def squared_relu_share(graph: SpikingGraph, tokens: np.ndarray[Any, Any]) -> float:
    run = get_backend("reference").run(graph, tokens, record="logits")
    return speed.event_shares(graph, run)["squared_relu"]


@pytest.mark.parametrize("bits", [8, 4])
def test_trained_sparsity_survives_quantization(bits: int) -> None:
    tokens = random_tokens(random_model(), 200)
    model = random_model(layers=2, width=128, hidden_density=0.2)
    assert 0.12 < squared_relu_share(lower(model, tokens, weight_bits=bits), tokens) < 0.22
    dense = random_model(layers=2, width=128)
    assert squared_relu_share(lower(dense, tokens, weight_bits=bits), tokens) > 0.3


@pytest.mark.parametrize("options", [{"hidden_density": 0.7}, {"spike_input": True}])
def test_a_density_that_cannot_be_set_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="hidden_density"):
        random_model(**({"hidden_density": 0.2} | options))


def test_other_models_do_not_depend_on_the_option() -> None:
    plain, thin = random_model(), random_model(hidden_density=0.2)
    same = {n for n in plain.tensors if np.array_equal(plain.tensors[n], thin.tensors[n])}
    changed = plain.tensors.keys() - same
    assert {name.split(".", 2)[2] for name in changed} == {
        *("ln2.weight", "ln2.bias", "ffn.key.weight", "ffn.value.weight")
    }


def test_threads_are_measured_beside_one_thread() -> None:
    model = random_model(layers=1, width=264, vocab_size=300)
    tokens = random_tokens(model, 12)
    before = threading.active_count()
    plan = Plan(threads=2, rounds=2, seconds=0.0)
    found = speed.threads_gain({"a": lower(model, tokens)}, tokens, plan)["a"]
    assert found.ours == max(found.rounds["ours"])
    assert found.theirs == max(found.rounds["theirs"])
    assert len(found.rounds["ours"]) == 2
    while threading.active_count() > before:
        time.sleep(0.01)


def test_generation_of_several_graphs_shares_the_other_sides() -> None:
    model = random_model(layers=1, width=16)
    tokens = random_tokens(model, 12)
    graphs = {str(bits): lower(model, tokens, weight_bits=bits) for bits in (8, 4)}
    backend = get_backend("reference")
    runs = {name: backend.run(graph, tokens) for name, graph in graphs.items()}
    found = speed.generation(graphs, runs, None, tokens, Plan(rounds=1, seconds=0.0))
    assert list(found) == ["8", "4"]
    assert found["8"][0].theirs is None
    assert found["8"][1].theirs == found["4"][1].theirs
