"""The job folder: complete, readable, and it runs where only the core's packages and Lava are."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loihi_records import measured_records

from spikegpt_neuro.backends.loihi import access, environment, package
from spikegpt_neuro.backends.loihi.backend import LoihiBackend
from spikegpt_neuro.backends.loihi.measurement import measure
from spikegpt_neuro.backends.loihi.outcome import MeasuredProfile
from spikegpt_neuro.backends.loihi.package import run_package, write_package
from spikegpt_neuro.energy.record import from_json
from spikegpt_neuro.errors import CannotWrite, DoesNotFit, UnsupportedInput
from spikegpt_neuro.graph.artifact import load
from spikegpt_neuro.hardware.profile import load_profile
from spikegpt_neuro.mapping.placement import load_placement

from loihi_setting import journal_of, with_double
from places import ROOT
from toy_graph import VOCABULARY, toy_graph

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TOKENS = np.random.default_rng(1).integers(0, VOCABULARY, 11)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DEPENDENCIES = tuple(re.split(r"[<>=;\[ ]", line)[0] for line in PROJECT["dependencies"])

needs_lava = pytest.mark.skipif(
    importlib.util.find_spec("lava") is None, reason="Lava is not installed"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A job of the toy graph for a board of a SLURM partition."""
    backend = LoihiBackend(slurm="oheogulch,ncl-og-05", chip_generation="N3C1", time_limit=200.0)
    path = tmp_path / "job"
    write_package(path, backend, toy_graph(), TOKENS, load_profile("loihi2-1"))
    return path


def run_job(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(folder / "run.sh"), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHON": sys.executable, **environ},
    )


def test_the_folder_holds_everything(folder: Path) -> None:
    assert {p.name for p in folder.iterdir()} == {
        *("README.txt", "check.py", "graph.sgn", "job.json", "job.slurm"),
        *("lib", "placement.json", "run.sh", "tokens.npy"),
    }
    graph, profile = load(str(folder / "graph.sgn")), load_profile("loihi2-1")
    assert load_placement(folder / "placement.json").check_origin(graph, profile).chips == 1
    script = (folder / "job.slurm").read_text()
    assert "#SBATCH --partition=oheogulch\n#SBATCH --nodelist=ncl-og-05\n" in script
    assert "#SBATCH --time=10\n" in script  # three probes of 200 s
    package = folder / "lib" / "spikegpt_neuro"
    assert (package / "backends" / "lava" / "worker.py").exists()
    assert (package / "hw_profiles" / "loihi2-1.toml").exists()
    assert not [p for p in folder.rglob("*.pyc") if "__pycache__" in p.parts]
    assert "import torch" not in "".join(
        p.read_text("utf-8") for p in (package / "backends" / "loihi").rglob("*.py")
    )


def test_an_existing_folder_is_not_replaced(folder: Path, tmp_path: Path) -> None:
    backend, profile = LoihiBackend(), load_profile("loihi2")
    with pytest.raises(CannotWrite, match="exists"):
        write_package(folder, backend, toy_graph(), TOKENS, profile)
    write_package(folder, backend, toy_graph(), TOKENS, profile, force=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work", "utf-8")
    with pytest.raises(CannotWrite, match="holds something else"):
        write_package(other, backend, toy_graph(), TOKENS, profile, force=True)
    with pytest.raises(UnsupportedInput, match=r"job\.json: "):
        run_package(other, rehearse=True)


def test_what_does_not_fit_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DoesNotFit, match="graded"):
        write_package(tmp_path / "job", LoihiBackend(), toy_graph(), TOKENS, load_profile("loihi1"))
    assert list(tmp_path.iterdir()) == []


def test_a_profile_of_ones_own_travels(tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_text('schema = 1\ntitle = "mine"\nbase = "loihi2-1"\n', "utf-8")
    write_package(tmp_path / "job", LoihiBackend(), toy_graph(), TOKENS, load_profile(own))
    assert json.loads((tmp_path / "job" / "job.json").read_text())["hw"] == "profile.toml"
    assert load_profile(tmp_path / "job" / "profile.toml").title == "mine"


DAMAGED: dict[str, tuple[str, Callable[[bytes], bytes | None], str]] = {
    "tokens are lost": ("tokens.npy", lambda _: None, "tokens.npy: cannot be read: No such file"),
    "tokens are cut": ("tokens.npy", lambda data: data[:-8], "tokens.npy: checksum differs"),
    "a token is another": (
        "tokens.npy",
        lambda data: data[:-8] + bytes(8),
        "tokens.npy: checksum differs from job.json; write the job folder again",
    ),
    "the artifact": (
        "graph.sgn/weights.safetensors",
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        "weights.safetensors: checksum differs",
    ),
    "the artifact's config": (
        "graph.sgn/config.json",
        lambda data: data.replace(b'"logit_scale": 1.0', b'"logit_scale": 2.0'),
        "graph.sgn/config.json: checksum differs",
    ),
    "the placement": (
        "placement.json",
        lambda data: data[:100],
        "placement.json: checksum differs",
    ),
    "the job is cut": ("job.json", lambda data: data[:50], "job.json: not valid JSON"),
    "the job is a list": ("job.json", lambda _: b"[]", "job.json: expected an object"),
    "an option is lost": (
        "job.json",
        lambda data: data.replace(b'"layers": null,', b""),
        "job.json: options.layers: is missing",
    ),
    "a probe of its own": (
        "job.json",
        lambda data: data.replace(b'"time"', b'"tide"'),
        "job.json: probes[0]: expected 'time' or 'energy' or 'activity', found 'tide'",
    ),
    "no time": (
        "job.json",
        lambda data: data.replace(b"200.0", b"-1.0"),
        "job.json: options.time_limit is -1 s, expected more than 0",
    ),
    "steps": (
        "job.json",
        lambda data: re.sub(rb'"adapter_steps": \[\s+0,', b'"adapter_steps": [1000000000,', data),
        "job.json: options.adapter_steps is [1000000000, 0], expected 0 to 1000",
    ),
    "a profile from elsewhere": (
        "job.json",
        lambda data: data.replace(b'"loihi2-1"', b'"/etc/chip.toml"'),
        "job.json: hw is '/etc/chip.toml', expected one of",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_folder_is_refused_before_anything_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    monkeypatch.setattr(package, "rehearsal", None)
    monkeypatch.setattr(package, "measured_profile", None)
    name, change, said = DAMAGED[case]
    file = folder / name
    before = file.read_bytes()
    if (after := change(before)) is None:
        file.unlink()
    else:
        assert after != before
        file.write_bytes(after)
    for arguments in ([str(folder)], [str(folder), "--rehearse"]):
        assert package.main(arguments) == 3
        line = capsys.readouterr().err
        assert line.startswith("error: ")
        assert line.count("\n") == 1
        assert said in line


def test_system_and_generation_may_be_edited(folder: Path) -> None:
    job = folder / "job.json"
    job.write_bytes(job.read_bytes().replace(b"ncl-og-05", b"ncl-og-06"))
    found = package.read_package(folder, rehearse=False)
    connection = found.backend.settings().connection
    assert connection is not None
    assert connection.board == "ncl-og-06"
    np.testing.assert_array_equal(found.tokens, TOKENS)


def _measured(monkeypatch: pytest.MonkeyPatch, is_cut_short: bool = False) -> None:
    """Let a measured run give what one gave."""
    found = MeasuredProfile(measured_records(1)[0], (), None, "chip", is_cut_short)
    found = replace(found, record=replace(found.record, raw={"watts": {}, "counts": {}}))
    monkeypatch.setattr(package, "measured_profile", lambda *_: found)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(package, "measured_profile", None)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != folder and access(path, mode))
    assert package.main([str(folder)]) == 3
    assert capsys.readouterr().err == (
        f"error: {folder} cannot be written; choose another output\n"
    )


def test_a_record_that_cannot_be_saved_is_printed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _measured(monkeypatch)

    def full(path: Path, _: str) -> None:
        raise CannotWrite(f"{path} cannot be written: No space left on device")

    monkeypatch.setattr(package, "write_atomically", full)
    assert package.main([str(folder)]) == 3
    said = capsys.readouterr()
    assert from_json(json.loads(said.out)).tokens == 100
    assert "No space left" in said.err


def test_a_run_cut_short_leaves_its_record(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _measured(monkeypatch, is_cut_short=True)
    assert package.main([str(folder)]) == 130
    assert capsys.readouterr().err == "error: interrupted\n"
    assert from_json(json.loads((folder / "record.json").read_text())).tokens == 100

    def signalled(*_: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(package, "measured_profile", signalled)
    assert package.main([str(folder)]) == 143
    assert capsys.readouterr().err == "error: terminated\n"


@pytest.mark.parametrize("finished", [0, 1, 2])
def test_an_interrupt_keeps_the_probes_that_a_record_can_be_made_of(finished: int) -> None:
    class Backend:
        runs = 0

        def measure(self, *_: object) -> tuple[Any, dict[str, Any]]:
            if self.runs == finished:
                raise KeyboardInterrupt
            self.runs += 1
            return f"run {self.runs}", {}

    backend: Any = Backend()
    if finished < 2:
        with pytest.raises(KeyboardInterrupt):
            measure(backend, toy_graph(), TOKENS)
        return
    found = measure(backend, toy_graph(), TOKENS)
    assert list(found.raw) == ["time", "energy"]
    assert list(map(str, found.runs)) == ["run 1", "run 2"]
    assert found.not_run == ("activity",)


@needs_lava
def test_the_folder_rehearses(folder: Path) -> None:
    done = run_job(folder, "--rehearse")
    assert done.returncode == 0, done.stderr
    assert "ready to rehearse" in done.stdout
    figures = json.loads((folder / "rehearsal.json").read_text())
    assert figures["matches_reference"] is True
    assert figures["tokens"] == len(TOKENS)


@pytest.mark.slow
@needs_lava
def test_the_folder_measures(folder: Path, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    done = run_job(folder, **with_double(journal))
    assert done.returncode == 0, done.stderr
    record = from_json(json.loads((folder / "record.json").read_text()))
    assert record.is_measured
    assert record.raw["matches_reference"] is True
    assert [line.split()[0] for line in journal_of(journal)].count("run") == 3
    figures = json.loads(done.stdout.splitlines()[-1])
    assert {row["category"] for row in figures["comparison"]} >= {"static", "dynamic", "synapse"}


@pytest.mark.skipif(access.is_installed(), reason="Lava's Loihi extension is installed")
def test_without_the_extension_the_folder_says_so(folder: Path) -> None:
    done = run_job(folder)
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert "error: missing: lava.utils.loihi2_profiler (Lava's Loihi extension" in done.stderr


def test_the_check_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "found", lambda module: module != "numba")
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    lacks = environment.missing(rehearse=False)
    assert lacks[0].startswith("Python 3.10 or later")
    assert lacks[1:] == ["numba"]
    monkeypatch.setattr(sys, "argv", ["check.py"])
    assert environment.main() == 4


def _python_3_10() -> str | None:
    """An interpreter of Python 3.10 that starts, the running one included."""
    if sys.version_info[:2] == (3, 10):
        return sys.executable
    roots = [Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"]
    found = [str(p) for root in roots for p in sorted(root.glob("3.10*/bin/python"))]
    for name in [*found, "python3.10"]:
        try:
            done = subprocess.run([name, "--version"], capture_output=True, text=True)
        except OSError:
            continue
        if done.stdout.startswith("Python 3.10"):
            return name
    return None


@pytest.mark.slow
def test_the_folder_runs_in_a_fresh_python_3_10(folder: Path, tmp_path: Path) -> None:
    """A new environment with the core's dependencies and lava-nc, nothing else."""
    python = _python_3_10()
    if python is None:
        pytest.skip("there is no Python 3.10")
    home = tmp_path / "venv"
    subprocess.run([python, "-m", "venv", str(home)], check=True)
    fresh = str(home / "bin" / "python")
    pip = [fresh, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    done = subprocess.run([*pip, "lava-nc==0.10.0", *DEPENDENCIES], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"its packages cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    clean = {"PYTHONPATH": "", "PYTHON": fresh, "PYTHONNOUSERSITE": "1"}
    done = run_job(folder, "--rehearse", **clean)
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "rehearsal.json").read_text())["matches_reference"] is True
    modules = subprocess.run([fresh, "-c", "import torch"], capture_output=True)
    assert modules.returncode != 0
    done = run_job(folder, **clean)
    assert done.returncode == 4
    assert "Loihi extension" in done.stderr
