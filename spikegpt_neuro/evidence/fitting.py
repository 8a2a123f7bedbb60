"""The constants of a profile from published runs: which rows there are, and which may move.

A row is one measurement that was read (marks V and S; what was derived here enters no fit) and its
prediction. Measurements of one network share one weight: four readings of PilotNet say how far
boards differ, not four times what a synaptic operation costs. Static power is drawn for the time
measured, so that an error of time does not become one of power.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from spikegpt_neuro.evidence.boards import CHIP, Boards, Free, Values, differences
from spikegpt_neuro.evidence.least_squares import Floats, Solution, solve
from spikegpt_neuro.evidence.prediction import as_measured, predict, predicted_seconds, static_watts
from spikegpt_neuro.evidence.runs import PublishedConstants, PublishedRun
from spikegpt_neuro.hardware.profile import Constant, Profile
from spikegpt_neuro.hardware.schema import SPECS

OF_THE_CHIP = (
    Free("energy.synaptic_operation"),
    Free("energy.neuron_access"),
    Free("energy.core_step"),
    Free("energy.chip_step"),
    Free("latency.synaptic_operation"),
)
OF_BOARDS = ("power.static_per_chip", "latency.step_minimum")
"""Constants that a fit may move: of the chip, and of a board whose profile has its own."""
SMALLEST = 1e-12  # where a fit begins with a constant that a profile has at 0


@dataclass(frozen=True)
class Row:
    """One measurement: ``predicted`` tells what a set of boards makes of it."""

    run: str
    network: str
    quantity: str
    measured: float
    predicted: Callable[[Boards], float]


def rows_of(run: PublishedRun) -> tuple[Row, ...]:
    """The measurements of a run that may enter a fit."""

    def profile(boards: Boards) -> Profile:
        return boards[run.board]

    ways: dict[str, Callable[[Boards], float]] = {
        "seconds": lambda b: predicted_seconds(run, as_measured(profile(b), run)),
        "watts_static": lambda b: static_watts(profile(b), run),
        "joules_dynamic": lambda b: predict(run, profile(b), measured_time=True).joules_dynamic,
        "joules": lambda b: predict(run, profile(b), measured_time=True).joules,
    }
    return tuple(
        Row(run.name, run.network, name, run.value(name), way)
        for name, way in ways.items()
        if name in entering(run)
    )


def entering(run: PublishedRun) -> tuple[str, ...]:
    """Measurements of a run that enter a fit; the total only where its parts are not known."""
    if run.activity is None:
        return ()
    read = [
        name
        for name in ("seconds", "watts_static", "joules_dynamic", "joules")
        if (reading := getattr(run.measured, name)) is not None and reading.mark != "D"
    ]
    if "watts_static" in read:
        read = [name for name in read if name != "joules"]
    return tuple(name for name in read if name not in run.unpredicted)


def rows_of_constants(found: PublishedConstants) -> tuple[Row, ...]:
    """What a source says of constants directly, one row each."""

    def row(key: str, measured: float) -> Row:
        return Row(found.name, found.name, key, measured, lambda b: b[CHIP][key].base)

    return tuple(
        row(key, SPECS[key].dimension.to_base(reading.value, reading.unit))
        for key, reading in found.constants.items()
        if reading.mark != "D"
    )


def weights_of(rows: Sequence[Row]) -> Floats:
    """(R,) one over the root of how many rows there are of a network and quantity."""
    alike = Counter((row.network, row.quantity) for row in rows)
    return np.array([1 / math.sqrt(alike[row.network, row.quantity]) for row in rows])


def free_constants(chip: Profile, boards: Collection[str]) -> tuple[Free, ...]:
    """Constants of a profile and of boards that a fit may move; what is assumed may be held."""
    made = Boards(chip, {})
    own = [
        Free(key, board)
        for board in sorted(boards)
        for key in OF_BOARDS
        if key in differences(board) and made[board][key].kind != "measured"
    ]
    of_chip = (f for f in OF_THE_CHIP if f.key in chip and chip[f.key].kind != "measured")
    return (*of_chip, *own)


def fit_runs(
    runs: Sequence[PublishedRun],
    chip: Profile,
    free: Sequence[Free],
    extra: Sequence[Row] = (),
    *,
    doubtful: bool = False,
) -> Solution[Free]:
    """Fit the ``free`` constants to all rows of ``runs``, and to ``extra`` rows beside them."""
    moved = {f.key for f in free}
    beside = (row for row in extra if row.quantity not in SPECS or row.quantity in moved)
    rows = [*(row for run in runs for row in rows_of(run)), *beside]
    start = {f: _start(Boards(chip, {})[f.board][f.key]) for f in free}
    return solve(
        start,
        weights_of(rows),
        lambda values: logarithms(rows, chip, values),
        doubtful=doubtful,
    )


def _start(constant: Constant) -> float:
    """Where a fit begins: the constant; where that is 0, half of what it is at most."""
    return constant.base or constant.range[1] / 2 or SMALLEST


def logarithms(rows: Sequence[Row], chip: Profile, values: Values) -> Floats:
    """(R,) logarithms of predicted over measured."""
    boards = Boards(chip, values)
    return np.array([math.log(row.predicted(boards) / row.measured) for row in rows])
