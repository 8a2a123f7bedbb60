"""The path to hardware, against a test double of Lava's Loihi extension; and without one.

The double (``loihi_double/``) has what is documented in public and raises on anything else. Its
neuro cores compute as the stock fixed-point models do; its journal says what happened to the board.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spikegpt_neuro.backends.loihi import access
from spikegpt_neuro.backends.loihi.backend import LoihiBackend
from spikegpt_neuro.backends.loihi.capacity import Capacity, capacity
from spikegpt_neuro.backends.loihi.connection import Connection, find_connection
from spikegpt_neuro.backends.loihi.outcome import measured_profile
from spikegpt_neuro.backends.reference import ReferenceBackend
from spikegpt_neuro.cli import run as run_cli
from spikegpt_neuro.energy.record import from_json, to_json
from spikegpt_neuro.errors import (
    CheckFailed,
    MissingBackend,
    SpikeGPTError,
    UnsupportedInput,
    UsageError,
    WorkerFailed,
)
from spikegpt_neuro.hardware.profile import load_profile
from spikegpt_neuro.running import first_mismatch, get_backend
from spikegpt_neuro.vocabulary import CharacterVocabulary

from children import assert_nothing_left, child, processes_of
from loihi_setting import PATIENCE, journal_of, with_double
from places import SUPPORT
from toy_graph import VOCABULARY, toy_graph

TOKENS = np.random.default_rng(1).integers(0, VOCABULARY, 11)
STEPS = 11 + 3  # value, LIF, head
SYSTEM = "oheogulch,ncl-og-05"

needs_lava = pytest.mark.skipif(
    importlib.util.find_spec("lava") is None, reason="Lava is not installed"
)
needs_proc = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")
without_extension = pytest.mark.skipif(
    access.is_installed(), reason="Lava's Loihi extension is installed"
)


@pytest.fixture(autouse=True)
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where job directories of this test go; made after ``tmp_path``, which is elsewhere."""
    for name in ("SLURM", "PARTITION", "BOARD", "NXSDKHOST", "LOIHI_GEN"):
        monkeypatch.delenv(name, raising=False)
    for key in ("SLURM", "HOST", "CHIP_GENERATION", "CONFIG"):
        monkeypatch.delenv(f"SPIKEGPT_NEURO_LOIHI_{key}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with tempfile.TemporaryDirectory(prefix="sgn-test-") as directory:
        monkeypatch.setattr(tempfile, "tempdir", directory)
        yield Path(directory)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lava finds the double; what happens to its board is in the file."""
    path = tmp_path / "journal"
    for name, value in with_double(path).items():
        monkeypatch.setenv(name, value)
    return path


def hardware(**options: object) -> LoihiBackend:
    return LoihiBackend(**{"slurm": SYSTEM, "time_limit": PATIENCE, **options})  # type: ignore[arg-type]


def plan_of(backend: LoihiBackend) -> Capacity:
    return capacity(backend.deployment(toy_graph()), load_profile("loihi2-1"))


# With the double.


@needs_lava
def test_a_run_opens_runs_once_and_closes(journal: Path, jobs: Path) -> None:
    graph = toy_graph()
    run = hardware().run(graph, TOKENS, record="events")
    reference = ReferenceBackend().run(graph, TOKENS, record="events")
    assert first_mismatch(graph, run, reference) is None
    assert run.activity == reference.activity
    assert journal_of(journal) == ["open", f"run {STEPS}", "close"]
    assert_nothing_left(jobs)


@needs_lava
def test_a_measured_run_has_one_profiler_run_and_process_for_each_probe(
    journal: Path, jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOIHI_DOUBLE_RAILS", "1")
    backend = hardware()
    found = measured_profile(backend, plan_of(backend), TOKENS, ("time", "energy", "activity"))
    around = ["open", f"run {STEPS}", "close"]
    said = [line for line in journal_of(journal) if not line.startswith("read")]
    assert said == [
        *("profiler", f"time probe {STEPS} 1 {STEPS} 1 {STEPS}", *around),
        *("profiler", f"energy probe {STEPS}", *around),
        *("activity", *around),
    ]
    lines = journal_of(journal)
    assert lines.index("read time") > lines.index("close")
    record = found.record
    assert record.is_measured
    assert found.first_mismatch is None
    assert record.seconds.value == pytest.approx(STEPS * 1e-3)
    assert record.total.value == pytest.approx(STEPS * 2e-3)
    assert record.joules["static"].value == pytest.approx(STEPS * 1.5e-3)
    assert record.raw["watts"]["vdd_power"] == pytest.approx(1.2)
    assert record.raw["energy"]["power"] == [2.0] * STEPS
    assert record.raw["counts"]["syn_ops"] == 6000 * STEPS
    assert from_json(to_json(record)) == record
    assert {(r.category, r.quantity) for r in found.rows} >= {
        ("static", "energy"),
        ("dynamic", "energy"),
        ("synapse", "synaptic_operation"),
        ("neuron", "neuron_access"),
        ("spike", "axon_out"),
    }
    assert_nothing_left(jobs)


@needs_lava
@pytest.mark.parametrize(
    ("trouble", "kind", "error"),
    [
        ("raise", WorkerFailed, "the board is on fire"),
        pytest.param(
            "silent", CheckFailed, "the probe recorded no execution time", marks=pytest.mark.slow
        ),
        ("alone", CheckFailed, "no neuro-core model of"),
    ],
)
def test_trouble_is_one_line_and_the_board_is_released(
    trouble: str,
    kind: type[SpikeGPTError],
    error: str,
    journal: Path,
    jobs: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOIHI_DOUBLE_TROUBLE", trouble)
    with pytest.raises(kind, match=error) as caught:
        hardware().measure(toy_graph(), TOKENS, "time")
    assert "\n" not in str(caught.value)
    happened = journal_of(journal)
    assert ("open" in happened) == ("close" in happened) == (trouble != "alone")
    assert_nothing_left(jobs)


@pytest.mark.slow
@needs_lava
@needs_proc
def test_a_time_limit_lets_go_of_the_board(
    journal: Path, jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOIHI_DOUBLE_TROUBLE", "hang")
    monkeypatch.setattr("spikegpt_neuro.backends.loihi.backend.GRACE_SECONDS", 30.0)
    with pytest.raises(WorkerFailed, match="time limit of 12 s"):
        hardware(time_limit=12.0).run(toy_graph(), TOKENS)
    assert journal_of(journal) == ["open", f"run {STEPS}", "close"]
    assert_nothing_left(jobs)


MEASURE_FOR_EVER = """
import numpy as np
from toy_graph import toy_graph
from spikegpt_neuro.backends.loihi.backend import LoihiBackend
LoihiBackend(slurm="oheogulch").run(toy_graph(), np.zeros(11, np.int64))
"""


@needs_lava
@needs_proc
@pytest.mark.parametrize(
    "end", [pytest.param(signal.SIGKILL, marks=pytest.mark.slow), signal.SIGINT]
)
def test_the_board_is_released_when_the_caller_ends(
    end: signal.Signals, journal: Path, jobs: Path
) -> None:
    path = os.pathsep.join([str(SUPPORT), os.environ["PYTHONPATH"]])
    settings = {"TMPDIR": str(jobs), "PYTHONPATH": path, "LOIHI_DOUBLE_TROUBLE": "hang"}
    with child(
        [sys.executable, "-c", MEASURE_FOR_EVER],
        stderr=subprocess.DEVNULL,
        env={**os.environ, **settings},
    ) as caller:
        begin = time.monotonic()
        while f"run {STEPS}" not in journal_of(journal):
            assert time.monotonic() - begin < PATIENCE
            time.sleep(0.1)
        assert len(processes_of(jobs)) > len(toy_graph().populations)
        caller.send_signal(end)
        assert caller.wait(PATIENCE) == -end
    assert_nothing_left(jobs)
    assert journal_of(journal)[-1] == "close"


@needs_lava
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"slurm": "nowhere"}, "no partition 'nowhere' is up; sinfo shows oheogulch"),
        ({"slurm": "oheogulch,ncl-og-06"}, "board 'ncl-og-06' is not there or down"),
        ({"slurm": None, "host": "10.0.0.9"}, "10.0.0.9 .*ping"),
    ],
)
def test_a_system_that_does_not_answer(
    options: dict[str, str], error: str, journal: Path, jobs: Path
) -> None:
    with pytest.raises(CheckFailed, match=error):
        hardware(**options).run(toy_graph(), TOKENS)
    assert journal_of(journal) == []
    assert_nothing_left(jobs)


@needs_lava
def test_a_host_on_the_network_and_no_system_at_all(journal: Path) -> None:
    run = hardware(slurm=None, host="10.0.0.1").run(toy_graph(), TOKENS, record="logits")
    assert np.count_nonzero(run.logits_int)
    with pytest.raises(UsageError, match=r"no Loihi 2 system is named: give slurm='partition"):
        hardware(slurm=None).run(toy_graph(), TOKENS)


# Without the extension.


@needs_lava
@without_extension
def test_every_entry_says_what_is_missing(jobs: Path) -> None:
    backend = get_backend("loihi")
    assert isinstance(backend, LoihiBackend)
    for entry in (
        lambda: backend.run(toy_graph(), TOKENS),
        lambda: backend.measure(toy_graph(), TOKENS, "energy"),
        lambda: backend.session(toy_graph()),
    ):
        with pytest.raises(MissingBackend, match=r"loihi2_profiler is not installed: .*INRC"):
            entry()
    assert_nothing_left(jobs)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """The toy graph, saved, with letters for tokens."""
    letters = CharacterVocabulary(("\n", *"abcdefghij"))
    path = tmp_path / "toy.sgn"
    replace(toy_graph(), vocabulary=letters).save(str(path))
    return path


@needs_lava
@without_extension
@pytest.mark.parametrize(
    "verb",
    [
        ["profile", "--backend", "loihi", "--slurm", "oheogulch"],
        ["profile", "--backend", "loihi", "-o", "record.json"],
        ["simulate", "--backend", "loihi"],
        ["generate", "abc", "--backend", "loihi"],
    ],
)
def test_every_verb_ends_with_4_and_one_line(
    verb: list[str], artifact: Path, jobs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name, *options = verb
    text = [] if name == "generate" else ["--prompt", "abc"]
    assert run_cli([name, str(artifact), *options, *text]) == 4
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "Loihi extension (lava-loihi) is not public" in said.err
    assert_nothing_left(jobs)


@needs_lava
def test_a_rehearsal_from_the_command_line(
    artifact: Path, jobs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--backend", "loihi", "--rehearse", "--verify", "--only-projection", "head"]
    assert run_cli(["simulate", str(artifact), *options, "--prompt", "abcabc", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["matches_reference"] is True
    assert_nothing_left(jobs)


def test_a_dry_run_needs_neither_extension_nor_system(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = tmp_path / "job"
    verb = ["profile", str(artifact), "--backend", "loihi", "--prompt", "abc", "--dry-run"]
    assert run_cli([*verb, "-o", str(job), "--layers", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trips"] == 2
    assert json.loads((job / "job.json").read_text())["options"]["layers"] == "0"
    assert run_cli(verb) == 2
    assert "--dry-run writes a job folder; name it with -o" in capsys.readouterr().err


# Which system.


NO_FILE = str(Path(os.devnull))


@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        ({"slurm": "a,b"}, {"SPIKEGPT_NEURO_LOIHI_HOST": "h"}, ("a", "b", None, "options")),
        ({}, {"SPIKEGPT_NEURO_LOIHI_HOST": "h", "SLURM": "1"}, (None, None, "h", "environment")),
        ({}, {"SLURM": "1", "PARTITION": "p"}, ("p", None, None, "Lava's environment")),
        ({}, {"SLURM": "1", "BOARD": "b"}, (None, "b", None, "Lava's environment")),
        ({}, {"NXSDKHOST": "h"}, (None, None, "h", "Lava's environment")),
    ],
)
def test_the_first_source_decides(
    options: dict[str, str], environment: dict[str, str], expected: tuple[str | None, ...]
) -> None:
    found = find_connection(options, environment, NO_FILE)
    assert found is not None
    assert (found.partition, found.board, found.host, found.source) == expected


def test_the_configuration_file_is_read_last(tmp_path: Path) -> None:
    file = tmp_path / "loihi.toml"
    file.write_text('slurm = "p"\nchip_generation = "N3C1"\n')
    assert find_connection({}, {}, str(file)) == Connection("p", None, "N3C1", str(file))
    named = {"SPIKEGPT_NEURO_LOIHI_CONFIG": str(file)}
    found = find_connection({"host": "h"}, named)
    assert found == Connection(None, "h", "N3C1", "options")
    file.write_text('board = "p"\n')
    with pytest.raises(UnsupportedInput, match=r"loihi.toml: board: unknown key; expected .*slurm"):
        find_connection({}, named)


def test_contradictions_are_refused() -> None:
    with pytest.raises(UsageError, match="options: names a SLURM partition and a host"):
        find_connection({"slurm": "p", "host": "h"}, {}, NO_FILE)
    with pytest.raises(UsageError, match="chip generation 'N2A2': Loihi 2 has N3B2"):
        find_connection({"slurm": "p", "chip_generation": "N2A2"}, {}, NO_FILE)
    assert find_connection({}, {}, NO_FILE) is None


def test_doctor_says_what_is_there_and_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["loihi_system"] is None
    assert "--slurm partition[,board]" in report["loihi_missing"]["loihi_system"]
    assert report["loihi"] is access.is_installed()
    assert ("INRC" in report["loihi_missing"].get("loihi", "")) is not report["loihi"]
    monkeypatch.setenv("SPIKEGPT_NEURO_LOIHI_SLURM", SYSTEM)
    assert run_cli(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["loihi_system"] == f"SLURM {SYSTEM}, N3B3 (from environment)"
