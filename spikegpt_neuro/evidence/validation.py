r"""Every published run predicted, beside what was measured.

A ratio is predicted over measured; means and worst cases take its inverse where it is below 1. A
run that was used in the fit is predicted once more by constants fitted without it
(``ratio_left_out``): a board that nothing else tells anything of is then like the chip's profile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import fmean
from typing import Literal

from spikegpt_neuro.evidence.boards import CHIP, Boards, Free
from spikegpt_neuro.evidence.fitting import (
    Row,
    entering,
    fit_runs,
    free_constants,
    rows_of_constants,
)
from spikegpt_neuro.evidence.prediction import Prediction, predict, static_watts
from spikegpt_neuro.evidence.runs import (
    Mark,
    PublishedConstants,
    PublishedRun,
    Quantity,
    published_constants,
    published_runs,
)
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.running import Progress

LeaveOut = Literal["run", "network"]
LEFT_OUT: tuple[LeaveOut, ...] = ("run", "network")
WITHIN = 2.0
"""What counts as near: a factor of two."""
PARTS: Mapping[Quantity, tuple[str, ...]] = {
    "seconds": ("seconds",),
    "joules": ("joules", "joules_dynamic", "watts_static"),
    "joules_dynamic": ("joules_dynamic",),
}
"""Quantity -> the measurements that bring it into a fit."""
NEEDED = ("energy.chip_step", "latency.step_minimum")
"""Constants of a profile that measurements have anything to do with."""


@dataclass(frozen=True)
class Compared:
    """One quantity of one run.

    ``in_fit``          the measurement, or parts of it, went into the profile's constants.
    ``ratio_left_out``  the ratio by constants fitted without the run; that of the profile where it
                        was not in the fit; None where it was not asked for.
    """

    name: str
    quantity: Quantity
    measured: float
    predicted: float
    in_fit: bool
    ratio_left_out: float | None
    mark: Mark

    @property
    def ratio(self) -> float:
        return self.predicted / self.measured


@dataclass(frozen=True)
class Evidence:
    """What there is to compare with."""

    runs: tuple[PublishedRun, ...]
    constants: tuple[PublishedConstants, ...]

    @staticmethod
    def installed() -> Evidence:
        """The published runs and constants of this package."""
        return Evidence(published_runs(), published_constants())

    @property
    def rows_of_constants(self) -> tuple[Row, ...]:
        return tuple(row for found in self.constants for row in rows_of_constants(found))


def off_by(ratio: float) -> float:
    """How far a prediction is off, as a factor of 1 or more."""
    return max(ratio, 1 / ratio)


def compare_all(
    chip: Profile,
    evidence: Evidence,
    *,
    leave_out: LeaveOut | None = "run",
    progress: Progress | None = None,
) -> tuple[Compared, ...]:
    """All quantities that can be predicted, with ``chip`` under every board.

    ``leave_out``  fit once more without each run in turn, or without all runs of its network, which
                   takes seconds; None: do not.

    Raises :class:`UnsupportedInput` where the profile lacks a constant.
    """
    boards = Boards(chip, {})
    free = fitted_constants(chip, evidence.runs)
    found: list[Compared] = []
    for done, run in enumerate(evidence.runs, start=1):
        own = predict(run, boards[run.board]) if run.predictable else None
        used = bool(free) and bool(entering(run))
        other = None
        if own is not None and used and leave_out is not None:
            other = _without(run, chip, evidence, free, leave_out)
        found += [] if own is None else _compared(run, own, other, free, leave_out is not None)
        if progress is not None:
            progress(done, len(evidence.runs))
    return tuple(found)


def fitted_constants(chip: Profile, runs: Sequence[PublishedRun]) -> tuple[Free, ...]:
    """Constants of the profile and of the boards that say that they were fitted."""
    boards = Boards(chip, {})
    free = free_constants(chip, {run.board for run in runs})
    return tuple(f for f in free if boards[f.board][f.key].kind == "fitted")


def _compared(
    run: PublishedRun,
    own: Prediction,
    other: Prediction | None,
    free: Sequence[Free],
    leave_out: bool,
) -> list[Compared]:
    found = []
    for quantity in run.predictable:
        reading, measured = run.reading(quantity), run.value(quantity)
        assert reading is not None
        without = other or own
        found.append(
            Compared(
                name=run.name,
                quantity=quantity,
                measured=measured,
                predicted=own.of(quantity),
                in_fit=bool(free) and bool(set(PARTS[quantity]) & set(entering(run))),
                ratio_left_out=without.of(quantity) / measured if leave_out else None,
                mark=reading.mark,
            )
        )
    return found


def _without(
    run: PublishedRun,
    chip: Profile,
    evidence: Evidence,
    free: Sequence[Free],
    leave_out: LeaveOut,
) -> Prediction:
    """The prediction of a run by constants that were fitted to all others."""
    alike = "name" if leave_out == "run" else "network"
    others = [o for o in evidence.runs if getattr(o, alike) != getattr(run, alike)]
    solved = fit_runs(others, chip, free, evidence.rows_of_constants, doubtful=True)
    values = dict(solved.values)
    for each in solved.undetermined:
        if each.board != CHIP:
            values[each] = values.get(Free(each.key), chip[each.key].base)
    return predict(run, Boards(chip, values)[run.board])


def static_powers(chip: Profile, evidence: Evidence) -> dict[str, tuple[float, float]]:
    """Run -> watts of its board's chips that do nothing, measured and predicted."""
    boards = Boards(chip, {})
    return {
        run.name: (run.value("watts_static"), static_watts(boards[run.board], run))
        for run in evidence.runs
        if run.measured.watts_static is not None and run.activity is not None
    }


def summary(rows: Sequence[Compared]) -> tuple[float, float, float, float]:
    """Mean and worst factor of some rows; then the same with each run left out of the fit."""
    ratios = [off_by(row.ratio) for row in rows]
    left_out = [off_by(row.ratio_left_out or row.ratio) for row in rows]
    return fmean(ratios), max(ratios), fmean(left_out), max(left_out)


@dataclass(frozen=True)
class Accuracy:
    """``near`` of ``runs`` published runs are predicted within the factor ``within``."""

    within: float
    near: int
    runs: int

    @property
    def factor(self) -> str:
        """``within x1.9``; not less than what was found."""
        return f"within x{ceil(self.within * 10 - 1e-9) / 10:.1f}"

    def __str__(self) -> str:
        return f"{self.factor} on {self.near} of {self.runs} published runs"


def accuracy_of(chip: Profile, evidence: Evidence | None = None) -> dict[Quantity, Accuracy]:
    """How near a profile comes to the published runs; nothing where it has nothing to do with them.

    ``within`` is the worst of those that are within a factor of two; the others are counted.
    """
    if any(key not in chip for key in NEEDED):
        return {}
    found = compare_all(chip, evidence or Evidence.installed(), leave_out=None)
    quantities: tuple[Quantity, ...] = ("joules", "seconds")
    return {
        quantity: _accuracy([off_by(c.ratio) for c in found if c.quantity == quantity])
        for quantity in quantities
    }


def _accuracy(factors: Sequence[float]) -> Accuracy:
    near = [factor for factor in factors if factor <= WITHIN]
    return Accuracy(max(near, default=WITHIN), len(near), len(factors))
