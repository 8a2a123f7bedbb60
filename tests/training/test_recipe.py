"""What is asked, how dials move, and what the controller and the pruning make of it."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikegpt_neuro.errors import UsageError
from spikegpt_neuro.training.recipe import LAST_RATE, Recipe
from spikegpt_neuro.training.steering import Steering


def test_the_dials_at_the_beginning_settled_and_at_the_end() -> None:
    """Half the operations of half the weights: each event may stay that was there at 0.5."""
    recipe = Recipe(steps=1000, synops=0.2, prune=0.5, learning_rate=0.01, settled=0.5)
    assert (recipe.kept(0), recipe.target(0, 0.8)) == (1, 0.8)
    assert recipe.kept(250) == pytest.approx(1 - 0.5 * (1 - 0.5**3))
    assert recipe.target(250, 0.8) == pytest.approx(0.6 * recipe.kept(250))
    for step in (500, 750, 999):
        assert recipe.kept(step) == 0.5
        assert recipe.target(step, 0.8) == pytest.approx(0.2)
    assert recipe.rate(0) == pytest.approx(0.001)
    assert recipe.rate(9) == pytest.approx(0.01)
    assert recipe.rate(999) == pytest.approx(LAST_RATE * 0.01)


def test_a_model_that_sends_less_than_asked_stays_where_it_is() -> None:
    recipe = Recipe(steps=100, synops=0.9)
    assert {recipe.target(step, 0.3) for step in range(100)} == {0.3}
    asked = Recipe(steps=100, prune=0.25)
    assert asked.target(0, 0.8) == 0.8
    assert asked.target(99, 0.8) == pytest.approx(0.6)


def test_a_pruned_model_loses_no_more_than_asked_and_regains_nothing() -> None:
    """It has 0.6 of its weights; the events that these are met by are 0.5 of all."""
    recipe = Recipe(steps=100, synops=0.1, prune=0.6)
    assert recipe.kept(0, 0.6) == pytest.approx(0.6)
    assert recipe.kept(20, 0.6) == pytest.approx(0.4 + 0.2 * 0.5**3)
    assert recipe.kept(99, 0.6) == pytest.approx(0.4)
    assert recipe.target(0, 0.3, 0.6) == pytest.approx(0.3)
    assert recipe.target(99, 0.3, 0.6) == pytest.approx(0.1)
    unasked = Recipe(steps=100, synops=0.1)
    assert {unasked.kept(step, 0.6) for step in range(100)} == {0.6}
    assert unasked.target(0, 0.3, 0.6) == pytest.approx(0.3)
    assert unasked.target(99, 0.3, 0.6) == pytest.approx(0.1)


@given(
    steps=st.integers(2, 400),
    synops=st.one_of(st.none(), st.floats(0.01, 1)),
    prune=st.floats(0, 0.99),
    start=st.floats(0.01, 1),
    density=st.floats(0.01, 1),
)
def test_targets_only_fall(
    steps: int, synops: float | None, prune: float, start: float, density: float
) -> None:
    """``start``: events over all of the unchanged model, each of which meets ``density``."""
    recipe = Recipe(steps=steps, synops=synops, prune=prune)
    kept = partial(recipe.kept, density=density)
    target = partial(recipe.target, start=start * density, density=density)
    for dial in (kept, target):
        assert all(b <= a for a, b in pairwise(map(dial, range(steps))))
    assert kept(steps) == pytest.approx(min(density, 1 - prune))
    end = start * kept(steps) if synops is None else min(start * kept(steps), synops)
    assert target(steps) == pytest.approx(end)


@given(st.integers(1, 300))
def test_the_learning_rate_rises_and_falls_once(steps: int) -> None:
    rates = [Recipe(steps=steps, learning_rate=0.01).rate(step) for step in range(steps)]
    top = rates.index(max(rates))
    assert min(rates) > 0
    assert max(rates) <= 0.01
    assert rates == [*sorted(rates[:top]), *sorted(rates[top:], reverse=True)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"synops": 0.0}, "synops=0: expected a share above 0 and at most 1"),
        ({"synops": -1.0}, "synops=-1: "),
        ({"synops": 1.5}, "synops=1.5: "),
        ({"synops": math.nan}, "synops=nan: "),
        ({"prune": 1.0}, "prune=1: expected a share of at least 0 and less than 1"),
        ({"prune": -0.1}, "prune=-0.1: "),
        ({"prune": math.nan}, "prune=nan: "),
        ({"prune": 0.5, "steps": 1}, "steps=2 or more"),
        ({"distill": 1.1}, "distill=1.1: expected 0 to 1"),
        ({"distill": math.nan}, "distill=nan: "),
        ({"weight_bits": 5}, "weight_bits=5: choose 4, 6 or 8"),
        ({"activation_bits": 16}, "activation_bits=16: "),
        ({"steps": 0}, "steps=0: expected at least 1"),
        ({"batch": 0}, "batch=0: "),
        ({"window": -3}, "window=-3: "),
        ({"seed": -1}, "seed=-1: expected at least 0"),
        ({"learning_rate": 0.0}, "learning_rate=0: expected above 0, at most 1"),
        ({"learning_rate": 1.5}, "learning_rate=1.5: "),
        ({"learning_rate": math.inf}, "learning_rate=inf: "),
        ({"learning_rate": math.nan}, "learning_rate=nan: "),
    ],
)
def test_what_cannot_be_asked(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as error:
        Recipe(**options)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


# Steering


@pytest.mark.parametrize("softness", [0.5, 2.0])
def test_a_plant_arrives_where_it_is_steered(softness: float) -> None:
    """Thresholds that drift with the price, and a density that falls with them: 2000 noisy steps.

    The target falls over the first half, as in a recipe.
    """
    recipe, noise = Recipe(steps=2000, synops=0.2, settled=0.5), np.random.default_rng(0)
    steering, threshold, seen = Steering(), 0.0, []
    for step in range(recipe.steps):
        steering, price = steering.toward(recipe.target(step, 0.9))
        density = 0.9 * math.exp(-softness * threshold) * (1 + 0.02 * noise.standard_normal())
        threshold = max(0.0, threshold + 0.02 * (price - 0.1 * threshold))
        steering = steering.measured(density)
        seen.append(density)
    assert np.mean(seen[-200:]) == pytest.approx(0.2, abs=0.01)
    assert max(seen[-500:]) < 0.3


def test_the_price_has_bounds() -> None:
    """A plant that answers nothing: the price neither overflows nor vanishes."""
    for synops, found in ((1e9, math.exp(6.0)), (1e-9, math.exp(-15.0))):
        steering = Steering()
        for _ in range(5000):
            steering, price = steering.measured(synops).toward(0.5)
        assert price == pytest.approx(found)


def test_a_model_that_sends_nothing_is_left_alone() -> None:
    steering, price = Steering().measured(0.0).toward(0.0)
    assert price < Steering().toward(0.0)[1]
    assert steering.integral < Steering().integral


# Pruning


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_masks_keep_the_share_of_all_together(share: float) -> None:
    torch = pytest.importorskip("torch")
    from spikegpt_neuro.training.pruning import masks

    generator = torch.Generator().manual_seed(5)
    sizes = {"a": (17, 9), "b": (40, 8), "c": (3, 3)}
    weights = {n: torch.randn(size, generator=generator) for n, size in sizes.items()}
    squares = {n: torch.rand(size, generator=generator) ** 4 for n, size in sizes.items()}
    found = masks(weights, squares, 1 - share)
    total = sum(w.numel() for w in weights.values())
    assert sum(int(mask.sum()) for mask in found.values()) == total - round(share * total)
    scores = torch.cat([(weights[n] ** 2 * squares[n]).flatten() for n in sizes])
    kept = torch.cat([mask.flatten() for mask in found.values()]) > 0
    if share:
        assert scores[kept].min() > scores[~kept].max()
    for mask in found.values():
        assert ((mask == 0) | (mask == 1)).all()
