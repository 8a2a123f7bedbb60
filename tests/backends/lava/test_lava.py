"""Lava gives the reference's integers, and nothing of it survives, whatever happens."""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from resource import RLIMIT_AS, RLIMIT_NOFILE, RLIMIT_NPROC, RLIMIT_STACK
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spikegpt_neuro import api
from spikegpt_neuro.backends.lava import limits, machine
from spikegpt_neuro.backends.lava.backend import FRAME_TOKENS, LavaBackend
from spikegpt_neuro.backends.lava.compat import load_lava
from spikegpt_neuro.backends.lava.job import Granularity, job_directory, sockets_of, write_job
from spikegpt_neuro.backends.reference import ReferenceBackend
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.errors import (
    CannotWrite,
    DoesNotFit,
    MissingBackend,
    UnsupportedInput,
    UsageError,
    WorkerFailed,
)
from spikegpt_neuro.graph.graph import Population, SpikingGraph
from spikegpt_neuro.neurons import LIF
from spikegpt_neuro.running import Run, first_mismatch

from children import assert_nothing_left, child, processes_of
from places import EXAMPLES, SUPPORT
from random_models import random_model, random_tokens
from sparse_graphs import pruned, sparse
from toy_graph import VOCABULARY, WIDTH, toy_graph, with_other_weight

PATIENCE = 240.0
LIMITS = (RLIMIT_AS, RLIMIT_NOFILE, RLIMIT_NPROC, RLIMIT_STACK)
GRANULARITIES: tuple[Granularity, ...] = ("population", "block")
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"layers": 3},
    "ffnPre": {"layers": 1, "ffn_pre": True},
    "spike_input": {"layers": 1, "spike_input": True},
    "real embedding": {"layers": 1, "spike_embedding": False},
}

needs_lava = pytest.mark.skipif(
    importlib.util.find_spec("lava") is None, reason="Lava is not installed"
)
needs_proc = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")


@pytest.fixture(autouse=True)
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where job directories of this test go, so that tests running beside it do not count.

    Not inside ``tmp_path``, whose length no socket's path could bear; but made after it.
    """
    with tempfile.TemporaryDirectory(prefix="sgn-test-") as directory:
        monkeypatch.setattr(tempfile, "tempdir", directory)
        yield Path(directory)


@pytest.fixture(scope="module")
def example() -> SpikingGraph:
    pytest.importorskip("torch", reason="reading .pth needs torch")
    checkpoint = EXAMPLES / "pydoc-4x128.pth"
    calibration = np.random.default_rng(0).integers(0, 96, 1000)
    return api.convert(checkpoint, vocab=EXAMPLES / "pydoc-vocab.json", calibration=calibration)


@pytest.fixture(scope="module")
def random_graph() -> SpikingGraph:
    model = random_model(layers=3)
    return lower(model, random_tokens(model, 500))


def toy_tokens(count: int = 40) -> np.ndarray:
    return np.random.default_rng(1).integers(0, VOCABULARY, count)


def assert_same(graph: SpikingGraph, run: Run, tokens: np.ndarray) -> None:
    reference = ReferenceBackend().run(graph, tokens, record="events")
    assert first_mismatch(graph, run, reference) is None
    assert run.events.keys() == reference.events.keys()
    assert {n: e.dtype for n, e in run.events.items()} == {
        n: e.dtype for n, e in reference.events.items()
    }
    assert run.activity == reference.activity
    assert {name: reference.counts[name] for name in run.counts} == run.counts
    assert np.count_nonzero(run.logits_int) > 0


@needs_lava
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_lava_loads_where_a_start_method_was_chosen(method: str) -> None:
    code = (
        f"import multiprocessing; multiprocessing.set_start_method({method!r})\n"
        "from spikegpt_neuro.backends.lava.compat import load_lava\n"
        "load_lava(); load_lava(); assert multiprocessing.get_start_method() == 'fork'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@needs_lava
@settings(max_examples=30)
@given(
    current=arrays(np.int32, (12, 5), elements=st.integers(-(2**18), 2**18)),
    du=st.sampled_from([4095, 4094, 1000, 0]),
    dv=st.sampled_from([2048, 1024, 2731, 0, 4096]),
    vth=st.sampled_from([0, 1, 127, 2040, 131071]),
)
def test_our_lif_is_lavas_lif(current: np.ndarray, du: int, dv: int, vth: int) -> None:
    """Membranes, currents and spikes against the stock model itself, at and beyond its limits."""
    load_lava()
    from lava.proc.lif.models import PyLifModelBitAcc

    stock = PyLifModelBitAcc({})
    stock.u, stock.v = np.zeros(5, np.int32), np.zeros(5, np.int32)
    stock.du, stock.dv, stock.vth = du, dv, vth
    stock.bias_mant, stock.bias_exp = np.zeros(5, np.int32), np.zeros(5, np.int32)
    stock.scale_bias()
    stock.scale_threshold()
    ours = LIF(du, dv, vth)
    state = ours.initial_state(5)
    for a in current:
        stock.subthr_dynamics(activation_in=a)
        spikes = stock.spiking_activation()
        stock.reset_voltage(spike_vector=spikes)
        state, events, _ = ours.advance(state, a[None])
        assert np.array_equal(events[0], spikes)
        assert np.array_equal(state[0], stock.u)
        assert np.array_equal(state[1], stock.v)


@needs_lava
@pytest.mark.parametrize(("granularity", "count"), [("population", 256), ("block", 2048)])
def test_example_equals_the_reference(
    example: SpikingGraph, granularity: Granularity, count: int
) -> None:
    tokens = np.random.default_rng(2).integers(0, 96, count)
    seen: list[int] = []
    run = LavaBackend(granularity, time_limit=PATIENCE).run(
        example, tokens, record="events", progress=lambda done, _: seen.append(done)
    )
    assert_same(example, run, tokens)
    assert seen == sorted(seen)
    assert seen[-1] == count
    assert run.seconds > 0
    assert run.startup_seconds > 0


@needs_lava
@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_random_model_equals_the_reference(variant: str, granularity: Granularity) -> None:
    model = random_model(**VARIANTS[variant])
    graph = lower(model, random_tokens(model, 500))
    tokens = random_tokens(model, 256 if variant == "plain" else 48)
    run = LavaBackend(granularity, time_limit=PATIENCE).run(graph, tokens, record="events")
    assert_same(graph, run, tokens)


@needs_lava
def test_random_model_at_block_granularity_over_2048_tokens(random_graph: SpikingGraph) -> None:
    tokens = np.random.default_rng(2).integers(0, 96, 2048)
    run = LavaBackend("block", time_limit=PATIENCE).run(random_graph, tokens, record="events")
    assert_same(random_graph, run, tokens)


@needs_lava
def test_spikes_of_a_lif_that_feeds_projections_only_are_recorded() -> None:
    graph = toy_graph()
    weights = np.full((WIDTH, WIDTH), -127, np.int8)  # one sign only: another mode of Dense
    alone = replace(
        graph,
        projections=tuple(
            replace(q, weights=weights, shift=0) if q.name == "branch" else q
            for q in graph.projections
        ),
    )
    run = LavaBackend("population", time_limit=PATIENCE).run(alone, toy_tokens(), record="events")
    assert_same(alone, run, toy_tokens())
    assert run.events["blocks.0.lif"].any()


@needs_lava
@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("weights", ["some", "one sign", "none"])
def test_sparse_projections_equal_the_reference(granularity: Granularity, weights: str) -> None:
    graph = toy_graph()
    drawn = np.random.default_rng(1).integers(-127, 128, (WIDTH, WIDTH)).astype(np.int8)
    changed = {"some": drawn, "one sign": -abs(drawn), "none": 0 * drawn}[weights]
    alone = replace(  # the LIF's spikes meet weights too
        graph,
        projections=tuple(
            replace(q, weights=changed, shift=0) if q.name in ("branch", "value") else q
            for q in graph.projections
        ),
    )
    thin = sparse(pruned(alone, 0.3))
    run = LavaBackend(granularity, time_limit=PATIENCE).run(thin, toy_tokens(), record="events")
    assert_same(thin, run, toy_tokens())
    reference = ReferenceBackend().run(thin, toy_tokens(), record="events")
    assert run.activity == reference.activity


@needs_lava
def test_recording_less_changes_no_other_result(jobs: Path) -> None:
    graph, tokens = toy_graph(), toy_tokens()
    reference = ReferenceBackend().run(graph, tokens, record="spikes")
    run = LavaBackend("population", time_limit=PATIENCE).run(graph, tokens, record="spikes")
    assert run.events.keys() == reference.events.keys()
    assert run.activity == reference.activity
    np.testing.assert_array_equal(run.logits_int, reference.logits_int)
    assert list(jobs.iterdir()) == []


@needs_lava
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_another_weight_is_found_and_its_population_named(granularity: Granularity) -> None:
    graph, tokens = toy_graph(), toy_tokens()
    reference = ReferenceBackend().run(graph, tokens, record="events")
    tampered = with_other_weight(graph, "value")
    run = LavaBackend(granularity, time_limit=PATIENCE).run(tampered, tokens, record="events")
    found = first_mismatch(graph, run, reference)
    assert found is not None
    assert found.startswith("blocks.0.current, token")


@needs_lava
def test_closed_loop_equals_the_reference(random_graph: SpikingGraph, jobs: Path) -> None:
    token = 5
    with (
        LavaBackend(time_limit=PATIENCE).session(random_graph) as lava,
        ReferenceBackend().session(random_graph) as reference,
    ):
        for _ in range(40):
            logits = lava.step(token)
            np.testing.assert_array_equal(logits, reference.step(token))
            token = int(logits.argmax())
        with pytest.raises(UnsupportedInput, match="token id 96"):
            lava.step(96)
    assert list(jobs.iterdir()) == []


@needs_lava
def test_a_saved_artifact_is_used_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "toy.sgn"
    toy_graph().save(str(path))
    other = with_other_weight(toy_graph(), "value")
    backend = LavaBackend("block", time_limit=PATIENCE, artifact=str(path))
    run = backend.run(other, toy_tokens(), record="events")
    assert_same(toy_graph(), run, toy_tokens())


@needs_lava
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_an_error_inside_lava_is_one_line(
    granularity: Granularity, jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spikegpt_neuro.backends.lava.backend.check_tokens", lambda _, ids: ids)
    tokens = np.array([0, 1, 2, 99, 0, 0])  # 99 is outside the vocabulary
    with pytest.raises(WorkerFailed) as caught:
        LavaBackend(granularity, time_limit=PATIENCE, frame=1).run(toy_graph(), tokens)
    where = "population embedding" if granularity == "population" else "part input"
    assert str(caught.value).startswith(f"Lava: {where}, time step 4: IndexError: index 99 is out")
    assert "\n" not in str(caught.value)
    assert_nothing_left(jobs)


@needs_lava
@needs_proc
def test_a_killed_lava_process_ends_the_run(jobs: Path) -> None:
    def kill_youngest(done: int, _total: int) -> None:
        os.kill(max(processes_of(jobs)), signal.SIGKILL)

    with pytest.raises(WorkerFailed, match=r"Lava: process \d+ ended unexpectedly \(status 9\)"):
        LavaBackend("population", time_limit=PATIENCE).run(
            toy_graph(), endless(), progress=kill_youngest
        )
    assert_nothing_left(jobs)


@needs_lava
@pytest.mark.parametrize("limit", [0.05, 3.0])
def test_time_limit_ends_everything(limit: float, jobs: Path) -> None:
    with pytest.raises(WorkerFailed, match=rf"time limit of {limit:g} s"):
        LavaBackend("population", time_limit=limit).run(toy_graph(), endless(), record="logits")
    assert_nothing_left(jobs)


RUN_FOR_EVER = """
import numpy as np
from toy_graph import toy_graph
from spikegpt_neuro.backends.lava.backend import LavaBackend
LavaBackend("population").run(
    toy_graph(), np.zeros(10_000_000, np.int64), record="logits",
    progress=lambda done, total: print(done, flush=True),
)
"""


@needs_lava
@needs_proc
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_survives_the_caller(end: signal.Signals, jobs: Path) -> None:
    path = os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")])
    with child(
        [sys.executable, "-c", RUN_FOR_EVER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(jobs), "PYTHONPATH": path},
    ) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline()
        assert len(processes_of(jobs)) > len(toy_graph().populations)
        caller.send_signal(end)
        assert caller.wait(PATIENCE) == -end
    assert_nothing_left(jobs)


@needs_lava
@needs_proc
def test_an_interpreter_behind_a_shell(tmp_path: Path, jobs: Path) -> None:
    interpreter = tmp_path / "python"
    interpreter.write_text(f'#!/bin/sh\n{sys.executable} "$@"\n', "utf-8")  # no exec
    interpreter.chmod(0o755)
    backend = LavaBackend("block", time_limit=PATIENCE, lava_python=str(interpreter))
    assert_same(toy_graph(), backend.run(toy_graph(), toy_tokens(), record="events"), toy_tokens())
    with pytest.raises(WorkerFailed, match="time limit"):
        replace(backend, time_limit=3.0).run(toy_graph(), endless(), record="logits")
    assert_nothing_left(jobs)


SEALED_RUN = """
import json, os, sys
from toy_graph import toy_graph
from spikegpt_neuro.backends.lava.backend import LavaBackend
os.environ["PYTHONPATH"] = os.pathsep.join(["", ".", os.getcwd(), os.environ["PYTHONPATH"]])
os.environ["PYTHONSTARTUP"] = os.environ["PYTHONINSPECT"] = "random.py"
backend = LavaBackend("block", lava_python=sys.argv[1])
print(json.dumps(backend.run(toy_graph(), [0, 1, 2] * 5).logits_int.tolist()))
"""
USERS_OWN = """
open("executed.txt", "a").write(__name__ + " ")
print("hello from", __name__)
"""
OF_A_USER = ("random", "numpy", "json", "signal", "threading", "sitecustomize", "usercustomize")


@needs_lava
def test_the_users_own_modules_are_not_executed_and_greetings_do_no_harm(tmp_path: Path) -> None:
    """Neither by the worker nor by the Python that removes shared memory."""
    interpreter = tmp_path / "bin" / "python"
    interpreter.parent.mkdir()
    interpreter.write_text(
        "#!/bin/sh\necho 'lava 0.10 loaded'\nprintf '{\"event\": \"done\"}\\nno end'\n"
        f'exec {sys.executable} "$@"\n',
        "utf-8",
    )
    interpreter.chmod(0o755)
    for name in (*OF_A_USER, "lava", "multiprocessing", "rlcompleter"):
        (tmp_path / f"{name}.py").write_text(USERS_OWN, "utf-8")
    (tmp_path / "bin" / "run.py").write_text(SEALED_RUN, "utf-8")
    done = subprocess.run(
        [sys.executable, "bin/run.py", "bin/python"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SUPPORT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "executed.txt").exists()
    reference = ReferenceBackend().run(toy_graph(), np.array([0, 1, 2] * 5))
    assert json.loads(done.stdout) == reference.logits_int.tolist()


@needs_lava
def test_a_long_path_of_temporary_files_is_no_hindrance(
    jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path of a socket has 107 characters at most; everything else may have more."""
    long, short = jobs / ("x" * 120), jobs / "s"
    for folder in (long, short):
        folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    monkeypatch.setattr("spikegpt_neuro.backends.lava.job.SHORT_PLACES", ("/nowhere", str(short)))
    run = LavaBackend("block", time_limit=PATIENCE).run(toy_graph(), toy_tokens(), record="events")
    assert_same(toy_graph(), run, toy_tokens())
    assert list(long.iterdir()) == list(short.iterdir()) == []
    with job_directory("sgn-") as directory:
        assert directory.parent == long
        assert sockets_of(directory).parent == short
    assert list(long.iterdir()) == list(short.iterdir()) == []
    monkeypatch.setattr("spikegpt_neuro.backends.lava.job.SHORT_PLACES", ("/nowhere",))
    with pytest.raises(CannotWrite, match=r"TMPDIR .* is too long for a socket"):
        LavaBackend("block").run(toy_graph(), toy_tokens())
    assert list(long.iterdir()) == []


def test_no_folder_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(CannotWrite, match=r"no folder for temporary files .*TMPDIR names one"):
        LavaBackend("block").run(toy_graph(), toy_tokens())


def test_results_that_do_not_fit_the_disk(jobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(free=3 << 20)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(CannotWrite, match=rf"{jobs}: the run leaves \d+ MB, 3 MB are free"):
        LavaBackend("block").run(toy_graph(), endless())
    assert list(jobs.iterdir()) == []


def test_the_path_of_an_artifact_does_not_depend_on_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with job_directory("sgn-") as directory:
        job = write_job(
            directory,
            toy_graph(),
            toy_tokens(),
            granularity="block",
            closed_loop=False,
            recorded=(),
            artifact="toy.sgn",
        )
        assert job.settings.artifact == str(tmp_path / "toy.sgn")


@needs_lava
def test_a_channel_without_memory_fails_where_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by a signal in the process that first writes to it."""
    load_lava()
    load_lava()
    from lava.magma.runtime.message_infrastructure.shared_memory_manager import SharedMemoryManager

    reserved: list[int] = []
    monkeypatch.setattr(os, "posix_fallocate", lambda _, start, size: reserved.append(start + size))
    manager = SharedMemoryManager()
    manager.start()
    try:
        manager.create_shared_memory(5000)
    finally:
        manager.shutdown()
    assert reserved == [5000]


def test_what_ended_a_process_and_what_to_look_at() -> None:
    assert machine.fate(signal.SIGBUS).startswith("was ended by SIGBUS: no memory was left")
    assert "/dev/shm has" in machine.fate(signal.SIGBUS)
    assert machine.fate(signal.SIGSEGV) == "was ended by SIGSEGV"
    assert machine.fate(signal.SIGRTMAX + 1).startswith("was ended by signal ")
    assert "ulimit -Su" in machine.advice("can't start new thread")
    assert "ulimit -Hn" in machine.advice("OSError: [Errno 24] Too many open files: 'x'")
    assert "/dev/shm has" in machine.advice("[Errno 28] No space left on device")
    assert machine.advice("IndexError: index 99 is out of bounds") == ""


@pytest.mark.parametrize(
    ("prefix", "text"),
    [
        ("PYTHONPATH={fake} ", "pip install --ignore-requires-python --no-deps lava-nc==0.10.0"),
        ("", "lacks a package"),
    ],
)
def test_an_interpreter_without_lava(prefix: str, text: str, tmp_path: Path, jobs: Path) -> None:
    fake = tmp_path / "fake" / "lava"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text("raise ImportError('no Lava here')\n", "utf-8")
    interpreter = tmp_path / "python"
    option = "" if prefix else "-S "
    interpreter.write_text(
        f'#!/bin/sh\n{prefix.format(fake=fake.parent)}exec {sys.executable} {option}"$@"\n', "utf-8"
    )
    interpreter.chmod(0o755)
    if prefix and sys.version_info < (3, 11):
        text = "pip install lava-nc==0.10.0"
    with pytest.raises(MissingBackend) as caught:
        LavaBackend(lava_python=str(interpreter)).run(toy_graph(), toy_tokens())
    assert caught.value.exit_code == 4
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert_nothing_left(jobs)


def test_an_interpreter_that_does_not_exist() -> None:
    with pytest.raises(MissingBackend, match="/no/python cannot be started: No such file"):
        LavaBackend(lava_python="/no/python").run(toy_graph(), toy_tokens())


@needs_lava
@pytest.mark.parametrize("frame", [1, 3, 64])
def test_integers_do_not_depend_on_the_frame(frame: int, random_graph: SpikingGraph) -> None:
    tokens = np.random.default_rng(4).integers(0, 96, 70)  # no multiple of 3 or 64
    seen: list[int] = []
    backend = LavaBackend("block", time_limit=PATIENCE, frame=frame)
    run = backend.run(
        random_graph, tokens, record="events", progress=lambda done, _: seen.append(done)
    )
    assert_same(random_graph, run, tokens)
    assert all(done % frame == 0 for done in seen[:-1])
    assert seen[-1] == len(tokens)


@needs_lava
def test_a_frame_larger_than_the_text_of_a_real_embedding() -> None:
    model = random_model(layers=1, ffn_pre=True, spike_embedding=False)
    graph = lower(model, random_tokens(model, 100))
    tokens = random_tokens(model, 5)
    run = LavaBackend("block", time_limit=PATIENCE, frame=9).run(graph, tokens, record="events")
    assert_same(graph, run, tokens)


def test_a_time_step_by_population_is_one_token() -> None:
    assert LavaBackend("population").tokens_per_step == 1
    assert LavaBackend("block").tokens_per_step == FRAME_TOKENS
    assert LavaBackend("block", frame=7).tokens_per_step == 7
    with pytest.raises(UsageError, match="by population a time step is one token"):
        LavaBackend("population", frame=64)
    with pytest.raises(UsageError, match="frame is 0: expected 1 token or more"):
        LavaBackend("block", frame=0)


def test_unknown_granularity() -> None:
    with pytest.raises(UsageError, match="granularity is 'neuron', expected one of"):
        LavaBackend("neuron")  # type: ignore[arg-type]


def test_what_the_stock_processes_cannot_compute_is_refused() -> None:
    graph = toy_graph()
    limits.check_stock_arithmetic(graph)
    slow = Population("blocks.0.lif", WIDTH, LIF(du=2047, dv=2048, vth=60))
    changed = replace(
        graph,
        populations=tuple(slow if p.name == slow.name else p for p in graph.populations),
    )
    with pytest.raises(UnsupportedInput, match=r"population blocks\.0\.lif: its current may wrap"):
        limits.check_stock_arithmetic(changed)
    shifted = replace(
        graph,
        projections=tuple(
            replace(q, shift=1) if q.name == "current" else q for q in graph.projections
        ),
    )
    with pytest.raises(UnsupportedInput, match=r"blocks\.0\.lif: a stock LIF cannot shift"):
        limits.check_stock_arithmetic(shifted)


def test_a_dense_sum_that_overflows_when_doubled_is_refused() -> None:
    graph = toy_graph()
    weights = np.full((VOCABULARY, WIDTH), 127, np.int8)
    wide = replace(
        graph,
        projections=tuple(
            replace(q, source="blocks.0.residual", weights=weights) if q.name == "head" else q
            for q in graph.projections
        ),
    )
    for each in (wide, sparse(wide)):
        with pytest.raises(UnsupportedInput, match="projection head: sums up to 1704"):
            limits.check_stock_arithmetic(each)


def test_footprint_counts_the_processes_of_both_granularities() -> None:
    graph = toy_graph()
    population = limits.footprint(graph, "population", closed_loop=False)
    assert (population.processes, population.channels) == (7 + 2 + 1, 7 + 2)
    sent = [graph.by_name[q.source].size for q in graph.projections]
    summed = [graph.by_name[q.target].size for q in graph.projections if q.is_dense]
    assert population.words == 64 * (sum(sent) + sum(summed))
    one, many = (limits.footprint(graph, "block", closed_loop=False, frame=n) for n in (1, 256))
    assert many.words == 256 * one.words > 0
    assert limits.footprint(graph, "block", closed_loop=True).processes == 3 + 2 + 1


def test_too_many_processes_for_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = machine.Footprint(processes=300, channels=400, words=1 << 20)
    unlimited = dict.fromkeys(LIMITS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    monkeypatch.setattr(machine, "_may_exceed_tasks", lambda: False)
    monkeypatch.setattr(machine, "tasks_of_user", lambda: 7)
    monkeypatch.setattr(machine, "available_megabytes", lambda: 4000)
    monkeypatch.setattr(machine, "free_megabytes", lambda _: 19)
    monkeypatch.setattr(machine, "GROUPS", (tmp_path,))
    (tmp_path / "pids.max").write_text("2000", "ascii")
    (tmp_path / "pids.current").write_text("5", "ascii")
    expected = {
        RLIMIT_NOFILE: "3842 open files, the limit is 1000: raise it (ulimit -Hn)",
        RLIMIT_AS: "7100 MB of address space each, the limit is 1000 MB: raise it (ulimit -Sv)",
        RLIMIT_NPROC: (
            "2610 processes and threads, the limit is 1000 and 7 are there: raise it (ulimit -Hu)"
        ),
    }
    for limit, text in expected.items():
        number = 1000 * (machine.MEGABYTE if limit == RLIMIT_AS else 1)
        found = {**unlimited, limit: (number, number)}
        monkeypatch.setattr(resource, "getrlimit", found.__getitem__)
        with pytest.raises(DoesNotFit) as caught:
            machine.check_machine(needs, recorded=10)
        assert text in str(caught.value)
        assert str(caught.value).startswith("300 Lava processes need about ")
        assert str(caught.value).endswith(" or use granularity='block'")
    monkeypatch.setattr(resource, "getrlimit", unlimited.__getitem__)
    with pytest.raises(DoesNotFit, match=r"the container's limit is 2000 and 5 are there"):
        machine.check_machine(needs, recorded=10)
    (tmp_path / "pids.max").write_text("max", "ascii")
    with pytest.raises(DoesNotFit, match=r"20 MB of shared memory, 19 MB are free in /dev/shm"):
        machine.check_machine(needs, recorded=10)
    monkeypatch.setattr(machine, "free_megabytes", lambda _: 20)
    with pytest.raises(DoesNotFit, match=r"need about 4500 MB, 4000 MB .*granularity='block'"):
        machine.check_machine(needs, recorded=10)
    monkeypatch.setattr(machine, "available_megabytes", lambda: 4500)
    machine.check_machine(needs, recorded=10)
    monkeypatch.setattr(machine, "SHARED", tmp_path / "missing")
    with pytest.raises(DoesNotFit, match=r"20 MB of shared memory, and .* cannot be used: mount"):
        machine.check_machine(needs, recorded=10)


def endless() -> np.ndarray:
    return np.zeros(10_000_000, np.int64)
