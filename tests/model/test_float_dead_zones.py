"""Dead zones of the float model: what is not sent is 0, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.model.float_forward import FloatModel, FloatRun, tap_of
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.neurons.program import declared

from dead_zones import pruned, with_real_dead_zones
from random_models import random_model, random_tokens

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"layers": 2},
    "ffnPre": {"layers": 2, "ffn_pre": True},
    "spike input": {"layers": 1, "spike_input": True},
}


def seen(model: SpikeGPT, tokens: Any, **options: Any) -> tuple[dict[str, Any], FloatRun]:
    """What an observer sees, and the run."""
    found: dict[str, Any] = {}
    run = FloatModel(model, np.float64).forward(tokens, observe=found.__setitem__, **options)
    return found, run


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_populations_that_may_have_one_are_the_graphs(variant: str) -> None:
    model = random_model(**VARIANTS[variant])
    graph = lower(model, random_tokens(model, 100))
    feeds = {q.source for q in graph.projections if q.is_dense}
    able = [p for p in graph.populations if any(d.optional for d in declared(type(p.program)))]
    expected = [(p.name, p.size) for p in able if p.name in feeds]
    assert list(model.shape.dead_zone_sizes().items()) == expected


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_population_sends_what_exceeds_its_dead_zone(variant: str) -> None:
    """One by one: what it sent before, silenced; nothing that comes before it changes."""
    model = random_model(**VARIANTS[variant])
    whole = with_real_dead_zones(model)
    tokens = random_tokens(model, 12)
    before, _ = seen(model, tokens)
    for population, zone in whole.dead_zones.items():
        after, _ = seen(replace(model, dead_zones={population: zone}), tokens)
        tap = tap_of(population)
        expected = np.where(np.abs(before[tap]) > zone, before[tap], 0)
        assert np.array_equal(after[tap], expected), population
        assert 0 < np.count_nonzero(expected) < np.count_nonzero(before[tap]), population
        for name in list(before)[: list(before).index(tap)]:
            assert np.array_equal(after[name], before[name]), (population, name)


def test_a_value_at_the_threshold_is_silent() -> None:
    """Weight 0 and bias 2 of LN1 make every mix of later tokens 2, exactly."""
    model = random_model(1, 4)
    norm = {"blocks.0.ln1.weight": np.zeros(4), "blocks.0.ln1.bias": np.array([2.0, 2, -2, -2])}
    zone = np.array([2.0, np.nextafter(2, 0), 2, np.nextafter(2, 0)])
    model = replace(model, tensors=dict(model.tensors) | norm)
    model = replace(model, dead_zones={"blocks.0.att.mix_v": zone})
    mixes, _ = seen(model, [1, 2, 3])
    assert mixes["blocks.0.att.mix_v"][1:].tolist() == [[0, 2, 0, -2]] * 2
    assert mixes["blocks.0.att.mix_k"][1:] == pytest.approx(np.array([[2, 2, -2, -2]] * 2))


def test_thresholds_of_zero_change_nothing() -> None:
    model = random_model()
    tokens = random_tokens(model, 40)
    zeros = with_real_dead_zones(model, largest=0)
    assert zeros.sparsities == ()
    found, wanted = (FloatModel(m).logits(tokens) for m in (zeros, model))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pieces_of_a_text_equal_the_whole(dtype: type[np.floating]) -> None:
    """The previous token is remembered as it was before the mix, not silenced."""
    model = with_real_dead_zones(random_model())
    tokens = random_tokens(model, 60)
    floating = FloatModel(model, dtype)
    whole, state, pieces = floating.forward(tokens), None, []
    for piece in np.split(tokens, [1, 2, 30]):
        run = floating.forward(piece, state)
        state = run.state
        assert run.logits is not None
        pieces.append(run.logits)
    assert whole.logits is not None
    assert whole.logits.dtype == dtype
    np.testing.assert_allclose(
        np.concatenate(pieces), whole.logits, rtol=0, atol=1e-4 if dtype == np.float32 else 1e-10
    )
    plain = FloatModel(replace(model, dead_zones={}), dtype).forward(tokens[:1]).state
    first = floating.forward(tokens[:1]).state
    np.testing.assert_array_equal(first[0].previous1, plain[0].previous1)


def test_what_interposes_sees_what_is_sent() -> None:
    model = with_real_dead_zones(random_model(1))
    tokens = random_tokens(model, 30)
    given: dict[str, Any] = {}

    def interpose(name: str, value: Any) -> Any:
        given[name] = value
        return np.ones_like(value) if name == "blocks.0.att.wkv" else value

    shown, _ = seen(model, tokens, interpose=interpose)
    zone = model.dead_zones["blocks.0.att.wkv"]
    silent = np.abs(given["blocks.0.att.wkv"]) <= zone
    assert silent.any()
    assert (given["blocks.0.att.wkv"][silent] == 0).all()
    assert (shown["blocks.0.att.wkv"] == 1).all()


def test_the_density_of_a_model_counts_its_matrices() -> None:
    model = random_model(1, 8, 11)
    assert (model.weight_density, model.sparsities) == (1.0, ())
    sparse = pruned(with_real_dead_zones(model), 0.25)
    weights = [sparse.tensors[n] for n, s in sparse.shape.tensor_shapes().items() if len(s) == 2]
    left = sum(int(np.count_nonzero(w)) for w in weights[1:])  # without the embedding
    assert sparse.weight_density == left / sum(w.size for w in weights[1:])
    assert sparse.sparsities == ("dead zones", "pruned weights")
