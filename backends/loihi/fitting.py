r"""A hardware profile from measured runs: energy per counted operation, by least squares.

The dynamic energy of run r is taken as a sum over what the chip counts:

.. math:: E_r = \sum_k n_{rk} e_k + \varepsilon_r

with one constant e per counter. What no counter tells apart is part of the constant that it goes
with: an update of a neuron and the steps of cores and chips part of the access, payload bits part
of the synaptic operation, hops part of the message sent. Those constants become 0, or they would be
paid twice. Static power is not fitted: it is static energy over time and powered chips, with the
extremes of all runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.backends.loihi.comparison import COUNTED
from spikegpt_neuro.energy.record import Estimate
from spikegpt_neuro.errors import CheckFailed, UnsupportedInput, UsageError
from spikegpt_neuro.hardware.events import EVENTS
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.hardware.writing import (
    constant_text,
    quoted,
    reference_to,
    save_profile_text,
)

OF_STEPS = tuple(e.name for e in EVENTS if e.is_of_steps and e.name not in COUNTED.values())
"""What every step costs; published runs tell it, the chip's counters do not."""

ABSORBED = {
    "neuron_update": "neuron_access",
    "graded_payload_bit": "synaptic_operation",
    "spike_out": "axon_out",
    "spike_within_tile": "axon_out",
    "hop_east_west": "axon_out",
    "hop_north_south": "axon_out",
    **dict.fromkeys(OF_STEPS, "neuron_access"),
}
"""Constant that no counter tells apart -> the one that it is part of."""

CONDITION_MAX = 1e6
COUNT_MAX = 1e18
MEASURES = "a profile with backend='loihi' and all probes"
PICOJOULE = 1e-12


@dataclass(frozen=True)
class Fit:
    """``joules``: constant -> joules per operation; ``residuals``: (R,) joules, measured less fit.

    ``deviations``  constant -> standard deviation in joules; none without more runs than constants.
    ``relative``  root of their mean square, over the mean dynamic energy.
    ``static``    (lowest, mean, highest) watts of one powered chip.
    """

    joules: Mapping[str, float]
    residuals: NDArray[np.float64]
    relative: float
    static: tuple[float, float, float]
    deviations: Mapping[str, float] = field(default_factory=dict)

    @property
    def runs(self) -> int:
        return len(self.residuals)


def fit(
    runs: Sequence[Estimate],
    powered_chips: int | None = None,
    called: Sequence[str] | None = None,
) -> Fit:
    """Fit constants to measured runs.

    ``powered_chips``: chips that share the measured static power, used or not; None: those of
    the runs. ``called``: the runs' names, for errors.

    Raises
    ------
    UnsupportedInput
        A record was not measured, has no activity counters, a figure that no run can have, or is
        of another system than the first one.
    UsageError
        Less than one chip is powered.
    CheckFailed
        There are too few runs, or they are too alike, or a constant would be negative.
    """
    check_records(runs, powered_chips, called)
    names = list(COUNTED.values())
    counts = np.array([[r.raw["counts"][key] for key in COUNTED] for r in runs], np.float64)
    energy = np.array([run.undivided.value for run in runs])
    joules = _solve(counts, energy, names)
    residuals = energy - counts @ joules
    return Fit(
        joules=dict(zip(names, joules.tolist(), strict=True)),
        residuals=residuals,
        relative=float(np.sqrt(np.mean(residuals**2)) / np.mean(energy)),
        static=static_power(runs, powered_chips),
        deviations=dict(zip(names, _deviations(counts, residuals), strict=False)),
    )


def check_records(
    runs: Sequence[Estimate],
    powered_chips: int | None = None,
    called: Sequence[str] | None = None,
) -> None:
    """Raise where records cannot be fitted; see :func:`fit`."""
    if powered_chips is not None and powered_chips < 1:
        raise UsageError(f"powered_chips is {powered_chips}, expected 1 or more")
    called = called or [f"run {number}" for number in range(1, len(runs) + 1)]
    for name, run in zip(called, runs, strict=True):
        for problem in _problems(run):
            raise UnsupportedInput(f"{name}: {problem}; fit what {MEASURES} wrote")
    _check_one_system(runs, called)


def static_power(runs: Sequence[Estimate], powered_chips: int | None) -> tuple[float, float, float]:
    """(lowest, mean, highest) watts of one powered chip."""
    powers = [r.joules["static"].value / r.seconds.value / (powered_chips or r.chips) for r in runs]
    return min(powers), float(np.mean(powers)), max(powers)


def absorbed_in(base: Profile) -> dict[str, str]:
    """Constants of ``base`` that become 0 -> what they are part of, in words.

    Not the steps of cores and chips: published runs tell them.
    """
    return {
        key: f"part of {whole}: no counter tells them apart"
        for key, whole in ABSORBED.items()
        if f"energy.{key}" in base and key not in OF_STEPS
    }


def without_absorbed(base: Profile) -> Profile:
    """``base`` with the constants at 0 that are part of others."""
    constants = dict(base.constants)
    for key in absorbed_in(base):
        name = f"energy.{key}"
        constants[name] = replace(constants[name], value=0, low=None, high=None)
    return replace(base, constants=constants)


def counts_of(run: Estimate) -> dict[str, float]:
    """Constant -> how often the chip counted it."""
    return {constant: float(run.raw["counts"][key]) for key, constant in COUNTED.items()}


def _deviations(counts: NDArray[np.float64], residuals: NDArray[np.float64]) -> list[float]:
    """Standard deviation of each constant in joules; none where no run is left to tell."""
    runs, unknowns = counts.shape
    if runs <= unknowns:
        return []
    scale = counts.max(axis=0)
    scatter = float(residuals @ residuals) / (runs - unknowns)
    spread = np.diag(np.linalg.pinv((counts / scale).T @ (counts / scale)))
    found: list[float] = (np.sqrt(scatter * spread) / scale).tolist()
    return found


def _problems(run: Estimate) -> Iterator[str]:
    """Why a record cannot be fitted, the first reason first."""
    counts = run.raw.get("counts")
    if not run.is_measured or not isinstance(counts, Mapping) or set(counts) != set(COUNTED):
        yield f"a record of {run.estimator} has no measured activity"
        return
    if "static" not in run.joules:
        yield "joules.static is missing"
        return
    for key, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, (int, float)):
            yield f"raw.counts.{key} is {count!r:.40}, expected a number"
        elif not 0 <= count <= COUNT_MAX:
            yield f"raw.counts.{key} is {count!r:.40}, expected 0 to {COUNT_MAX:.0e}"
    for place, value in (("undivided", run.undivided), ("joules.static", run.joules["static"])):
        if not (math.isfinite(value.value) and value.value >= 0):
            yield f"{place} is {value.value:g} J, expected 0 or more"
    if not (math.isfinite(run.seconds.value) and run.seconds.value > 0):
        yield f"seconds is {run.seconds.value:g}, expected more than 0"
    if run.chips < 1:
        yield f"chips is {run.chips}, expected 1 or more"
    if run.undivided.value == 0:
        yield "undivided is 0 J: no energy beside the static one was measured"


def _check_one_system(runs: Sequence[Estimate], called: Sequence[str]) -> None:
    """Raise where records name different systems: constants belong to one."""
    known: dict[str, tuple[str, object]] = {}
    for name, run in zip(called, runs, strict=True):
        for what, value in _system(run).items():
            first, found = known.setdefault(what, (name, value))
            if found != value:
                raise UnsupportedInput(
                    f"{name}: measured on {what} {value}, {first} on {found}; fit the runs of one "
                    "system at a time"
                )


def _system(run: Estimate) -> dict[str, object]:
    """What a record tells of the system that it was measured on."""
    found: dict[str, object] = {"hardware": run.hardware}
    deployment = run.raw.get("deployment")
    connection = deployment.get("connection") if isinstance(deployment, Mapping) else None
    if isinstance(connection, Mapping):
        found |= {key: connection.get(key) for key in ("chip_generation", "slurm", "host")}
    return found


def _solve(
    counts: NDArray[np.float64], energy: NDArray[np.float64], names: Sequence[str]
) -> NDArray[np.float64]:
    """Least squares on columns scaled to 1, so that the condition number says something."""
    runs, unknowns = counts.shape
    if runs < unknowns:
        raise CheckFailed(
            f"{runs} measured runs cannot tell {unknowns} constants apart ({', '.join(names)}); "
            f"measure {unknowns - runs} more, of other layers or texts"
        )
    scale = counts.max(axis=0)
    for name, largest in zip(names, scale, strict=True):
        if largest == 0:
            raise CheckFailed(f"no run counted any {name}: its constant cannot be fitted")
    scaled = counts / scale
    singular = np.linalg.svd(scaled, compute_uv=False)
    if singular[-1] * CONDITION_MAX < singular[0]:
        raise CheckFailed(
            f"the {runs} measured runs are too alike to tell {', '.join(names)} apart; measure "
            "other layers, single projections or other texts"
        )
    solution = np.linalg.lstsq(scaled, energy, rcond=None)[0] / scale
    for name, joules in zip(names, solution, strict=True):
        if joules < 0:
            raise CheckFailed(
                f"the fit gives {name} {joules / PICOJOULE:.3g} pJ, less than nothing: the runs "
                "are too noisy or too alike; measure longer or other runs"
            )
    found: NDArray[np.float64] = solution
    return found


def save_profile(
    path: Path, found: Fit, base: Profile, measured: Sequence[str], force: bool = False
) -> None:
    """Write the fit as a profile on top of ``base``; ``measured`` names the runs.

    It is loaded before it takes the place of another one. Raises :class:`CannotWrite` where the
    file exists, unless ``force``; :class:`UnsupportedInput` where what was fitted is no profile,
    or would build on itself.
    """
    save_profile_text(path, profile_text(found, base, measured), force)


def profile_text(found: Fit, base: Profile, measured: Sequence[str]) -> str:
    """The profile as TOML."""
    residuals = ", ".join(f"{r:.3g}" for r in found.residuals)
    quality = f"residuals {residuals} J, {found.relative:.2%} of the mean"
    lines = [
        "# Written from measured runs: " + ", ".join(measured).replace("\n", " "),
        "schema = 1",
        f"title = {quoted(f'{base.name} with energies fitted to {found.runs} measured runs')}",
        f"base = {quoted(reference_to(base))}",
        "",
        "[sources]",
        f"runs = {quoted('our measurement: ' + ', '.join(measured))}",
        f"fit = {quoted(f'least squares over {found.runs} measured runs; {quality}')}",
        "",
        "[energy]",
    ]
    for key, joules in found.joules.items():
        picojoules, ends = joules / PICOJOULE, _ends(joules, found.deviations.get(key))
        lines.append(f"{key} = {constant_text(picojoules, 'pJ', 'fitted', 'fit', ends=ends)}")
    for key, whole in ABSORBED.items():
        if f"energy.{key}" in base:
            note = f"part of {whole}: no counter tells them apart"
            lines.append(f"{key} = {constant_text(0, 'pJ', 'fitted', 'fit', note)}")
    return "\n".join([*lines, "", "[power]", static_text(found.static, "runs"), ""])


def static_text(static: tuple[float, float, float], source: str) -> str:
    """The line of the measured static power of a chip: lowest, mean and highest."""
    low, mean, high = static
    return f"static_per_chip = {constant_text(mean, 'W', 'measured', source, ends=(low, high))}"


def _ends(joules: float, deviation: float | None) -> tuple[float, float] | None:
    """A standard deviation down and up, in picojoules."""
    if deviation is None:
        return None
    low, high = max(0.0, joules - deviation), joules + deviation
    return low / PICOJOULE, high / PICOJOULE
