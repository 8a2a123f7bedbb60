"""The pieces of a sparsification, each against what it promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikegpt_neuro.errors import UnsupportedInput, UsageError
from spikegpt_neuro.neurons.program import EventFormat
from spikegpt_neuro.sparsity.allocation import Curve, Level, allocate
from spikegpt_neuro.sparsity.compensation import Moments, pruned
from spikegpt_neuro.sparsity.measuring import Measured
from spikegpt_neuro.sparsity.parts import split
from spikegpt_neuro.sparsity.request import SparsityRequest
from spikegpt_neuro.sparsity.survey import survey
from spikegpt_neuro.sparsity.thresholds import Payloads, column_norms, dead_zones

SIGNED = EventFormat(8, signed=True)


def values(tokens: int, width: int, seed: int = 0) -> np.ndarray:
    """Correlated values (T, n), as a layer's activities are."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((tokens, 3)) @ rng.standard_normal((3, width))
    return (mixed + 0.3 * rng.standard_normal((tokens, width))).astype(np.float32)


@pytest.mark.parametrize(
    "asked",
    [{"sparsity": 1.0}, {"sparsity": -0.1}, {"prune": 1.0}, {"prune": float("nan")},
     {"budget": 0.0}, {"budget": -1.0}, {"budget": float("inf")}],
)  # fmt: skip
def test_a_request_outside_its_range_is_refused(asked: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="expected"):
        SparsityRequest(**asked)


def test_nothing_asked_is_nothing_to_do() -> None:
    assert SparsityRequest().is_empty
    assert SparsityRequest(sparsity=0.0, prune=0.0).is_empty
    assert not SparsityRequest(budget=0.1).is_empty
    assert SparsityRequest(sparsity=0.4).operations == pytest.approx(0.6)
    assert SparsityRequest(budget=0.1).operations == 0
    assert SparsityRequest(prune=0.25).kept == 0.75


@given(st.integers(99, 5000), st.integers(1, 8), st.integers(1, 8))
def test_the_parts_of_a_text_share_no_token(length: int, fit: int, measured: int) -> None:
    parts = split(np.arange(length), fit, measured)
    groups = (parts.fit, parts.decide, parts.confirm)
    seen = np.concatenate([window for group in groups for window in group])
    assert len(np.unique(seen)) == len(seen)
    assert len(parts.fit) <= fit
    assert 1 <= len(parts.decide) <= measured
    assert 1 <= len(parts.confirm) <= measured
    for window in (window for group in groups for window in group):
        assert 33 <= len(window) <= 257
        assert (np.diff(window) == 1).all()


def test_a_text_too_short_to_hold_anything_out_is_refused() -> None:
    with pytest.raises(UnsupportedInput, match=r"98 tokens, too few .* 99 or more"):
        split(np.arange(98), 4, 4)


@given(st.floats(0, 5), st.integers(0, 9))
def test_an_event_is_silent_exactly_where_its_worth_is_small(tau: float, seed: int) -> None:
    """Up to the rounding of the payload: half a unit on either side."""
    x = values(50, 6, seed)
    weights = np.random.default_rng(seed).standard_normal((9, 6)).astype(np.float32)
    norms = column_norms([weights])
    payloads = Payloads(0.05, SIGNED)
    zones = dead_zones(tau, norms, payloads)
    sent = payloads.sent(x, zones)
    worth, half = np.abs(x) * norms, 0.5001 * 0.05 * norms
    inside = np.abs(x) < 0.05 * SIGNED.high
    assert (sent[worth < tau - 2 * half] == 0).all()
    assert (sent[(worth > tau + 2 * half) & (np.abs(x) > 0.03) & inside] != 0).all()
    assert np.allclose(sent[(sent != 0) & inside], x[(sent != 0) & inside], atol=0.026)


def test_refitted_weights_are_the_least_squares_solution() -> None:
    x = values(400, 12)
    sent = np.where(np.abs(x) < 0.8, 0, x).astype(np.float32)
    weights = np.random.default_rng(1).standard_normal((7, 12))
    moments = Moments.of(x, sent)
    fitted = weights @ moments.mixing
    exact = np.linalg.lstsq(sent.astype(float), x @ weights.T, rcond=None)[0].T
    error = [float(np.square(x @ weights.T - sent @ w.T).sum()) for w in (fitted, exact, weights)]
    assert error[0] == pytest.approx(error[1], rel=2e-3)
    assert error[0] < 0.8 * error[2]


def test_what_was_never_sent_keeps_its_weights() -> None:
    x = values(300, 5)
    sent = x.copy()
    sent[:, 2] = 0
    mixing = Moments.of(np.where(np.arange(5) == 2, 0, x), sent).mixing
    assert mixing[2, 2] == pytest.approx(1, abs=1e-5)
    assert np.allclose(np.delete(mixing[2], 2), 0, atol=1e-5)


def test_pruning_takes_the_share_of_each_row_and_the_rest_makes_up_for_it() -> None:
    x = values(500, 16).astype(float)
    weights = np.random.default_rng(2).standard_normal((10, 16)).astype(np.float32)
    square = x.T @ x / len(x)
    result = pruned(weights, square, 0.5)
    assert (np.count_nonzero(result, axis=1) == 8).all()
    importance = np.abs(weights) * np.sqrt(np.diag(square))
    kept = result != 0
    assert all(importance[j][kept[j]].min() > importance[j][~kept[j]].max() for j in range(10))

    for row, wanted, stays in zip(result, weights, kept, strict=True):
        best = np.linalg.solve(square[np.ix_(stays, stays)], square[stays] @ wanted)
        assert np.allclose(row[stays], best, atol=1e-3)
    assert (pruned(weights, square, 0.0) == weights).all()


def curve(share: float, cost: float, power: float) -> Curve:
    none = np.zeros(1, np.int32)
    densities = np.linspace(1, 0, 21)
    return Curve(share, cost, [Level(none, float(d), float((1 - d) ** power)) for d in densities])


@settings(max_examples=20)
@given(st.floats(0.05, 0.95))
def test_an_allocation_keeps_to_its_target_and_costs_least(target: float) -> None:
    curves = {"a": curve(0.5, 1.0, 2.0), "b": curve(0.3, 0.2, 3.0), "c": curve(0.2, 3.0, 2.0)}
    found = allocate(curves, target)
    assert target <= found.operations <= target + 0.05
    every = [
        (
            sum(c.share * level.density for c, level in zip(curves.values(), levels, strict=True)),
            sum(c.cost * level.error for c, level in zip(curves.values(), levels, strict=True)),
        )
        for levels in (
            (x, y, z)
            for x in curves["a"].levels
            for y in curves["b"].levels
            for z in curves["c"].levels
        )
    ]
    assert found.bits <= min(bits for ops, bits in every if ops <= found.operations) + 1e-9


def test_an_allocation_keeps_to_its_bits() -> None:
    curves = {"a": curve(0.5, 1.0, 2.0), "b": curve(0.5, 0.2, 3.0)}
    found = allocate(curves, 0.0, bits=0.1)
    assert 0.05 < found.bits <= 0.1
    assert found.operations < allocate(curves, 0.0, bits=0.05).operations
    assert allocate(curves, 1.0).operations == 1


def test_a_survey_goes_from_nothing_silenced_to_nearly_all() -> None:
    x = values(600, 24)
    weights = [np.random.default_rng(3).standard_normal((11, 24)).astype(np.float32)]
    payloads = Payloads(float(np.abs(x).max()) / 127, SIGNED)
    found = survey(x, weights, payloads)
    densities = [level.density for level in found.levels]
    errors = [level.error for level in found.levels]
    assert densities == sorted(densities, reverse=True)
    assert errors == sorted(errors)
    assert densities[0] > 0.95
    assert densities[-1] == pytest.approx(0.05, abs=0.02)
    assert errors[0] == 0
    assert [level.density for level in found.probes] == pytest.approx([0.6, 0.3], abs=0.03)
    middle = next(level for level in found.levels if abs(level.density - 0.6) < 0.03)
    assert middle.error < found.probes[0].error


def test_a_population_that_is_silent_stays_so() -> None:
    nothing = np.zeros((20, 3), np.float32)
    found = survey(nothing, [np.ones((2, 3), np.float32)], Payloads(1.0, SIGNED))
    assert {(level.density, level.error) for level in found.levels} == {(0.0, 0.0)}


def test_what_is_lost_has_the_standard_error_of_its_windows() -> None:
    before = Measured(np.array([2.0, 3.0, 4.0, 1.0]), 0.7, {})
    after = Measured(np.array([2.1, 3.0, 4.2, 1.1]), 0.5, {})
    lost = after.lost(before)
    assert lost.bits == pytest.approx(0.1)
    assert lost.error == pytest.approx(np.std([0.1, 0.0, 0.2, 0.1], ddof=1) / 2)
    assert before.lost(before).at_most == 0
