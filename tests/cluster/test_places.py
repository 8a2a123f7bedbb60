"""Work divided among processes: the same figures, whoever does it and whatever happens to them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spikegpt_neuro as sgn
from spikegpt_neuro.api import dividing
from spikegpt_neuro.cluster import pool
from spikegpt_neuro.cluster.place import Place, place_of
from spikegpt_neuro.cluster.pool import opened
from spikegpt_neuro.cluster.task import Task, carried_out, result_of
from spikegpt_neuro.cluster.upload import checksum, packed, unpacked
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.errors import MissingBackend, UnsupportedInput, UsageError, WorkerFailed
from spikegpt_neuro.evaluation.corpus import python_documentation, training_part
from spikegpt_neuro.evaluation.evaluate import Sums, pieces, scored
from spikegpt_neuro.files import sha256_of
from spikegpt_neuro.graph.artifact import CONFIG
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.sweeps.table import read_table
from spikegpt_neuro.vocabulary import ByteVocabulary

from children import child, workers_of
from places import CHECKPOINT
from random_models import random_model, random_tokens

pytest.importorskip("distributed")

MODEL = random_model(layers=2, width=16, vocab_size=256, seed=7)
TOKENS = random_tokens(MODEL, 1001)
WINDOW = 32
NO_SCHEDULER = "no answer of a Dask scheduler"


@pytest.fixture(scope="module")
def graph() -> SpikingGraph:
    return lower(MODEL, random_tokens(MODEL, 600, seed=3))


@pytest.fixture(scope="module")
def artifact(graph: SpikingGraph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact") / "model.sgn"
    sgn.save(graph, folder)
    return folder


def test_one_place_at_most() -> None:
    assert place_of(None, None) is None
    assert place_of(2, None) == Place(workers=2)
    with pytest.raises(UsageError, match="two places"):
        place_of(2, "tcp://127.0.0.1:8786")
    with pytest.raises(UsageError, match="workers is 0"):
        place_of(0, None)


@pytest.mark.parametrize("windows", [1, 3, 7, 1000])
def test_parts_of_a_text_add_up_to_the_whole_in_any_order(
    graph: SpikingGraph, windows: int
) -> None:
    whole = scored(graph, TOKENS, window=WINDOW).evaluation(graph, TOKENS, WINDOW)
    parts = [scored(graph, part, window=WINDOW) for part in pieces(TOKENS, WINDOW, windows)]
    assert len(parts) == -(-1000 // (WINDOW * windows))
    for order in (parts, parts[::-1], parts[1::2] + parts[::2]):
        sums = Sums()
        for part in order:
            sums.merge(part)
        assert sums.evaluation(graph, TOKENS, WINDOW) == whole


def test_a_result_and_an_error_come_back_as_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spikegpt_neuro.cluster.task._name", lambda: "tcp://there:1")

    def half(argument: Any, payload: bytes) -> dict[str, float]:
        if argument["odd"]:
            raise UnsupportedInput("an odd one")
        return {"half": len(payload) / 3}

    assert result_of(carried_out(Task({"odd": False}).text, b"?", half)) == {"half": 1 / 3}
    with pytest.raises(UnsupportedInput, match="worker tcp://there:1: an odd one"):
        result_of(carried_out(Task({"odd": True}).text, b"", half))


def test_a_worker_of_another_version_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spikegpt_neuro.cluster.task._name", lambda: "tcp://there:1")
    text = Task({}).text
    monkeypatch.setattr("spikegpt_neuro.cluster.task.__version__", "0.0.1")
    refused = carried_out(text, b"", lambda *_: pytest.fail("worked all the same"))
    with pytest.raises(UnsupportedInput, match=r"worker tcp://there:1: has spikegpt-neuro 0\.0\.1"):
        result_of(refused)


def test_a_worker_compares_the_artifact(artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedInput, match="another artifact"):
        dividing._opened(str(artifact), "0" * 64)
    with pytest.raises(UnsupportedInput, match="is not there"):
        dividing._opened(str(tmp_path / "nowhere"), "0" * 64)


def test_no_scheduler_is_one_line(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "CONNECT_SECONDS", 1.0)
    with pytest.raises(UnsupportedInput, match="expected an address"):
        sgn.evaluate(artifact, TOKENS, scheduler="nonsense")
    with socket.socket() as unheard:  # bound, and nobody listens
        unheard.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{unheard.getsockname()[1]}"
        begin = time.monotonic()
        with pytest.raises(UnsupportedInput, match=NO_SCHEDULER):
            sgn.evaluate(artifact, TOKENS, scheduler=address)
        assert time.monotonic() - begin < 5


def test_what_workers_cannot_read_is_refused(graph: SpikingGraph) -> None:
    with pytest.raises(UsageError, match="path of its artifact"):
        sgn.evaluate(graph, TOKENS, scheduler="tcp://127.0.0.1:8786")


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "piece"), [(1, 8), (2, 3), (3, 1)])
def test_the_figures_do_not_depend_on_workers(
    graph: SpikingGraph, artifact: Path, workers: int, piece: int
) -> None:
    alone = sgn.evaluate(artifact, TOKENS, window=WINDOW)
    assert sgn.evaluate(artifact, TOKENS, window=WINDOW, workers=workers, piece=piece) == alone
    if workers == 1:
        assert sgn.evaluate(graph, TOKENS, window=WINDOW, workers=1) == alone


@pytest.mark.slow
def test_the_float_original_is_the_same_on_workers(tmp_path: Path) -> None:
    vocab = CHECKPOINT.with_name("pydoc-vocab.json")
    sgn.save(sgn.convert(CHECKPOINT, vocab=vocab), tmp_path / "model.sgn")
    alone, divided = (
        sgn.evaluate(tmp_path / "model.sgn", limit=3000, against=CHECKPOINT, workers=w, piece=3)
        for w in (None, 2)
    )
    assert divided == alone
    assert alone.float_bits_per_token is not None


@pytest.mark.slow
def test_the_examples_corpus_is_the_same_to_the_last_bit(tmp_path: Path) -> None:
    """Its whole held-out tenth: 1, 2 and 3 workers, odd pieces, and a worker killed half-way."""
    artifact = tmp_path / "example.sgn"
    text = tmp_path / "text.txt"
    text.write_text(training_part(python_documentation())[:20_000], encoding="utf-8")
    vocab = CHECKPOINT.with_name("pydoc-vocab.json")
    sgn.save(sgn.convert(CHECKPOINT, vocab=vocab, calibration=text), artifact)
    alone = json.dumps(sgn.evaluate(artifact).to_dict())
    for workers, piece in ((1, 5), (2, 7), (3, 1)):
        found = sgn.evaluate(artifact, workers=workers, piece=piece)
        assert json.dumps(found.to_dict()) == alone
    killed: list[int] = []

    def kill(done: int, total: int) -> None:
        if not killed and done > total / 2:
            killed.append(workers_of(os.getpid())[0])
            os.kill(killed[0], signal.SIGKILL)

    found = sgn.evaluate(artifact, workers=2, piece=3, progress=kill)
    assert killed
    assert json.dumps(found.to_dict()) == alone


def _tasks(artifact: Path, count: int) -> list[Task]:
    argument = {
        "artifact": str(artifact),
        "checksum": sha256_of(artifact / CONFIG),
        "window": WINDOW,
        "against": None,
    }
    return [Task(argument, TOKENS.astype(dividing.TOKENS_SENT).tobytes())] * count


@pytest.mark.slow
def test_results_that_take_longer_than_a_turn_of_waiting_arrive(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spikegpt_neuro.cluster.pool.POLL_SECONDS", 0.001)
    with opened(Place(workers=1)) as workers:
        found = dict(workers.results(dividing.carry_out, _tasks(artifact, 50)))
    assert found == dict.fromkeys(range(50), found[0])


@pytest.mark.slow
@pytest.mark.parametrize("pause", [0.0, 3.0])
def test_killed_workers_cost_only_their_time(artifact: Path, pause: float) -> None:
    """Killed at work, and (after a pause) with results that nobody has fetched yet."""
    with opened(Place(workers=2)) as workers:
        assert workers.crew is not None
        first, found = workers.crew.ids, dict[int, Any]()
        for index, result in workers.results(dividing.carry_out, _tasks(artifact, 24)):
            if not found:
                time.sleep(pause)
                for each in first:
                    os.kill(int(each), signal.SIGKILL)
            found[index] = result
        assert not set(workers.crew.ids) & set(first)
    assert sorted(found) == list(range(24))
    assert all(result == found[0] for result in found.values())


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def _dask(
    workers: int, packages: Path | None = None
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A scheduler and workers, each a process of its own, over TCP; address and the scheduler.

    ``packages``  where the workers find packages first.
    """
    port = _free_port()
    address = f"tcp://127.0.0.1:{port}"
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    python = [sys.executable, "-m"]
    serving = [*python, "distributed.cli.dask_scheduler", "--no-dashboard", "--host", "127.0.0.1"]
    working = [*python, "distributed.cli.dask_worker", address, "--no-nanny", "--nthreads", "2"]
    with child([*serving, "--port", str(port)], **quiet) as scheduler:
        _listening(port)
        if workers == 0:
            yield address, scheduler
            return
        if packages is not None:
            quiet["env"] = os.environ | {"PYTHONPATH": str(packages)}
        with child(working, **quiet), child(working, **quiet):
            yield address, scheduler


def _listening(port: int) -> None:
    for _ in range(300):
        with socket.socket() as asking:
            if asking.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("the scheduler does not start")


@pytest.mark.slow
def test_a_scheduler_and_two_workers_over_tcp(artifact: Path) -> None:
    alone = sgn.evaluate(artifact, TOKENS, window=WINDOW)
    with _dask(2) as (address, _):
        assert sgn.evaluate(artifact, TOKENS, window=WINDOW, scheduler=address, piece=2) == alone
        with opened(Place(scheduler=address)) as workers:
            wrong = Task({"artifact": str(artifact), "checksum": "", "window": 8, "against": None})
            with pytest.raises(UnsupportedInput, match=r"worker tcp://.*another artifact"):
                list(workers.results(dividing.carry_out, [wrong]))


@pytest.mark.slow
def test_workers_that_do_not_see_the_artifact_get_it(graph: SpikingGraph) -> None:
    alone = sgn.evaluate(graph, TOKENS, window=WINDOW)
    with _dask(2) as (address, _):
        found = sgn.evaluate(graph, TOKENS, window=WINDOW, scheduler=address, piece=3, upload=True)
    assert found == alone


def test_an_upload_is_unpacked_as_it_was_or_refused(artifact: Path, tmp_path: Path) -> None:
    content = packed(artifact)
    place = unpacked(content, checksum(content), tmp_path)
    assert {f.name: f.read_bytes() for f in place.iterdir()} == {
        f.name: f.read_bytes() for f in artifact.iterdir()
    }
    with pytest.raises(UnsupportedInput, match="arrived damaged"):
        unpacked(content[:-1], checksum(content[1:]), tmp_path)
    for name in ("../out", "/out", ".."):
        hostile = b'{"' + name.encode() + b'": 1}\nx'
        with pytest.raises(UnsupportedInput, match="expected plain files"):
            unpacked(hostile, checksum(hostile), tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_worker_without_lava_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "packages" / "lava").mkdir(parents=True)
    refusing = "raise ImportError('no lava here')\n"
    (tmp_path / "packages" / "lava" / "__init__.py").write_text(refusing, encoding="utf-8")
    text = tmp_path / "text.txt"
    text.write_text("The return value is a new object. " * 50, encoding="utf-8")
    plan = {
        "checkpoint": str(CHECKPOINT),
        "vocab": str(CHECKPOINT.with_name("pydoc-vocab.json")),
        "calibrate": str(text),
        "text": str(text),
        "tokens": 8,
        "verbs": ["evaluate", "simulate"],
        "grid": {"backend": ["lava"]},
    }
    refused = r"worker tcp://127.0.0.1:\d+: .*[Ll]ava"
    with (
        _dask(1, tmp_path / "packages") as (address, _),
        pytest.raises(MissingBackend, match=refused),
    ):
        sgn.sweep(plan, tmp_path / "results", scheduler=address)
    assert any((tmp_path / "results" / "steps").iterdir())


@pytest.mark.slow
def test_a_scheduler_that_dies_ends_the_run_with_one_line(artifact: Path) -> None:
    with _dask(2) as (address, scheduler), opened(Place(scheduler=address)) as workers:
        results = workers.results(dividing.carry_out, _tasks(artifact, 500))
        next(results)
        scheduler.kill()
        with pytest.raises(WorkerFailed, match=f"scheduler {address} is gone"):
            list(results)


@pytest.mark.slow
def test_the_verb_prints_the_same_object(graph: SpikingGraph, tmp_path: Path) -> None:
    artifact = tmp_path / "speaking.sgn"
    sgn.save(replace(graph, vocabulary=ByteVocabulary()), artifact)
    text = tmp_path / "text.txt"
    text.write_bytes(np.asarray(TOKENS, np.uint8).tobytes())
    command = [sys.executable, "-m", "spikegpt_neuro", "evaluate", str(artifact), str(text)]
    options: tuple[tuple[str, ...], ...] = ((), ("--workers", "2", "--piece", "1"))
    answers = [
        subprocess.run([*command, "--json", "-q", *more], capture_output=True, text=True)
        for more in options
    ]
    assert [a.returncode for a in answers] == [0, 0], answers[1].stderr
    assert json.loads(answers[0].stdout) == json.loads(answers[1].stdout)


@pytest.mark.slow
def test_a_sweep_whose_scheduler_dies_keeps_what_is_finished(tmp_path: Path) -> None:
    """One line, and the next call goes on there."""
    text = tmp_path / "text.txt"
    text.write_text("The return value is a new object. " * 900, encoding="utf-8")
    plan = {
        "checkpoint": str(CHECKPOINT),
        "vocab": str(CHECKPOINT.with_name("pydoc-vocab.json")),
        "calibrate": str(text),
        "text": str(text),
        "grid": {"window": list(range(100, 112))},
    }
    with _dask(1) as (address, scheduler):

        def kill(done: int, _: int) -> None:
            if done == 3:
                scheduler.kill()

        with pytest.raises(WorkerFailed, match=f"scheduler {address} is gone"):
            sgn.sweep(plan, tmp_path / "results", scheduler=address, progress=kill)
    kept = len(list((tmp_path / "results" / "steps").iterdir()))
    assert 3 <= kept < 13
    assert len(read_table(tmp_path / "results" / "table.csv").rows) == kept - 1
    found = sgn.sweep(plan, tmp_path / "results")
    assert found.done == 12
    assert sum(found.computed.values()) == 13 - kept
