"""Grids of conversions, scores, placements and prices: every point a row of one table."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from spikegpt_neuro.api.inputs import PathLike
from spikegpt_neuro.api.stages import Stages, stage
from spikegpt_neuro.api.sweep_steps import Planned, planned
from spikegpt_neuro.api.sweep_work import Work, carry_out, carry_out_here
from spikegpt_neuro.cluster.place import Place, place_of
from spikegpt_neuro.cluster.pool import opened
from spikegpt_neuro.cluster.task import Task
from spikegpt_neuro.documents import converted
from spikegpt_neuro.errors import MissingBackend, SpikeGPTError, WorkerFailed
from spikegpt_neuro.files import write_atomically
from spikegpt_neuro.results import Result
from spikegpt_neuro.running import Progress
from spikegpt_neuro.sweeps.agenda import Agenda
from spikegpt_neuro.sweeps.folder import PLACES, Basis, Folder
from spikegpt_neuro.sweeps.plan import read_plan
from spikegpt_neuro.sweeps.reading import SweepTable, sweep_table
from spikegpt_neuro.sweeps.step import Failure, Outcome, Step
from spikegpt_neuro.sweeps.table import Cell, Row, flat, read_table, written
from spikegpt_neuro.version import __version__

__all__ = ["SweepPlan", "SweepTable", "Swept", "sweep", "sweep_plan", "sweep_table"]

HASHED = ("checkpoint", "text")
"""Files whose sha256 is in the table."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class SweepPlan(Result):
    """What a sweep would do: ``points``: the options of each."""

    points: tuple[Mapping[str, Any], ...]
    steps: Mapping[str, int]

    HEADLINE: ClassVar[tuple[str, ...]] = ("steps",)

    def rows(self) -> list[dict[str, Any]]:
        """A row per point."""
        return [dict(point) for point in self.points]


@dataclass(frozen=True, repr=False)
class Swept(Result):
    """A sweep that has ended.

    ``points``    of the plan: ``done`` with all their figures, ``failed`` with an error.
    ``computed``  kind of step -> how many were computed in this run, each for all points that
                  share it.
    ``table``     the CSV file with a row per point.
    """

    points: int
    done: int
    failed: int
    computed: Mapping[str, int]
    table: Path

    HEADLINE: ClassVar[tuple[str, ...]] = ("points", "done", "failed", "table")

    def rows(self) -> list[dict[str, Any]]:
        """A row per point: options, figures, versions and hashes."""
        return [dict(row) for row in read_table(self.table).rows]


def sweep_plan(plan: PathLike | Mapping[str, Any]) -> SweepPlan:
    """The points of a plan, and how many steps of each kind they are in all.

    Raises what :func:`sweep` raises for a plan.

    Examples
    --------
    >>> plan = {"checkpoint": "model.pth", "vocab": "vocab.json", "text": "text.txt",
    ...         "grid": {"weight_bits": [8, 4], "hw": ["loihi2"]}}
    >>> found = sgn.sweep_plan(plan)
    >>> len(found.points), found.steps["convert"]
    (2, 2)
    """
    points = planned(read_plan(plan))
    steps = {step.name: step.kind for point in points for step in point.steps}
    kinds = list(steps.values())
    return SweepPlan(
        tuple({"point": p.point.number, **p.point.options} for p in points),
        {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
    )


def sweep(
    plan: PathLike | Mapping[str, Any],
    output: PathLike,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    cluster: PathLike | None = None,
    force: bool = False,
    progress: Progress | Stages | None = None,
) -> Swept:
    """Carry out a plan: convert, evaluate, place, price and simulate every combination.

    What several points share (a conversion, a run of the integers, a placement) is computed once.
    Every step is kept in the directory ``output`` when it is done: the same call goes on where it
    was interrupted. The figures are those of the single functions.

    Parameters
    ----------
    plan
        A TOML file, or a mapping: options with their values, and ``grid``: options with lists of
        values. Files are relative to the plan's file (of a mapping: to the working directory).
    workers
        Divide the steps among so many processes of this machine (extra ``cluster``).
    scheduler
        Divide them among the workers of a Dask scheduler, ``tcp://HOST:PORT``, which find the
        files of the plan, and ``output``, at the same paths.
    cluster
        Divide them among jobs of SLURM or another queue, which this YAML file describes
        (``docs/cluster.md``); ``workers`` is then how many. No figure depends on any of it.
    force
        Take over a directory with results of another plan; steps that both have are kept.

    Raises
    ------
    UnsupportedInput
        The plan has an unknown key or a file that cannot be read; no scheduler answers; a worker
        has another version or other files.
    UsageError
        Nothing to cross, or options that no verb of the plan has.
    CannotWrite
        ``output`` holds something else, or results of another plan.
    WorkerFailed, MissingBackend
        The scheduler is gone, or a worker lacks a package. Finished steps are kept.

    Notes
    -----
    A point that fails is a row with its error; the others go on. A failed step is tried again by
    the next call, unless the model itself is the reason (it does not fit).

    Examples
    --------
    >>> plan = {"checkpoint": "model.pth", "vocab": "vocab.json", "calibrate": "text.txt",
    ...         "text": "text.txt", "tokens": 64, "grid": {"weight_bits": [8, 4]}}
    >>> sgn.sweep(plan, "results").done
    2
    """
    place = place_of(workers, scheduler, cluster)
    read = read_plan(plan)
    points = planned(read)
    folder = Folder(Path(output).absolute())
    folder.open(Basis(read.to_dict(), __version__), force)
    agenda = Agenda(folder)
    for point in points:
        for step in point.shown.values():
            agenda.add(step)
    with _told_what_is_left(points, agenda), stage(progress, "sweep", "steps") as shown:
        for step, outcome in _outcomes(agenda, place):
            agenda.done(step, outcome)
            if shown is not None:
                shown(*agenda.progress)
    return _swept(points, agenda)


def _outcomes(agenda: Agenda, place: Place | None) -> Iterator[tuple[Step, Outcome]]:
    """What the steps give, as they are done."""
    if place is None:
        while (step := agenda.next()) is not None:
            yield step, carry_out_here(_work(agenda, step))
        return
    if not agenda.progress[1]:
        return  # nothing is left: nobody need start
    sent: list[Step] = []

    def tasks() -> Iterator[Task | None]:
        while True:
            step = agenda.next()
            if step is not None:
                sent.append(step)
            yield None if step is None else Task(asdict(_work(agenda, step)))

    with opened(place, dashboard=True) as pool:
        if (address := pool.dashboard) is not None:
            log.info("Dask's dashboard: %s", address)
        for index, answer in pool.outcomes(carry_out, tasks()):
            yield sent[index], _outcome(answer, place)


def _outcome(answer: Any, place: Place) -> Outcome:
    """What a worker answered; its refusals end the run, what its work did is an outcome."""
    if isinstance(answer, WorkerFailed) or (isinstance(answer, MissingBackend) and place.is_here):
        return Outcome(error=Failure(type(answer).__name__, str(answer)))
    if isinstance(answer, SpikeGPTError):
        raise answer
    return converted(answer, Outcome, where="a worker's answer")


def _work(agenda: Agenda, step: Step) -> Work:
    """A step as it is carried out, with what those before it wrote."""
    needs = {}
    for role, needed in step.needs.items():
        found = agenda.outcome(needed)
        assert found is not None
        (checksum,) = found.files.values()
        needs[role] = (str(agenda.folder.place(needed)), checksum)
    output = str(agenda.folder.place(step)) if step.kind in PLACES else None
    return Work(step.kind, dict(step.parameters), dict(step.files), needs, output)


@contextmanager
def _told_what_is_left(points: Sequence[Planned], agenda: Agenda) -> Iterator[None]:
    """Say where a run begins and where it was cut off; the table is written in any case."""
    done = sum(_is_finished(point, agenda) for point in points)
    if done:
        log.info("%d of %d points are there, %d are left", done, len(points), len(points) - done)
    try:
        yield
    except BaseException:
        _write_table(points, agenda)
        left = sum(not _is_finished(point, agenda) for point in points)
        log.warning("%d of %d points are left; the same call goes on there", left, len(points))
        raise
    _write_table(points, agenda)
    agenda.folder.tidy()


def _is_finished(point: Planned, agenda: Agenda) -> bool:
    return all(agenda.outcome(step) is not None for step in point.shown.values())


def _swept(points: Sequence[Planned], agenda: Agenda) -> Swept:
    failed = sum(next(agenda.failures(p.shown.values()), None) is not None for p in points)
    return Swept(
        points=len(points),
        done=len(points) - failed,
        failed=failed,
        computed=dict(agenda.computed),
        table=agenda.folder.table,
    )


def _write_table(points: Sequence[Planned], agenda: Agenda) -> None:
    """The rows of all points that are finished."""
    rows = [_row(point, agenda) for point in points if _is_finished(point, agenda)]
    hashes = dict.fromkeys(name for row in rows for name in row if name.startswith("sha256."))
    last = ("remarks", "version", *hashes)
    write_atomically(agenda.folder.table, written(rows, last))


def _row(point: Planned, agenda: Agenda) -> Row:
    """Options, figures of every verb, then remarks, version and hashes."""
    outcomes = {verb: agenda.outcome(step) for verb, step in point.shown.items()}
    failure = next(agenda.failures(point.shown.values()), None)
    figures, remarks = dict[str, Cell](), dict[str, None]()
    for verb, outcome in outcomes.items():
        assert outcome is not None
        figures |= flat(outcome.figures, verb)
        remarks |= dict.fromkeys(outcome.remarks)
    return {
        "point": point.point.number,
        **flat(point.point.options),
        "error": None if failure is None else f"{failure[0].kind}: {failure[1].text}",
        **figures,
        "remarks": json.dumps(list(remarks)) if remarks else None,
        "version": __version__,
        **_hashes(point, outcomes["convert"]),
    }


def _hashes(point: Planned, conversion: Outcome | None) -> dict[str, Cell]:
    """Of the files, and of every step, which depend on all that it was made from."""
    files = {
        f"sha256.{name}": held.split()[0]
        for step in point.shown.values()
        for name, held in step.files.items()
        if name in HASHED
    }
    artifact = None if conversion is None else conversion.files.get("graph")
    steps = {f"sha256.{verb}": step.name for verb, step in point.shown.items()}
    return {**files, "sha256.artifact": artifact, **steps}
