"""A hardware profile from measured runs: those on our own Loihi, published ones, or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from spikegpt_neuro.api.choices import DEFAULT_PROFILE
from spikegpt_neuro.api.inputs import PathLike
from spikegpt_neuro.api.validating import evidence_of
from spikegpt_neuro.backends.loihi import fitting
from spikegpt_neuro.backends.loihi.comparison import COUNTED
from spikegpt_neuro.documents import MEGABYTE, read_json
from spikegpt_neuro.energy.record import Estimate, from_json
from spikegpt_neuro.errors import CheckFailed, UsageError
from spikegpt_neuro.evidence.boards import CHIP, Boards, Free
from spikegpt_neuro.evidence.fitting import Row, entering, fit_runs, free_constants
from spikegpt_neuro.evidence.least_squares import Solution
from spikegpt_neuro.evidence.profile_text import profile_text
from spikegpt_neuro.evidence.runs import PublishedRun
from spikegpt_neuro.evidence.validation import Evidence
from spikegpt_neuro.hardware.profile import Profile, load_profile
from spikegpt_neuro.hardware.writing import check_profile_path, save_profile_text
from spikegpt_neuro.results import Result

RECORD_LIMIT = 64 * MEGABYTE
REMEDY = "give a record that a measured profile saved"
PUBLISHED = "published"
"""Names the runs that are installed."""
Runs = Sequence[PublishedRun] | PathLike
PICO, NANO = 1e-12, 1e-9


@dataclass(frozen=True, repr=False)
class Fitted(Result):
    """Energies per operation, in picojoules, and how far the fit is off.

    ``runs``                measured runs, one's own and published.
    ``nanoseconds``         times that were fitted, too: only published runs tell any.
    ``uncertainty``         constant -> relative standard deviation; None without more runs than
                            constants.
    ``undetermined``        constant -> why the runs do not tell it; it keeps the base's value.
    ``boards``              board -> its constants in base units; they belong to no chip profile.
    ``residuals_joules``    (own runs,) measured minus fitted.
    ``relative_residual``   their norm over that of the measured energies; with published runs, the
                            root of the mean square of all logarithms of predicted over measured.
    ``static_watts_per_chip``, ``static_watts_range``  of one's own runs; None without any.
    """

    profile: Path
    base: str
    runs: int
    picojoules: Mapping[str, float]
    residuals_joules: tuple[float, ...]
    relative_residual: float
    static_watts_per_chip: float | None
    static_watts_range: tuple[float, float] | None
    uncertainty: Mapping[str, float | None] = field(default_factory=dict)
    nanoseconds: Mapping[str, float] = field(default_factory=dict)
    undetermined: Mapping[str, str] = field(default_factory=dict)
    boards: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    UNITS: ClassVar[Mapping[str, str]] = {"static_watts_per_chip": "W"}
    HEADLINE: ClassVar[tuple[str, ...]] = (
        "profile",
        "runs",
        "relative_residual",
        "static_watts_per_chip",
    )


def fit(
    records: Sequence[PathLike | Estimate],
    path: PathLike,
    *,
    base: PathLike = DEFAULT_PROFILE,
    runs: Runs | None = None,
    powered_chips: int | None = None,
    force: bool = False,
) -> Fitted:
    """Fit constants to measured records, and write them as a profile to ``path``.

    Records alone give energies per operation. With ``runs`` they are fitted together, in
    logarithms; what all of them do not tell is named, and stays as the base has it.

    ``base``           the profile to build on.
    ``runs``           ``"published"``, a folder of files like those, or the runs themselves; then
                       there may be no records.
    ``powered_chips``  chips that share the measured static power; None: those that the run used.

    Everything is checked before anything is written. Raises :class:`UnsupportedInput` for records
    that are damaged, not measured, impossible or of several systems; :class:`CheckFailed` for too
    few to determine the constants; :class:`CannotWrite` for the output.

    Examples
    --------
    >>> fitted = sgn.fit(records, "fitted.toml", powered_chips=1)  # as profile measured them
    >>> fitted.runs
    8
    """
    target = Path(path)
    check_profile_path(target, force)
    profile = load_profile(base)
    read = [r if isinstance(r, Estimate) else read_record(Path(r)) for r in records]
    paths = [r.estimator if isinstance(r, Estimate) else str(r) for r in records]
    names = [Path(path).name for path in paths]
    if runs is not None:
        evidence = evidence_of(None if runs == PUBLISHED else runs)
        fitting.check_records(read, powered_chips, paths)
        static = fitting.static_power(read, powered_chips) if read else None
        own = tuple(zip(names, read, strict=True))
        return _together(target, profile, evidence, own, static, force)
    if not read:
        raise UsageError("there are no records to fit; give some, or runs='published'")
    found = fitting.fit(read, powered_chips, paths)
    fitting.save_profile(target, found, profile, names, force)
    low, mean, high = found.static
    return Fitted(
        profile=target,
        base=profile.name,
        runs=found.runs,
        picojoules={key: joules / PICO for key, joules in found.joules.items()},
        residuals_joules=tuple(found.residuals.tolist()),
        relative_residual=found.relative,
        static_watts_per_chip=mean,
        static_watts_range=(low, high),
        uncertainty={
            key: found.deviations[key] / joules if found.deviations and joules else None
            for key, joules in found.joules.items()
        },
    )


def _together(
    target: Path,
    base: Profile,
    evidence: Evidence,
    records: Sequence[tuple[str, Estimate]],
    static: tuple[float, float, float] | None,
    force: bool,
) -> Fitted:
    """Published runs and own records in one fit."""
    chip = fitting.without_absorbed(base) if records else base
    own = tuple(_row(number, *given) for number, given in enumerate(records))
    free = list(free_constants(chip, {run.board for run in evidence.runs}))
    counted = [Free(f"energy.{key}") for key in COUNTED.values()] if records else []
    free += [each for each in counted if each.key in chip and each not in free]
    solved = fit_runs(evidence.runs, chip, free, (*evidence.rows_of_constants, *own))
    kept = {each: value for each, value in solved.values.items() if each in solved.factors}
    if not any(each.board == CHIP for each in kept):
        reasons = "; ".join(f"{each.key}: {why}" for each, why in solved.undetermined.items())
        raise CheckFailed(f"the runs determine no constant of the chip: {reasons}")
    ran = [
        *(run.name for run in evidence.runs if entering(run)),
        *(name for name, _ in records),
    ]
    absorbed = fitting.absorbed_in(base) if records else {}
    save_profile_text(target, profile_text(base, solved, ran, static, absorbed), force)
    return _fitted(target, base, solved, len(ran), own, static)


def _row(number: int, name: str, record: Estimate) -> Row:
    """The dynamic energy of one's own run; each is a network of its own."""
    counts = fitting.counts_of(record)

    def predicted(boards: Boards) -> float:
        chip = boards[CHIP]
        return sum(count * chip[f"energy.{key}"].base for key, count in counts.items())

    return Row(name, f"own {number}", "joules_dynamic", record.undivided.value, predicted)


def _fitted(
    target: Path,
    base: Profile,
    solved: Solution[Free],
    runs: int,
    own: Sequence[Row],
    static: tuple[float, float, float] | None,
) -> Fitted:
    kept = {free: solved.values[free] for free in solved.factors}
    of_chip = {free.key: value for free, value in kept.items() if free.board == CHIP}
    boards: dict[str, dict[str, float]] = {}
    for free, value in kept.items():
        if free.board != CHIP:
            boards.setdefault(free.board, {})[free.key] = value
    made = Boards(base, solved.values)
    return Fitted(
        profile=target,
        base=base.name,
        runs=runs,
        picojoules={k.split(".")[1]: v / PICO for k, v in of_chip.items() if k[0] == "e"},
        nanoseconds={k.split(".")[1]: v / NANO for k, v in of_chip.items() if k[0] == "l"},
        residuals_joules=tuple(row.measured - row.predicted(made) for row in own),
        relative_residual=float(np.sqrt(np.mean(solved.residuals**2))),
        static_watts_per_chip=None if static is None else static[1],
        static_watts_range=None if static is None else (static[0], static[2]),
        uncertainty={
            _name(free): None if factor is None else log(factor)
            for free, factor in solved.factors.items()
        },
        undetermined={_name(free): why for free, why in solved.undetermined.items()},
        boards=boards,
    )


def _name(free: Free) -> str:
    return free.key if free.board == CHIP else f"{free.board}: {free.key}"


def read_record(path: Path) -> Estimate:
    """An energy record that :func:`profile` saved."""
    content = read_json(path, dict[str, Any], limit=RECORD_LIMIT, remedy=REMEDY)
    return from_json(content, where=str(path))
