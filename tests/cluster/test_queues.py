"""Jobs of a queue: the file that describes them, and a real SLURM that loses some."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

import spikegpt_neuro as sgn
from spikegpt_neuro.cluster.jobs import read_queue
from spikegpt_neuro.cluster.place import Place, place_of
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.errors import UnsupportedInput, UsageError

from random_models import random_model, random_tokens, save_upstream, write_vocabulary
from slurm import slurm, why_not

# Its import takes Ctrl-C: not here.
pytestmark = pytest.mark.skipif(find_spec("dask_jobqueue") is None, reason="no dask-jobqueue")

FILE = """
jobs: 2
jobqueue:
  slurm:
    queue: main
    cores: 1
    memory: 2GB
    walltime: "00:10:00"
    log-directory: {folder}/logs
    local-directory: {folder}/scratch
    scheduler-options: {{host: 127.0.0.1}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "slurm.yaml"
    path.write_text(FILE.format(folder=tmp_path), encoding="utf-8")
    return path


KEPT = """
import signal, sys
from spikegpt_neuro.cluster.jobs import read_queue
before = signal.getsignal(signal.SIGINT)
read_queue(sys.argv[1])
assert "dask_jobqueue" in sys.modules
assert signal.getsignal(signal.SIGINT) is before
"""


def test_ctrl_c_stays_with_whoever_runs(file: Path) -> None:
    subprocess.run([sys.executable, "-c", KEPT, str(file)], check=True)


def test_a_file_says_what_jobs_are(file: Path) -> None:
    found = read_queue(file)
    assert (found.system, found.jobs, found.settings["processes"]) == ("slurm", 2, 1)
    assert read_queue(file, 5).jobs == 5
    assert place_of(3, None, file) == Place(workers=3, cluster=file)
    with pytest.raises(UsageError, match="two places"):
        place_of(None, "tcp://127.0.0.1:8786", file)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("queue: main", "queeu: main", "jobqueue.slurm.queeu: unknown key; expected one of"),
        ("slurm:", "slurn:", "jobqueue.slurn: expected one of slurm, pbs"),
        ("jobs: 2", "jobs: none", "jobs: expected a whole number"),
        ("jobs: 2", "workers: 2", "workers: expected jobs or jobqueue"),
        ("memory: 2GB", "", "jobqueue.slurm.memory: is missing"),
        ("jobs: 2", "jobs: !!python/object/apply:os.system [true]", "not a YAML file"),
    ],
)
def test_what_is_wrong_with_it_is_named(file: Path, old: str, new: str, line: str) -> None:
    file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(UnsupportedInput, match=line):
        read_queue(file)


def test_no_queue_here_is_one_line(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(file.parent))
    with pytest.raises(UnsupportedInput, match="sbatch is not here"):
        sgn.evaluate(_artifact(file.parent), random_tokens(MODEL, 300), cluster=file)


MODEL = random_model(layers=2, width=16, vocab_size=256, seed=7)


def _artifact(folder: Path) -> Path:
    sgn.save(lower(MODEL, random_tokens(MODEL, 600, seed=3)), folder / "model.sgn")
    return folder / "model.sgn"


# A real SLURM on this machine.


@pytest.fixture(scope="module")
def queue() -> Iterator[None]:
    if (reason := why_not()) is not None:
        pytest.skip(f"no SLURM: {reason}")
    before = os.environ.get("SLURM_CONF")
    with slurm() as conf:
        os.environ["SLURM_CONF"] = str(conf)
        yield
        if before is None:
            del os.environ["SLURM_CONF"]
        else:
            os.environ["SLURM_CONF"] = before


@contextmanager
def _watched(cancelled: int) -> Iterator[set[str]]:
    """The ids of all jobs that run meanwhile; the first ``cancelled`` are cancelled at work."""
    seen: dict[str, float] = {}
    over = Event()

    def watch() -> None:
        while not over.wait(0.5):
            command = ["squeue", "--noheader", "--states=R", "--format=%i"]
            for job in subprocess.run(command, capture_output=True, text=True).stdout.split():
                seen.setdefault(job, time.monotonic())
            for job in list(seen)[:cancelled]:
                if time.monotonic() - seen[job] > 5:
                    subprocess.run(["scancel", job], check=False)

    thread = Thread(target=watch)
    thread.start()
    ids: set[str] = set()
    try:
        yield ids
    finally:
        over.set()
        thread.join()
        ids.update(seen)


@pytest.mark.slow
@pytest.mark.usefixtures("queue")
def test_a_text_is_scored_by_jobs_of_which_one_is_cancelled(file: Path) -> None:
    artifact, tokens = _artifact(file.parent), random_tokens(MODEL, 120_001)
    alone = sgn.evaluate(artifact, tokens, window=32)
    with _watched(cancelled=1) as jobs:
        found = sgn.evaluate(artifact, tokens, window=32, piece=1, cluster=file)
    assert found == alone
    assert len(jobs) >= 3


@pytest.mark.slow
@pytest.mark.usefixtures("queue")
def test_a_job_that_is_cancelled_before_its_worker_came_is_replaced(file: Path) -> None:
    """The scheduler never knew it, so nobody tells that it went away."""
    artifact, tokens = _artifact(file.parent), random_tokens(MODEL, 2_001)
    content = file.read_text(encoding="utf-8").replace("jobs: 2", "jobs: 1")
    file.write_text(f"{content}    job-script-prologue: [sleep 8]\n", encoding="utf-8")
    with _watched(cancelled=1) as jobs:
        found = sgn.evaluate(artifact, tokens, window=32, cluster=file)
    assert found == sgn.evaluate(artifact, tokens, window=32)
    assert len(jobs) >= 2


@pytest.mark.slow
@pytest.mark.usefixtures("queue")
def test_a_sweep_loses_a_job_to_scancel_and_one_to_its_time_limit(
    file: Path, tmp_path: Path
) -> None:
    """One job of a minute at a time; the sweep takes more than that."""
    pytest.importorskip("torch")
    write_vocabulary(tmp_path / "vocab.json")
    save_upstream(tmp_path / "model.pth", random_model(1, 32, 96))
    text = "The return value is a new object. If the argument is None, the default is used. "
    (tmp_path / "text.txt").write_text(text * 2000, encoding="utf-8")
    plan: dict[str, Any] = {
        "checkpoint": str(tmp_path / "model.pth"),
        "calibrate": str(tmp_path / "text.txt"),
        "text": str(tmp_path / "text.txt"),
        "verbs": ["evaluate"],
    }
    begin = time.monotonic()
    sgn.sweep(plan | {"grid": {"window": [99, 100]}}, tmp_path / "first")
    each = (time.monotonic() - begin) / 2
    windows = [101 + k for k in range(min(400, ceil(160 / each)))]  # once it is fast, too
    plan["grid"] = {"window": windows}
    alone = sgn.sweep(plan, tmp_path / "alone", workers=2)
    shorter = file.read_text(encoding="utf-8").replace("jobs: 2", "jobs: 1")
    file.write_text(shorter.replace("00:10:00", "00:01:00"), encoding="utf-8")
    with _watched(cancelled=1) as jobs:
        found = sgn.sweep(plan, tmp_path / "results", cluster=file)
    assert (found.done, found.failed) == (len(windows), 0)
    assert found.table.read_bytes() == alone.table.read_bytes()
    assert len(jobs) >= 3
    logs = "".join(log.read_text() for log in (tmp_path / "logs").iterdir())
    assert "DUE TO TIME LIMIT" in logs
    assert "CANCELLED AT" in logs.replace("DUE TO TIME LIMIT", "")


@pytest.mark.slow
@pytest.mark.usefixtures("queue")
def test_a_job_that_slurm_refuses_is_one_line(file: Path) -> None:
    wrong = file.read_text(encoding="utf-8").replace("queue: main", "queue: none")
    file.write_text(wrong, encoding="utf-8")
    with pytest.raises(UnsupportedInput, match=r"sbatch refuses the job: .*[Ii]nvalid partition"):
        sgn.evaluate(_artifact(file.parent), random_tokens(MODEL, 300), cluster=file)
