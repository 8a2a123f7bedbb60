"""A hardware profile from runs measured on Loihi."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from spikegpt_neuro.api.choices import DEFAULT_PROFILE
from spikegpt_neuro.api.inputs import PathLike
from spikegpt_neuro.backends.loihi import fitting
from spikegpt_neuro.documents import MEGABYTE, read_json
from spikegpt_neuro.energy.record import Estimate, from_json
from spikegpt_neuro.hardware.profile import load_profile
from spikegpt_neuro.results import Result

RECORD_LIMIT = 64 * MEGABYTE
REMEDY = "give a record that a measured profile saved"


@dataclass(frozen=True, repr=False)
class Fitted(Result):
    """Energies per operation, in picojoules, and how far the fit is off.

    ``residuals_joules``    (runs,) measured minus fitted. ``relative_residual``: their norm over
                            that of the measured energies.
    """

    profile: Path
    base: str
    runs: int
    picojoules: Mapping[str, float]
    residuals_joules: tuple[float, ...]
    relative_residual: float
    static_watts_per_chip: float
    static_watts_range: tuple[float, float]

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
    powered_chips: int | None = None,
    force: bool = False,
) -> Fitted:
    """Fit energies per operation to measured records, and write them as a profile to ``path``.

    ``base``           the profile to build on.
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
    fitting.check_profile_path(target, force)
    profile = load_profile(base)
    read = [r if isinstance(r, Estimate) else read_record(Path(r)) for r in records]
    paths = [r.estimator if isinstance(r, Estimate) else str(r) for r in records]
    found = fitting.fit(read, powered_chips, paths)
    names = [Path(path).name for path in paths]
    fitting.save_profile(target, found, profile, names, force)
    low, mean, high = found.static
    return Fitted(
        profile=target,
        base=profile.name,
        runs=found.runs,
        picojoules={key: joules * 1e12 for key, joules in found.joules.items()},
        residuals_joules=tuple(found.residuals.tolist()),
        relative_residual=found.relative,
        static_watts_per_chip=mean,
        static_watts_range=(low, high),
    )


def read_record(path: Path) -> Estimate:
    """An energy record that :func:`profile` saved."""
    content = read_json(path, dict[str, Any], limit=RECORD_LIMIT, remedy=REMEDY)
    return from_json(content, where=str(path))
