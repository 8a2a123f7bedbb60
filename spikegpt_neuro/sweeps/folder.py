"""A folder of results: one file per step, under the step's own hash; from them comes the table.

::

    plan.json          the plan that it is of
    steps/HASH.json    what a step gave
    artifacts/, runs/, placements/    what steps wrote for others
    table.csv          a row per point

Every file appears whole or not at all: a run that is killed leaves what it finished.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spikegpt_neuro.documents import MEGABYTE, read_json
from spikegpt_neuro.errors import CannotWrite, UnsupportedInput
from spikegpt_neuro.files import check_output_directory, write_atomically
from spikegpt_neuro.sweeps.step import Outcome, Step

BASIS, STEPS, TABLE = "plan.json", "steps", "table.csv"
PLACES = {"convert": "artifacts", "run": "runs", "place": "placements", "map": "placements"}
"""Kind of a step -> where it writes what others take."""
ENDINGS = {"artifacts": ".sgn", "runs": ".npz", "placements": ".json"}
LIMIT = 64 * MEGABYTE
FORMAT, SCHEMA_VERSION = "spikegpt-neuro-sweep", 1
FINAL = ("CheckFailed", "DoesNotFit")
"""Failures that are the model's own: nothing is gained by trying again."""


@dataclass(frozen=True)
class Basis:
    """What a folder is of: the plan, and the version that works on it."""

    plan: dict[str, Any]
    version: str
    format: str = FORMAT
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class Folder:
    """The results of one plan."""

    path: Path

    def open(self, basis: Basis, force: bool) -> None:
        """Make it, or find what an earlier run left.

        With ``force``, a folder of another plan becomes one of this plan; steps that both have
        stay. Raises :class:`CannotWrite` without, and where it holds something else.
        """
        if self.is_ours(self.path):
            found = self.basis
            if found == basis:
                return
            if not force:
                raise CannotWrite(
                    f"{self.path} holds results of another plan ({_difference(found, basis)}); "
                    "choose another output or pass force=True, which keeps the steps that both have"
                )
        elif self.path.exists() and any(self.path.iterdir() if self.path.is_dir() else [0]):
            raise CannotWrite(f"{self.path} holds something else than a sweep; not replaced")
        else:
            check_output_directory(self.path, True, self.is_ours)
        for name in (STEPS, *dict.fromkeys(PLACES.values())):
            (self.path / name).mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / BASIS, json.dumps(asdict(basis), indent=1) + "\n")

    @staticmethod
    def is_ours(path: Path) -> bool:
        """Whether a sweep wrote it."""
        return (path / BASIS).is_file()

    @property
    def basis(self) -> Basis:
        """What it is of."""
        return read_json(self.path / BASIS, Basis, limit=LIMIT, remedy="pass force=True")

    @property
    def table(self) -> Path:
        """The table of all points."""
        return self.path / TABLE

    def place(self, step: Step) -> Path:
        """Where a step writes what others take."""
        folder = PLACES[step.kind]
        return self.path / folder / (step.name + ENDINGS[folder])

    def outcome(self, step: Step) -> Outcome | None:
        """What the step gave; None where it is to be computed (again)."""
        file = self._file(step)
        if not file.is_file():
            return None
        found = read_json(file, Outcome, limit=LIMIT, remedy=f"remove {file.name}")
        if found.error is not None:
            return found if found.error.kind in FINAL else None
        is_whole = not found.files or self.place(step).exists()
        return found if is_whole else None

    def keep(self, step: Step, outcome: Outcome) -> None:
        """Write what a step gave."""
        write_atomically(self._file(step), json.dumps(asdict(outcome)) + "\n")

    def _file(self, step: Step) -> Path:
        return self.path / STEPS / f"{step.name}.json"

    def tidy(self) -> None:
        """Remove what only unfinished points would need: it can be large."""
        shutil.rmtree(self.path / PLACES["run"], ignore_errors=True)
        (self.path / PLACES["run"]).mkdir(exist_ok=True)


def _difference(found: Basis, wanted: Basis) -> str:
    """The first thing in which two plans differ."""
    if found.version != wanted.version:
        return f"version {found.version}, this is {wanted.version}"
    ours, theirs = _flat(wanted.plan), _flat(found.plan)
    for name in {**theirs, **ours}:
        if ours.get(name) != theirs.get(name):
            return f"{name}: {theirs.get(name, 'not there')}, not {ours.get(name, 'there')}"
    return "its order"


def _flat(plan: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in plan.items() if k != "grid"} | dict(plan.get("grid", {}))


def folder_of(path: str | Path) -> Folder:
    """An existing folder of results; raises :class:`UnsupportedInput` where it is none."""
    found = Folder(Path(path))
    if not found.is_ours(found.path) or not found.table.is_file():
        raise UnsupportedInput(f"{path}: no results of a sweep are there")
    return found
