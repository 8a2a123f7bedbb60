"""The network of training is the float reference, in every variant, rounded as the graph is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from spikegpt_neuro.converters.lowering import calibrated, lower_calibrated  # noqa: E402
from spikegpt_neuro.model.float_forward import FloatModel  # noqa: E402
from spikegpt_neuro.model.spikegpt import LIFParameters, SpikeGPT  # noqa: E402
from spikegpt_neuro.training import gradients  # noqa: E402
from spikegpt_neuro.training.formats import Events  # noqa: E402
from spikegpt_neuro.training.gradients import (  # noqa: E402
    Objective,
    Point,
    Threads,
    measured,
    pool,
)
from spikegpt_neuro.training.imitation import choose  # noqa: E402
from spikegpt_neuro.training.network import EAGER, EXACT, FAST, Network  # noqa: E402
from spikegpt_neuro.training.student import Student  # noqa: E402

from dead_zones import pruned, with_real_dead_zones  # noqa: E402
from random_models import random_model, random_tokens  # noqa: E402

VARIANTS: dict[str, SpikeGPT] = {
    "plain": random_model(2, 8, 11),
    "ffnPre": random_model(2, 8, 11, ffn_pre=True),
    "spike input": random_model(2, 8, 11, spike_input=True),
    "spike input, ffnPre": random_model(1, 8, 11, spike_input=True, ffn_pre=True),
    "real embedding": random_model(1, 8, 11, spike_embedding=False),
    "another LIF": random_model(2, 8, 11, lif=LIFParameters(4.0, 0.7, 0.1, False)),
    "dead zones": with_real_dead_zones(random_model(2, 8, 11)),
    "pruned": pruned(random_model(2, 8, 11)),
    "all of it": pruned(
        with_real_dead_zones(
            random_model(2, 8, 11, ffn_pre=True, lif=LIFParameters(3.0, 1.2, 0.0, False))
        )
    ),
}


def windows(model: SpikeGPT, batch: int = 2, tokens: int = 24) -> Any:
    return random_tokens(model, batch * tokens).reshape(batch, tokens)


def tensors_of(model: SpikeGPT, dtype: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors and thresholds as the network takes them."""
    pairs = (model.tensors, model.dead_zones)
    tensors, zones = (
        {n: torch.tensor(np.array(a), dtype=dtype) for n, a in p.items()} for p in pairs
    )
    return tensors, zones


@pytest.mark.parametrize("operations", [FAST, EXACT, EAGER], ids=["fast", "exact", "eager"])
@pytest.mark.parametrize("name", VARIANTS)
def test_it_is_the_float_reference(name: str, operations: Any) -> None:
    """Fast products round to bfloat16, and only those of float32."""
    model = VARIANTS[name]
    ids = windows(model)
    limits = (
        {torch.float64: 1e-6} if operations is FAST else {torch.float64: 1e-6, torch.float32: 1e-3}
    )
    for dtype, limit in limits.items():
        tensors, zones = tensors_of(model, dtype)
        found = Network(model.shape, tensors, zones, does=operations)(torch.from_numpy(ids))
        floating = FloatModel(model, np.float64 if dtype == torch.float64 else np.float32)
        wanted = np.stack([floating.logits(window) for window in ids])
        assert found.logits.dtype == dtype
        np.testing.assert_allclose(found.logits.numpy(), wanted, rtol=0, atol=limit)


def test_events_are_counted_by_channel() -> None:
    model = VARIANTS["dead zones"]
    ids = windows(model)
    tensors, zones = tensors_of(model, torch.float64)
    found = Network(model.shape, tensors, zones)(torch.from_numpy(ids)).events
    wanted: dict[str, Any] = {}

    def count(name: str, value: Any) -> None:
        wanted[name] = wanted.get(name, 0) + np.count_nonzero(value, axis=0)

    for window in ids:
        FloatModel(model, np.float64).forward(window, observe=count)
    assert list(found) == list(model.dead_zones)
    for name, events in found.items():
        tap = "ln_out" if name == "head.input" else name
        assert events.tolist() == wanted[tap].tolist(), name


@pytest.mark.parametrize("name", ["plain", "ffnPre", "spike input"])
def test_matrices_and_populations_are_those_of_the_shape(name: str) -> None:
    shape = VARIANTS[name].shape
    found = shape.readers()
    assert sorted(found.values()) == sorted(shape.matrices)
    tensors, _ = tensors_of(VARIANTS[name], torch.float32)
    zones = {population: torch.zeros(size) for population, size in shape.dead_zone_sizes().items()}
    seen = Network(shape, tensors, zones)(torch.from_numpy(windows(VARIANTS[name])))
    assert list(seen.events) == list(found)


@pytest.mark.parametrize("name", VARIANTS)
def test_compiled_gradients_are_those_of_torch(name: str) -> None:
    """Of the whole loss, with a price for events and a teacher, in float64."""
    model = VARIANTS[name]
    tensors, zones = tensors_of(with_real_dead_zones(model), torch.float64)
    formats = {p: Events(0.05, 0 if "relu" in p else -127, 127) for p in zones}
    fans = {p: torch.full_like(zone, 0.01) for p, zone in zones.items()}
    teacher = {n: t + 0.01 for n, t in tensors.items()}
    ids = torch.from_numpy(windows(model, 3, 12))
    sums = []
    for operations in (EXACT, EAGER):
        objective = Objective(model.shape, Point(teacher, zones), 0.4, operations)
        with pool(1) as one:
            sums.append(one.sums(objective, Point(tensors, zones, formats, fans), ids, 3.0))
    compiled, eager = sums
    assert compiled.surprisal == pytest.approx(eager.surprisal, rel=1e-6)
    assert compiled.divergence == pytest.approx(eager.divergence, rel=1e-6)
    assert compiled.gradients.keys() == eager.gradients.keys()
    for each, wanted in eager.gradients.items():
        assert wanted.any(), each
        assert (compiled.gradients[each] - wanted).norm() <= 1e-6 * wanted.norm(), each


def test_fast_products_are_those_of_rounded_numbers() -> None:
    """And near those that are not rounded, with their gradients."""
    generator = torch.Generator().manual_seed(1)
    x, w = (torch.randn(3, size, 32, generator=generator) for size in (20, 8))
    w = w[0]
    rounded = x.bfloat16().float() @ w.bfloat16().float().T
    exact, fast = ((each.requires_grad_(), w.clone().requires_grad_()) for each in (x, x.clone()))
    products = [EXACT.product(*exact), FAST.product(*fast)]
    assert products[1].dtype == torch.float32
    assert (products[1] - rounded).norm() <= 0.01 * rounded.norm()
    assert (products[1] - products[0]).norm() <= 0.01 * rounded.norm()
    slopes = [
        torch.autograd.grad(product.square().sum(), inputs)
        for product, inputs in zip(products, (exact, fast), strict=True)
    ]
    for found, wanted in zip(slopes[1], slopes[0], strict=True):
        assert found.dtype == torch.float32
        assert (found - wanted).norm() <= 0.02 * wanted.norm()


def test_windows_divided_among_threads_give_the_same_sums() -> None:
    """Close, not equal: parts are added in another order."""
    model = with_real_dead_zones(random_model(1, 8, 11))
    tensors, zones = tensors_of(model, torch.float64)
    point = Point(tensors, zones, {}, {p: zone * 0 + 0.01 for p, zone in zones.items()})
    ids = torch.from_numpy(windows(model, 5, 9))
    found = []
    torch.set_num_threads(2)
    for threads in (1, 2, 5):
        with pool(threads) as many:
            found.append(many.sums(Objective(model.shape, None, 0.0), point, ids, 1.0))
    assert torch.get_num_threads() == 2
    for other in found[1:]:
        assert other.surprisal == pytest.approx(found[0].surprisal, rel=1e-12)
        for name, gradient in found[0].gradients.items():
            torch.testing.assert_close(other.gradients[name], gradient, rtol=1e-9, atol=1e-12)
        for name, events in found[0].events.items():
            assert torch.equal(other.events[name], events)


@pytest.mark.parametrize("teaches", [False, True])
def test_logits_in_pieces_give_the_same_sums(
    monkeypatch: pytest.MonkeyPatch, teaches: bool
) -> None:
    """10 tokens of 3 windows, 4 tokens at a time; one where not even that fits."""
    model = with_real_dead_zones(random_model(1, 8, 11))
    tensors, zones = tensors_of(model, torch.float64)
    point = Point(tensors, zones, {}, {p: zone * 0 + 0.01 for p, zone in zones.items()})
    teacher = Point({n: t + 0.01 for n, t in tensors.items()}, zones) if teaches else None
    ids = torch.from_numpy(windows(model, 3, 11))
    objective = Objective(model.shape, teacher, 0.4)
    whole, score = (
        Threads(1, None).sums(objective, point, ids, 1.0),
        measured(model.shape, point, ids),
    )
    for most in (4 * 3 * 11, 5):
        monkeypatch.setattr(gradients, "LOGITS_AT_ONCE", most)
        with pool(2) as two:
            found = [Threads(1, None).sums(objective, point, ids, 1.0)]
            found.append(two.sums(objective, point, ids, 1.0))
        for other in found:
            assert other.surprisal == pytest.approx(whole.surprisal, rel=1e-12)
            assert other.divergence == pytest.approx(whole.divergence, rel=1e-12)
            for name, gradient in whole.gradients.items():
                torch.testing.assert_close(other.gradients[name], gradient, rtol=1e-9, atol=1e-12)
        assert measured(model.shape, point, ids).surprisal == pytest.approx(score.surprisal)


# Numbers as the graph has them


@pytest.mark.parametrize("bits", [(8, 8), (4, 6)])
def test_scales_and_weights_are_those_of_the_conversion(bits: tuple[int, int]) -> None:
    model = pruned(with_real_dead_zones(random_model(2, 8, 11)), 0.3)
    tokens = random_tokens(model, 400)
    scales = choose(model, tokens, *bits)
    lowered = lower_calibrated(model, calibrated(model, tokens, *bits))
    matrices = {f"{q.name}.weight": q for q in lowered.graph.projections if q.is_dense}
    assert scales.weights.keys() == matrices.keys() == set(model.shape.matrices)
    for name, projection in matrices.items():
        seen = scales.rounded(name, torch.tensor(np.array(model.tensors[name])), bits[0])
        integers = (seen / scales.weights[name]).numpy()
        np.testing.assert_array_equal(integers.round(), projection.weights, err_msg=name)
    for population, events in scales.events.items():
        assert events.unit == pytest.approx(lowered.units[population], rel=1e-6)
        payloads = lowered.graph.by_name[population].events
        assert (events.low, events.high) == (payloads.low, payloads.high)


def test_the_fans_of_all_events_are_all_synapses() -> None:
    """If every neuron sent all the time, the share of dense operations is the weights' density."""
    for model in (VARIANTS["plain"], VARIANTS["ffnPre"], VARIANTS["pruned"]):
        student = Student.of(model, "cpu")
        tensors = {name: student.pruned(name) for name in student.matrices}
        share = sum(float(fan.sum()) for fan in student.fans(tensors, bits=8).values())
        assert share == pytest.approx(model.weight_density, rel=1e-6)
        assert student.weight_density == pytest.approx(model.weight_density, rel=1e-6)


def test_a_student_is_the_checkpoint_it_began_as() -> None:
    for model in (VARIANTS["plain"], VARIANTS["pruned"]):
        again = Student.of(model, "cpu").checkpoint()
        assert (again.shape, again.pruned, again.dead_zones) == (model.shape, model.pruned, {})
        for name in model.shape.tensor_shapes():
            np.testing.assert_array_equal(again.tensors[name], model.tensors[name])
    zones = with_real_dead_zones(VARIANTS["plain"])
    student = Student.of(zones, "cpu")
    student.begin_thresholds({p: np.full(len(z), 1e-6) for p, z in zones.dead_zones.items()})
    for name, zone in student.checkpoint().dead_zones.items():
        np.testing.assert_allclose(zone, np.maximum(zones.dead_zones[name], 1.5e-6), rtol=1e-5)
    assert replace(zones, dead_zones={}).sparsities == ()
