r"""Constants from measurements: least squares in logarithms, and what it cannot tell.

.. math:: \min_x \sum_r w_r^2 \, \ln^2 \frac{predicted_r(e^x)}{measured_r}

Every constant is positive and every error a ratio, so that 2 pJ and 0.2 uJ, or a factor of 2 up
and down, count alike. Levenberg and Marquardt's method; the covariance at the minimum gives each
constant an uncertainty. A constant that no row depends on, that the rows cannot tell from others,
that runs off to nothing or is known to less than a factor of :data:`FACTOR_MAX` is taken out of
the fit, the worst first, and keeps the value that it had.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Name = TypeVar("Name")
Floats = NDArray[np.float64]

FACTOR_MAX = 4.0
VANISHED = 1e-3  # of what it began as
CONDITION_MAX = 1e6
STEPS_MAX = 200
DAMPING = 1e-3
TINY = 1e-15
CONVERGED = 1e-11  # a step, in logarithms
NO_GAIN = 1e-12  # of the sum of squares
NUDGE = 1e-6
LONGEST = 2.0  # a step changes no constant by more than a factor of e to this


@dataclass(frozen=True)
class Solution(Generic[Name]):
    """What a fit found.

    ``values``        every constant; those in ``undetermined`` as they were.
    ``factors``       constant -> factor up or down of one standard deviation; None where there are
                      no more rows than constants.
    ``undetermined``  constant -> why the rows do not tell it.
    ``residuals``     (R,) logarithms of predicted over measured, not weighted.
    """

    values: Mapping[Name, float]
    factors: Mapping[Name, float | None]
    undetermined: Mapping[Name, str]
    residuals: Floats


Logarithms = Callable[[Mapping[Name, float]], Floats]
"""Constants -> (R,) logarithms of predicted over measured."""


def solve(
    start: Mapping[Name, float],
    weights: Floats,
    logarithms: Logarithms[Name],
    *,
    doubtful: bool = False,
) -> Solution[Name]:
    """Fit all constants of ``start`` that the rows determine; see the module.

    ``doubtful``  take out only those that no row depends on, however badly others are known.
    """
    undetermined = _idle(start, weights, logarithms)
    values = dict(start)
    while True:
        names = [name for name in start if name not in undetermined]
        values, jacobian, residuals = _minimum(names, values, weights, logarithms)
        weighted = residuals * weights
        reasons = {} if doubtful else _doubts(names, start, values, jacobian, weighted)
        if not reasons:
            break
        undetermined |= reasons
        values = {**values, **{name: start[name] for name in reasons}}
    deviations = _deviations(jacobian, weighted)
    told = [None] * len(names) if deviations is None else np.exp(deviations).tolist()
    return Solution(values, dict(zip(names, told, strict=True)), undetermined, residuals)


def _minimum(
    names: Sequence[Name],
    start: Mapping[Name, float],
    weights: Floats,
    logarithms: Logarithms[Name],
) -> tuple[dict[Name, float], Floats, Floats]:
    """Constants at the minimum, the weighted Jacobian in logarithms, and the residuals there."""

    def at(x: Floats) -> Floats:
        return logarithms({**start, **dict(zip(names, np.exp(x).tolist(), strict=True))})

    x = np.log([start[name] for name in names])
    found, damping = at(x), DAMPING
    jacobian = _jacobian(at, x, found, weights)
    for _ in range(STEPS_MAX if names else 0):
        normal = jacobian.T @ jacobian
        diagonal = np.diag(np.diag(normal) + TINY)
        step = np.linalg.solve(normal + damping * diagonal, -jacobian.T @ (found * weights))
        step = np.clip(step, -LONGEST, LONGEST)
        tried = at(x + step)
        before, after = (float(np.sum((r * weights) ** 2)) for r in (found, tried))
        if after < before:
            x, found, damping = x + step, tried, damping / 8
            jacobian = _jacobian(at, x, found, weights)
        else:
            damping *= 8
        if np.abs(step).max() < CONVERGED or abs(before - after) <= NO_GAIN * before:
            break
    return {**start, **dict(zip(names, np.exp(x).tolist(), strict=True))}, jacobian, found


def _jacobian(at: Callable[[Floats], Floats], x: Floats, found: Floats, weights: Floats) -> Floats:
    columns = [(at(x + NUDGE * unit) - found) / NUDGE * weights for unit in np.eye(len(x))]
    return np.array(columns).reshape(len(x), len(found)).T


def _idle(
    start: Mapping[Name, float], weights: Floats, logarithms: Logarithms[Name]
) -> dict[Name, str]:
    """Constants that change no row, where the fit begins."""
    x = np.log([*start.values()])

    def at(x: Floats) -> Floats:
        return logarithms(dict(zip(start, np.exp(x).tolist(), strict=True)))

    largest = np.abs(_jacobian(at, x, at(x), weights)).max(axis=0, initial=0.0)
    return {
        name: "no run depends on it"
        for name, change in zip(start, largest.tolist(), strict=True)
        if change * CONDITION_MAX < 1
    }


def _doubts(
    names: Sequence[Name],
    start: Mapping[Name, float],
    values: Mapping[Name, float],
    jacobian: Floats,
    residuals: Floats,
) -> dict[Name, str]:
    """The constant that is determined worst, and why; none where all are well enough."""
    if not names:
        return {}
    for name in names:
        if values[name] < VANISHED * start[name]:
            return {name: "the fit would make it nothing"}
    _, singular, axes = np.linalg.svd(jacobian, full_matrices=False)
    if len(singular) < len(names) or singular[-1] * CONDITION_MAX < singular[0]:
        mixed = names[int(np.abs(axes[-1]).argmax())]
        return {mixed: "the runs are too few, or too alike, to tell it from others"}
    deviations = _deviations(jacobian, residuals)
    if deviations is None:
        return {}
    worst = int(deviations.argmax())
    if deviations[worst] <= math.log(FACTOR_MAX):
        return {}
    far = math.exp(min(float(deviations[worst]), 100.0))
    return {names[worst]: f"known to a factor of {far:.2g} only"}


def _deviations(jacobian: Floats, residuals: Floats) -> Floats | None:
    """Standard deviations of the logarithms; None without more rows than constants."""
    rows, unknowns = jacobian.shape
    if rows <= unknowns or unknowns == 0:
        return None
    scatter = float(residuals @ residuals) / (rows - unknowns)
    found: Floats = np.sqrt(scatter * np.diag(np.linalg.pinv(jacobian.T @ jacobian)))
    return found
