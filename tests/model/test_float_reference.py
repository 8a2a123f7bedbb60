"""The float reference against torch, against hand-computed numbers, and against itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spikegpt_neuro.converters.reader import read_checkpoint
from spikegpt_neuro.errors import UnsupportedInput, UsageError
from spikegpt_neuro.model.float_forward import FloatModel
from spikegpt_neuro.model.spikegpt import LIFParameters, SpikeGPT

import golden_trace
from places import CHECKPOINT
from random_models import random_model, random_tokens

EXAMPLE = CHECKPOINT
LIMIT = 1e-8
TOKENS = 512

MODELS: dict[str, dict[str, Any]] = {
    "3 layers": {"layers": 3},
    "9 layers": {"layers": 9},
    "ffnPre": {"ffn_pre": True},
    "myelin": {"lif": LIFParameters(decay_input=False)},
    "myelin, tau 4, threshold 0.7, reset 0.1": {"lif": LIFParameters(4.0, 0.7, 0.1, False)},
    "myelin, real embedding": {
        "lif": LIFParameters(decay_input=False),
        "spike_embedding": False,
    },
    "myelin, spikes as input": {"lif": LIFParameters(decay_input=False), "spike_input": True},
    "myelin, spikes as input, ffnPre": {
        "lif": LIFParameters(3.0, 1.2, 0.0, False),
        "spike_input": True,
        "ffn_pre": True,
    },
}


def example() -> SpikeGPT:
    pytest.importorskip("torch")
    return read_checkpoint(EXAMPLE)


def assert_equal(model: SpikeGPT, expected: tuple[Any, Any], tokens: Any) -> None:
    logits, spikes = expected
    run = FloatModel(model, np.float64).forward(tokens)
    assert run.logits is not None
    assert run.logits.dtype == np.float64
    assert run.spikes.keys() == spikes.keys()
    for name, found in run.spikes.items():
        np.testing.assert_array_equal(found, spikes[name], err_msg=name)
    assert np.abs(run.logits - logits).max() <= LIMIT


@pytest.mark.parametrize("name", MODELS)
def test_random_models_equal_torch(name: str) -> None:
    reference = pytest.importorskip("torch_reference")
    model = random_model(**MODELS[name])
    tokens = random_tokens(model, TOKENS)
    assert_equal(model, reference.run(model, tokens), tokens)


def test_example_equals_torch() -> None:
    reference = pytest.importorskip("torch_reference")
    model = example()
    assert model.vocabulary is not None
    text = "If the object is callable, the signature is shown.\n" * 11
    tokens = model.vocabulary.encode(text[:TOKENS])
    assert_equal(model, reference.run(model, tokens), tokens)


@pytest.mark.parametrize("vocab_size", [77, 96])
@pytest.mark.parametrize("layers", [3, 13])
def test_upstream_run_equals_the_script(layers: int, vocab_size: int) -> None:
    reference = pytest.importorskip("torch_reference")
    model = random_model(layers, 16, vocab_size)
    tokens = random_tokens(model, 128)
    expected = reference.run_upstream_script(model, tokens)
    assert_equal(model.with_compat("upstream-run"), expected, tokens)
    assert ("embedding" in expected[1]) == (vocab_size == 77)


def test_upstream_run_differs_from_training_beyond_six_layers() -> None:
    model = random_model(9, 16, 77)
    tokens = random_tokens(model, 128)
    training = FloatModel(model).forward(tokens).spikes
    script = FloatModel(model.with_compat("upstream-run")).forward(tokens).spikes
    assert np.array_equal(training["blocks.5.lif2"], script["blocks.5.lif2"])
    assert not np.array_equal(training["blocks.8.lif2"], script["blocks.8.lif2"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_golden_trace(dtype: type[np.floating]) -> None:
    seen: dict[str, Any] = {}
    floating = FloatModel(golden_trace.golden_model(), dtype)
    run = floating.forward(golden_trace.TOKENS, observe=seen.__setitem__)
    for name, spikes in golden_trace.SPIKES.items():
        np.testing.assert_array_equal(run.spikes[name], spikes, err_msg=name)
    for name, values in (golden_trace.VALUES | {"logits": golden_trace.LOGITS}).items():
        np.testing.assert_allclose(
            np.asarray(seen[name]), values, atol=golden_trace.TOLERANCE, err_msg=name
        )
    membranes = (run.state[0].membrane1, run.state[0].membrane2)
    np.testing.assert_allclose(membranes, golden_trace.FINAL_MEMBRANES, atol=golden_trace.TOLERANCE)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_membrane_exactly_at_the_threshold_fires(dtype: type[np.floating]) -> None:
    """LN1 with weight 0 and bias 2 feeds the LIF z = 2: h = 2 / 2 = 1 at every token."""
    model = random_model(1, 4, spike_input=True)
    norm = {"blocks.0.ln1.weight": np.zeros(4), "blocks.0.ln1.bias": np.full(4, 2.0)}
    run = FloatModel(replace(model, tensors=dict(model.tensors) | norm), dtype).forward([1, 2, 3])
    assert run.spikes["blocks.0.lif1"].all()


@pytest.mark.parametrize("name", MODELS)
def test_chunks_equal_the_whole(name: str) -> None:
    model = random_model(**MODELS[name])
    tokens = random_tokens(model, 100)
    floating = FloatModel(model, np.float64)
    whole = floating.forward(tokens)
    state, logits, spikes = None, [], []
    for chunk in np.split(tokens, [1, 2, 40, 41, 99]):
        run = floating.forward(chunk, state)
        assert run.logits is not None
        state = run.state
        logits.append(run.logits)
        spikes.append(run.spikes)
    assert whole.logits is not None
    np.testing.assert_allclose(np.concatenate(logits), whole.logits, rtol=0, atol=1e-10)
    for key, found in whole.spikes.items():
        np.testing.assert_array_equal(np.concatenate([s[key] for s in spikes]), found)


@pytest.mark.parametrize("name", MODELS)
def test_texts_at_once_are_those_one_by_one(name: str) -> None:
    model = random_model(**MODELS[name])
    tokens = random_tokens(model, 50)
    floating = FloatModel(model, np.float64)
    together = floating.forward(tokens, window=16)
    for start in range(0, 50, 16):
        rows = slice(start, start + 16)
        alone, found = floating.forward(tokens[rows]), together.of(rows)
        assert alone.logits is not None
        assert found.logits is not None
        np.testing.assert_allclose(found.logits, alone.logits, rtol=0, atol=1e-10)
        for key, spikes in alone.spikes.items():
            np.testing.assert_array_equal(found.spikes[key], spikes)
    for ours, theirs in zip(together.state, floating.forward(tokens[48:]).state, strict=True):
        np.testing.assert_allclose(ours.membrane1, theirs.membrane1, rtol=0, atol=1e-10)
        np.testing.assert_allclose(ours.a, theirs.a, rtol=0, atol=1e-10)


def test_a_state_is_not_changed_by_using_it() -> None:
    model = random_model()
    floating = FloatModel(model)
    state = floating.forward(random_tokens(model, 20)).state
    first, second = (floating.forward([1, 2, 3], state).logits for _ in range(2))
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first, second)


def test_float32_stays_near_float64() -> None:
    model = random_model()
    tokens = random_tokens(model, 32)
    single, double = (FloatModel(model, dtype).logits(tokens) for dtype in (np.float32, np.float64))
    assert single.dtype == np.float32
    assert np.abs(single - double).max() < 1e-3


def test_firing_rates_of_random_models_are_those_of_trained_ones() -> None:
    for options in MODELS.values():
        model = random_model(**options)
        run = FloatModel(model).forward(random_tokens(model, 256), logits=False)
        assert run.logits is None
        for name, spikes in run.spikes.items():
            assert 0.05 < spikes.mean() < 0.6, (options, name, spikes.mean())


def test_observer_sees_every_stage_in_order() -> None:
    model = random_model(2, 8, ffn_pre=True)
    names: list[str] = []
    FloatModel(model).forward([1, 2], observe=lambda name, _: names.append(name))
    pre = ["mix_k", "mix_r", "key", "squared_relu", "value", "receptance", "gate"]
    att = ["mix_k", "mix_v", "mix_r", "key", "value", "receptance", "wkv", "output"]
    assert names == [
        "embedding",
        "ln0",
        "blocks.0.ln1",
        *(f"blocks.0.ffnPre.{name}" for name in pre),
        "blocks.0.lif1",
        "blocks.0.residual1",
        "blocks.0.ln2",
        *(f"blocks.0.ffn.{name}" for name in pre),
        "blocks.0.lif2",
        "blocks.0.residual2",
        "blocks.1.ln1",
        *(f"blocks.1.att.{name}" for name in att),
        "blocks.1.lif1",
        "blocks.1.residual1",
        "blocks.1.ln2",
        *(f"blocks.1.ffn.{name}" for name in pre),
        "blocks.1.lif2",
        "blocks.1.residual2",
        "ln_out",
        "logits",
    ]


def test_large_keys_do_not_overflow() -> None:
    model = random_model()
    key = "blocks.0.att.key.weight"
    tensors = dict(model.tensors) | {key: 1e4 * model.tensors[key]}
    logits = FloatModel(replace(model, tensors=tensors)).logits(random_tokens(model, 64))
    assert np.isfinite(logits).all()


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([0, 96, 96], r"token id 96 at position 1 is outside the vocabulary \(0..95\); 2 such"),
        ([-1], "token id -1 at position 0"),
        ([], "shape"),
        ([[1, 2]], r"shape \(1, 2\), expected \(T,\)"),
        ([0.5], "float64, expected integers"),
    ],
)
def test_bad_tokens(tokens: Any, message: str) -> None:
    with pytest.raises(UnsupportedInput, match=message):
        FloatModel(random_model()).forward(tokens)


def test_dtype_is_checked() -> None:
    with pytest.raises(UsageError, match="float16"):
        FloatModel(random_model(), np.float16)
