"""How far the model is from everything that was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

from spikegpt_neuro.api.choices import DEFAULT_PROFILE
from spikegpt_neuro.api.inputs import PathLike
from spikegpt_neuro.api.stages import Stages, stage
from spikegpt_neuro.errors import UnsupportedInput, UsageError
from spikegpt_neuro.evidence.picture import draw_comparison
from spikegpt_neuro.evidence.runs import PublishedRun, published_runs
from spikegpt_neuro.evidence.validation import (
    LEFT_OUT,
    Compared,
    Evidence,
    LeaveOut,
    compare_all,
    off_by,
    static_powers,
)
from spikegpt_neuro.files import check_output_file, write_atomically
from spikegpt_neuro.hardware.profile import Profile, load_profile
from spikegpt_neuro.results import Result
from spikegpt_neuro.running import Progress


@dataclass(frozen=True, repr=False)
class Validation(Result):
    """Published runs predicted, beside what was measured.

    ``runs``         a table per run and quantity: ``name``, ``quantity`` (``seconds``, ``joules``,
                     ``joules_dynamic``), ``measured``, ``predicted``, ``ratio`` (predicted over
                     measured), ``in_fit``, ``ratio_left_out`` (by constants fitted without the
                     run; None where it was not asked for), ``mark`` of the measurement.
    ``mean_ratio``, ``worst_ratio``  over all of them; a ratio below 1 counts as its inverse.
    ``compared``     the same as records.
    ``static``       run -> watts of its chips that do nothing, measured and predicted.
    ``evidence``     the runs themselves, with those of which too little is published.
    """

    runs: tuple[Mapping[str, Any], ...]
    mean_ratio: float
    worst_ratio: float
    hardware: str = field(repr=False)
    compared: tuple[Compared, ...] = field(repr=False)
    static: Mapping[str, tuple[float, float]] = field(repr=False)
    evidence: tuple[PublishedRun, ...] = field(repr=False)

    HEADLINE: ClassVar[tuple[str, ...]] = ("mean_ratio", "worst_ratio")

    def rows(self) -> list[dict[str, Any]]:
        """A row per run and quantity."""
        return [dict(run) for run in self.runs]

    def headline(self) -> Mapping[str, object]:
        """How many quantities there are, and how far they are off."""
        return {"quantities": len(self.runs), **super().headline()}

    def draw(self, path: PathLike) -> Path:
        """Write a picture: measured against predicted, on log axes (SVG)."""
        target = Path(path)
        check_output_file(target, force=True)
        write_atomically(target, draw_comparison(self.compared, self.hardware))
        return target


def validate(
    hw: PathLike | Profile = DEFAULT_PROFILE,
    *,
    runs: Sequence[PublishedRun] | PathLike | None = None,
    leave_out: LeaveOut | None = "run",
    progress: Progress | Stages | None = None,
) -> Validation:
    """Predict every published run from its activity with the profile ``hw``.

    Each run is predicted on its own board: what the board's profile says of static power and of the
    smallest step lies over ``hw``.

    Parameters
    ----------
    runs
        Other runs than those installed, or the folder of their files.
    leave_out
        Fit once more without each ``"run"`` in turn, or without all runs of its ``"network"``;
        takes seconds. None: do not.

    Raises
    ------
    UsageError, UnsupportedInput
        The profile or a run cannot be read, or the profile lacks what a prediction needs.

    Examples
    --------
    >>> found = sgn.validate(leave_out=None)
    >>> found.mean_ratio < 1.5, {run["quantity"] for run in found.runs} >= {"seconds", "joules"}
    (True, True)
    """
    if leave_out not in (*LEFT_OUT, None):
        raise UsageError(f"leave_out is {leave_out!r}, expected one of {', '.join(LEFT_OUT)}")
    chip = hw if isinstance(hw, Profile) else load_profile(hw)
    evidence = evidence_of(runs)
    with stage(progress, "predicting published runs") as shown:
        compared = compare_all(chip, evidence, leave_out=leave_out, progress=shown)
    if not compared:
        raise UnsupportedInput("none of the runs says enough of its activity to be predicted")
    factors = [off_by(row.ratio) for row in compared]
    return Validation(
        runs=tuple(_listed(row) for row in compared),
        mean_ratio=fmean(factors),
        worst_ratio=max(factors),
        hardware=chip.name,
        compared=compared,
        static=static_powers(chip, evidence),
        evidence=evidence.runs,
    )


def evidence_of(runs: Sequence[PublishedRun] | PathLike | None) -> Evidence:
    """The installed evidence; with ``runs``, those (or those of a folder) alone."""
    if runs is None:
        return Evidence.installed()
    if isinstance(runs, (str, Path)):
        return Evidence(published_runs(Path(runs)), ())
    return Evidence(tuple(runs), ())


def _listed(row: Compared) -> dict[str, Any]:
    content = asdict(row)
    names = ("name", "quantity", "measured", "predicted")
    return {
        **{name: content.pop(name) for name in names},
        "ratio": row.ratio,
        **content,
    }
