"""Compiled operations against torch's own, finite differences, and SpikingJelly."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from spikegpt_neuro.model.spikegpt import LIFParameters  # noqa: E402
from spikegpt_neuro.training import functions, plain  # noqa: E402
from spikegpt_neuro.training.formats import Events  # noqa: E402
from spikegpt_neuro.training.surrogates import ALPHA, HALF_WIDTH  # noqa: E402

Tensor = Any
FORMATS = [
    Events(),
    Events(0.02, -127, 127),
    Events(0.02, 0, 127),
    Events(0.3, -7, 7),
    Events(0.3, 0, 7),
]
NEURONS = [
    LIFParameters(),
    LIFParameters(decay_input=False),
    LIFParameters(4.0, 0.7, 0.1, False),
    LIFParameters(1.5, 0.3, -0.2),
]
OPERATIONS: list[Any] = [functions, plain]
FEW = settings(max_examples=30)


@st.composite
def cases(draw: Callable[[Any], Any]) -> tuple[tuple[int, int, int], Callable[..., Tensor]]:
    """A shape (B, T, n), and a source of random tensors, of which some are laid out otherwise."""
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 24)), draw(st.integers(1, 9)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    order = draw(st.permutations(range(3)))

    def random(*size: int) -> Tensor:
        if len(size) == 3:
            stored = torch.empty([size[i] for i in order], dtype=torch.float64)
            made = stored.permute([order.index(i) for i in range(3)])
        else:
            made = torch.empty(size, dtype=torch.float64)
        return made.normal_(generator=generator)

    return shape, random


def assert_alike(
    one: Callable[..., Any],
    other: Callable[..., Any],
    inputs: Sequence[Tensor],
    weigh: Any,
    limit: float = 1e-9,
) -> None:
    """The same results, and the same gradients of their sum weighed with random numbers."""
    found = [_differentiated(operation, inputs, weigh) for operation in (one, other)]
    for a, b in zip(*found, strict=True):
        assert a.shape == b.shape
        assert float((a - b).abs().max()) <= limit * (float(b.abs().max()) + 1e-5)


def _differentiated(
    operation: Callable[..., Any], inputs: Sequence[Tensor], weigh: Any
) -> list[Tensor]:
    leaves = [each.detach().requires_grad_() for each in inputs]
    results = operation(*leaves)
    results = results if isinstance(results, tuple) else (results,)
    weights = [weigh(number, each) for number, each in enumerate(results)]
    total = sum((r * w).sum() for r, w in zip(results, weights, strict=True) if r.requires_grad)
    found = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
    return [*(r.detach() for r in results), *found]


def weights(seed: int) -> Callable[[int, Tensor], Tensor]:
    """Random weights for the results of an operation, the same for both."""

    def weigh(number: int, like: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(seed + number)
        return torch.empty(like.shape, dtype=like.dtype).normal_(generator=generator)

    return weigh


# The compiled ones


@FEW
@given(cases(), st.sampled_from(FORMATS), st.sampled_from([0.01, 0.3, 2.0]))
def test_send(case: Any, events: Events, level: float) -> None:
    """Thresholds below half a unit, and above the highest payload, among them."""
    (b, t, n), random = case
    x, threshold = random(b, t, n), level * random(n).abs()
    assert_alike(
        lambda x, threshold: functions.send(x, threshold, events),
        lambda x, threshold: plain.send(x, threshold, events),
        (x, threshold),
        weights(1),
    )


@FEW
@given(cases())
def test_blend(case: Any) -> None:
    (b, t, n), random = case
    assert_alike(functions.blend, plain.blend, (random(b, t, n), random(n)), weights(2))


@FEW
@given(cases())
def test_squared_relu(case: Any) -> None:
    shape, random = case
    assert_alike(functions.squared_relu, plain.squared_relu, (random(*shape),), weights(3))


@FEW
@given(cases(), st.sampled_from([1.0, 60.0]), st.floats(-5, 4))
def test_wkv(case: Any, scale: float, decay: float) -> None:
    (b, t, n), random = case
    k, v = scale * random(b, t, n), random(b, t, n)
    w, u = -torch.exp(decay + 0.5 * random(n)), random(n)
    assert_alike(functions.wkv, plain.wkv, (k, v, w, u), weights(4), limit=1e-6)


@FEW
@given(cases(), st.sampled_from(NEURONS))
def test_lif(case: Any, neuron: LIFParameters) -> None:
    shape, random = case
    assert_alike(
        lambda z: functions.lif(z, neuron),
        lambda z: plain.lif(z, neuron),
        (3 * random(*shape),),
        weights(5),
    )


@pytest.mark.parametrize("keys", [(0.0, 1.0), (60.0, 1.0), (-60.0, 1.0), (0.0, 60.0)])
@pytest.mark.parametrize("decay", [1e-3, 0.3, 20.0])
def test_wkv_has_the_slopes_of_finite_differences(keys: tuple[float, float], decay: float) -> None:
    mean, spread = keys
    generator = torch.Generator().manual_seed(7)
    k, v = (torch.randn(2, 6, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    w = -decay * torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
    u = torch.randn(3, generator=generator, dtype=torch.float64)
    inputs = [each.requires_grad_() for each in (mean + spread * k, v, w, u)]
    assert torch.autograd.gradcheck(functions.wkv, inputs)


def test_single_precision_stays_near_double() -> None:
    generator = torch.Generator().manual_seed(3)
    inputs = [torch.randn(2, 24, 8, generator=generator, dtype=torch.float64) for _ in range(3)]

    def slopes(dtype: Any) -> list[Tensor]:
        k, v, z = [each.to(dtype).requires_grad_() for each in inputs]
        w = torch.linspace(-2, -0.1, 8, dtype=dtype)
        out, spikes = functions.wkv(k, v, w, w), functions.lif(z, LIFParameters())
        assert (out.dtype, spikes.dtype) == (dtype, dtype)
        return list(torch.autograd.grad((out.square() + spikes).sum(), (k, v, z)))

    for single, exact in zip(slopes(torch.float32), slopes(torch.float64), strict=True):
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), exact, rtol=1e-4, atol=1e-5)


# What is sent, by hand


def test_what_is_rounded_and_what_is_silent() -> None:
    """Payloads of 1/2 from -2 to 2: a threshold of 0.7 silences payload 1, one of 9 everything."""
    x = torch.tensor([[[0.2, 0.3, -0.6, 0.74, 0.76, -0.9, 9.0, -9.0]]], dtype=torch.float64)
    events = Events(0.5, -2, 2)
    sent: dict[float, list[float]] = {
        0.0: [0, 0.5, -0.5, 0.5, 1, -1, 1, -1],
        0.7: [0, 0, 0, 0, 1, -1, 1, -1],
        9.0: [0] * 8,
    }
    for threshold, wanted in sent.items():
        level = torch.full((8,), threshold, dtype=torch.float64)
        for operations in OPERATIONS:
            out, opened, _ = operations.send(x, level, events)
            assert out[0, 0].tolist() == wanted
            assert opened.tolist() == [float(value != 0) for value in wanted]


@pytest.mark.parametrize("operations", OPERATIONS)
def test_a_threshold_of_zero_lets_everything_through(operations: Any) -> None:
    """What is not rounded, such as the unchanged model, may have one; zeros are no events."""
    x = torch.tensor([[[0.0, 0.0, -1e-3, 2.0]]], requires_grad=True)
    threshold = torch.tensor([0.0, 0.5, 0.0, 0.0], requires_grad=True)
    out, opened, shares = operations.send(x, threshold, Events())
    assert torch.equal(out, x)
    assert opened.tolist() == [0, 0, 1, 1]
    assert shares.tolist() == [0, 0, 1, 1]
    slopes = torch.autograd.grad(out.sum() + shares.sum(), (x, threshold))
    assert slopes[0].tolist() == [[[0, 0, 1, 1]]]
    assert slopes[1].tolist() == [0, 0, 0, 0]


def test_gradients_pass_straight_through_what_is_sent_in_range() -> None:
    """Far above the threshold: 1 where it is sent, 0 where it is beyond the range."""
    far = 0.3 * (1 + HALF_WIDTH) + 0.1
    x = torch.tensor([[[0.0, far, -far, 3.0, -3.0]]], dtype=torch.float64, requires_grad=True)
    level = torch.full((5,), 0.3, dtype=torch.float64, requires_grad=True)
    out, _, _ = functions.send(x, level, Events(0.1, 0, 20))
    dx, da = torch.autograd.grad(out.sum(), (x, level))
    assert dx[0, 0].tolist() == [0, 1, 0, 0, 0]
    assert da.tolist() == [0] * 5


# SpikingJelly, whose slopes these are


@pytest.mark.parametrize("operations", OPERATIONS)
@pytest.mark.parametrize(("tau", "threshold"), [(2.0, 1.0), (3.7, 0.4), (1.2, 2.0)])
@pytest.mark.parametrize("decay_input", [True, False])
def test_lif_is_spikingjellys(
    operations: Any, tau: float, threshold: float, decay_input: bool
) -> None:
    """Its reset is 0: there it lets the membrane decay toward the reset, which is not ours."""
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    surrogate = pytest.importorskip("spikingjelly.activation_based.surrogate")
    node = neuron.LIFNode(
        tau, decay_input, threshold, 0.0, surrogate.ATan(ALPHA), detach_reset=False, step_mode="m"
    )
    ours = LIFParameters(tau, threshold, 0.0, decay_input)
    generator = torch.Generator().manual_seed(11)
    z = (2 * torch.randn(2, 24, 8, generator=generator, dtype=torch.float64)).requires_grad_()
    grad = torch.randn(2, 24, 8, generator=generator, dtype=torch.float64)
    wanted = node(z.transpose(0, 1)).transpose(0, 1)
    found = operations.lif(z, ours)
    assert 0.05 < float(wanted.detach().mean()) < 0.6
    assert torch.equal(found, wanted)
    slopes = [
        torch.autograd.grad((s * grad).sum(), z, retain_graph=True)[0] for s in (found, wanted)
    ]
    torch.testing.assert_close(*slopes, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("operations", OPERATIONS)
def test_the_step_of_a_dead_zone_is_spikingjellys_piecewise_quadratic(operations: Any) -> None:
    """Of |x| / a - 1, with its alpha = 1 / HALF_WIDTH."""
    surrogate = pytest.importorskip("spikingjelly.activation_based.surrogate")
    x = torch.linspace(-2, 2, 997, dtype=torch.float64)[:, None, None].requires_grad_()
    level = torch.tensor([0.7], dtype=torch.float64)
    smooth = surrogate.PiecewiseQuadratic(1 / HALF_WIDTH, spiking=False)(x.abs() / level - 1)
    sent = surrogate.PiecewiseQuadratic(1 / HALF_WIDTH)(x.abs() / level - 1)
    out, opened, shares = operations.send(x, level, Events())
    assert shares.item() == pytest.approx(smooth.sum().item(), rel=1e-12)
    assert opened.item() == sent.sum().item()
    assert torch.equal(out, torch.where(sent != 0, x, 0.0))
    (of_shares,) = torch.autograd.grad(shares.sum(), x, retain_graph=True)
    (of_steps,) = torch.autograd.grad(sent.sum(), x, retain_graph=True)
    torch.testing.assert_close(of_shares, of_steps, rtol=1e-9, atol=1e-12)
    (of_out,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(of_out, (sent + x * of_steps).detach(), rtol=1e-9, atol=1e-12)


# Triton's, where it is installed


INTERPRETED = """
import torch

from spikegpt_neuro.model.spikegpt import LIFParameters
from spikegpt_neuro.training import gpu, plain

generator = torch.Generator().manual_seed(0)
k, v, z, grad = (torch.randn(2, 24, 40, generator=generator, dtype=torch.float64) for _ in range(4))
w, u = -torch.linspace(0.01, 5, 40).double(), torch.linspace(-1, 1, 40).double()


def compare(one, other, *inputs):
    found = []
    for operation in (one, other):
        leaves = [each.detach().requires_grad_() for each in inputs]
        out = operation(*leaves)
        found.append([out.detach(), *torch.autograd.grad((out * grad).sum(), leaves)])
    for a, b in zip(*found):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


compare(gpu.wkv, plain.wkv, 9 * k, v, w, u)
neuron = LIFParameters(3.0, 0.7, 0.1, False)
compare(lambda z: gpu.lif(z, neuron), lambda z: plain.lif(z, neuron), 2 * z)
"""


def test_triton_computes_the_same() -> None:
    """In its interpreter, which needs no device, over more channels than one program has."""
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
