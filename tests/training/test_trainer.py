"""Steps: they learn, the same seed gives the same, and what comes out is what the graph will be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import spikegpt_neuro as sgn  # noqa: E402
from spikegpt_neuro.converters.lowering import lower  # noqa: E402
from spikegpt_neuro.errors import UnsupportedInput  # noqa: E402
from spikegpt_neuro.model.spikegpt import SpikeGPT  # noqa: E402
from spikegpt_neuro.training.gradients import pool  # noqa: E402
from spikegpt_neuro.training.network import EXACT  # noqa: E402
from spikegpt_neuro.training.recipe import Recipe  # noqa: E402
from spikegpt_neuro.training.trainer import Progressed, Trainer  # noqa: E402

from dead_zones import pruned, with_real_dead_zones  # noqa: E402
from random_models import random_model  # noqa: E402

MODEL = random_model(1, 16, 11)


def learnable(count: int, seed: int = 0) -> Any:
    """Ids (count,) of which the next is the last and one more, but for one in ten: 0.8 bits."""
    rng = np.random.default_rng(seed)
    jumps = np.where(rng.random(count) < 0.1, rng.integers(0, 11, count), 1)
    return (np.cumsum(jumps) % 11).astype(np.int64)


TEXT = learnable(4000)


def recipe(**options: Any) -> Recipe:
    rates = {"learning_rate": 0.02, "threshold_rate": 5.0, "settled": 0.5}
    return Recipe(**({"steps": 30, "batch": 4, "window": 16} | rates | options))


def trained(
    model: SpikeGPT, asked: Recipe, *, steps: int | None = None, threads: int = 1
) -> tuple[Trainer, list[Progressed]]:
    """A trainer after its steps, and what they found."""
    trainer = Trainer.begin(model, TEXT, asked)
    with pool(threads) as many:
        return trainer, [trainer.advance(many) for _ in range(steps or asked.steps)]


def bytes_of(trainer: Trainer) -> bytes:
    stored = trainer.student.checkpoint().stored
    return b"".join(name.encode() + np.asarray(stored[name]).tobytes() for name in stored)


@pytest.mark.parametrize("distill", [0.0, 0.5])
def test_thirty_steps_learn_a_text(distill: float) -> None:
    """A random model begins above the log2(11) = 3.46 bits of guessing."""
    trainer, steps = trained(MODEL, recipe(distill=distill))
    score = trainer.scored(learnable(400, seed=9))
    assert [done.step for done in steps] == list(range(1, 31))
    assert score.bits_per_token_before > 3.3
    assert score.bits_per_token < score.bits_per_token_before - (1.0 if distill == 0 else 0.4)
    assert np.mean([d.bits_per_token for d in steps[-5:]]) < steps[0].bits_per_token - 0.3
    assert (steps[0].divergence > 0) == (distill > 0)
    assert {done.weight_density for done in steps} == {1.0}
    assert trainer.student.checkpoint().sparsities == ()


def test_operations_and_weights_arrive_where_they_were_asked_to() -> None:
    asked = recipe(steps=300, synops=0.25, prune=0.4)
    trainer, steps = trained(MODEL, asked)
    total = trainer.student.synapses
    assert [d.weight_density for d in steps[:20]] == [1.0] * 20
    assert steps[40].weight_density == pytest.approx(asked.kept(40), abs=1 / total)
    assert {d.weight_density for d in steps[160:]} == {1 - round(0.4 * total) / total}
    assert np.mean([d.synops_over_dense for d in steps[-20:]]) == pytest.approx(0.25, abs=0.02)
    found = trainer.student.checkpoint()
    assert (found.pruned, len(found.dead_zones)) == (True, 8)
    assert found.weight_density == steps[-1].weight_density
    assert all((zone > 0).all() for zone in found.dead_zones.values())


@pytest.mark.parametrize("steps", [2, 5, 30, 41])
def test_short_runs_prune_too(steps: int) -> None:
    trainer, _ = trained(MODEL, recipe(steps=steps, prune=0.5, window=4, batch=1))
    total = trainer.student.synapses
    assert trainer.student.weight_density == 1 - round(0.5 * total) / total
    assert trainer.student.checkpoint().pruned


@pytest.mark.parametrize(("bits", "prune"), [(8, 0.5), (4, 0.0)])
def test_what_is_scored_is_what_the_graph_does(bits: int, prune: float) -> None:
    """The operations of the converted model on the same tokens, and its bits."""
    asked = recipe(steps=40, synops=0.3, prune=prune, weight_bits=bits, window=32)
    trainer, _ = trained(random_model(2, 16, 11), asked)
    held_out = learnable(16 * 32 + 1, seed=9)
    score = trainer.scored(held_out)
    graph = lower(trainer.student.checkpoint(), TEXT, weight_bits=bits)
    found = sgn.evaluate(graph, held_out, window=32, against=sgn.FloatModel(trainer.student.base))
    assert found.synops_over_dense == pytest.approx(score.synops_over_dense, abs=0.01)
    assert found.bits_per_token == pytest.approx(score.bits_per_token, abs=0.05)
    assert found.float_bits_per_token == pytest.approx(score.bits_per_token_before, abs=1e-3)


def test_the_same_seed_gives_the_same_bytes() -> None:
    asked = recipe(steps=25, synops=0.4, prune=0.3)
    first, again, other = (
        bytes_of(trained(MODEL, each)[0])
        for each in (asked, asked, recipe(steps=25, synops=0.4, prune=0.3, seed=1))
    )
    assert first == again
    assert first != other


def test_threads_give_nearly_the_same() -> None:
    """Sums in another order: a spike more or less, and never byte by byte the same."""
    asked = recipe(synops=0.4)
    one, two = (trained(MODEL, asked, steps=5, threads=n) for n in (1, 2))
    for single, double in zip(one[1], two[1], strict=True):
        assert double.bits_per_token == pytest.approx(single.bits_per_token, abs=0.1)
    assert bytes_of(one[0]) != bytes_of(two[0])
    assert bytes_of(trained(MODEL, asked, steps=5, threads=2)[0]) == bytes_of(two[0])


def test_sparse_checkpoints_go_on_from_where_they_are() -> None:
    base = pruned(with_real_dead_zones(MODEL), 0.5)
    trainer = Trainer.begin(base, TEXT, recipe())
    assert set(trainer.student.logs) == set(base.dead_zones)
    assert trainer.student.weight_density == pytest.approx(base.weight_density)
    trainer, _ = trained(base, recipe(steps=3))
    found = trainer.student.checkpoint()
    assert found.pruned
    for name in base.shape.matrices:
        gone = base.tensors[name] == 0
        assert not found.tensors[name][gone].any()
        assert np.count_nonzero(found.tensors[name]) == np.count_nonzero(~gone)


def test_a_pruned_checkpoint_is_pruned_further() -> None:
    """Never more weights than it came with, and 0.35 of all in the end."""
    base = pruned(MODEL, 0.3)
    trainer, steps = trained(base, recipe(steps=60, prune=0.65, synops=0.1, window=8))
    densities = [done.weight_density for done in steps]
    assert densities[0] == pytest.approx(base.weight_density)
    assert max(densities) <= densities[0] + 1 / trainer.student.synapses
    assert densities[-1] == pytest.approx(0.35, abs=1e-3)
    assert trainer.target() == pytest.approx(0.1)


def test_the_unchanged_model_has_its_dead_zones() -> None:
    base = with_real_dead_zones(MODEL, largest=2.0)
    trainer = Trainer.begin(base, TEXT, recipe(window=20))
    held_out = learnable(201, seed=9)
    windows = held_out[:200].reshape(10, 20)
    wanted = np.stack([sgn.FloatModel(base).logits(window) for window in windows])
    found = trainer.teacher.run(base.shape, torch.from_numpy(windows), EXACT).logits
    np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=1e-3)
    assert np.abs(wanted[0] - sgn.FloatModel(MODEL).logits(windows[0])).max() > 0.1
    surprisals = -torch.log_softmax(found, -1).reshape(200, 11)[range(200), held_out[1:]]
    before = trainer.scored(held_out).bits_per_token_before
    assert before == pytest.approx(float(surprisals.mean()) / np.log(2), abs=1e-3)


def test_a_step_that_diverges_changes_nothing() -> None:
    trainer, _ = trained(MODEL, recipe(learning_rate=1.0, steps=5), steps=1)
    trainer.student.weights["ln_out.bias"][3] = np.inf
    before = bytes_of(trainer)
    with pool(1) as one, pytest.raises(UnsupportedInput, match=r"^step 2: .* is not finite; .* 1$"):
        trainer.advance(one)
    assert (trainer.step, trainer.is_whole) == (1, True)
    assert bytes_of(trainer) == before


def test_windows_are_those_of_seed_and_step() -> None:
    trainer = Trainer.begin(MODEL, TEXT, recipe(seed=3))
    first = trainer.windows()
    assert torch.equal(first, trainer.windows())
    assert first.shape == (4, 17)
    trainer.step = 1
    assert not torch.equal(first, trainer.windows())
    text = TEXT.tolist()
    for window in first.tolist():
        assert any(text[i : i + 17] == window for i in range(len(text) - 16))
    assert trainer.target() == 1
