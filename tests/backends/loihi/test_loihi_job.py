"""The job folder: complete, readable, and it runs where only the core's packages and Lava are."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spikegpt_neuro.backends.loihi import access, environment
from spikegpt_neuro.backends.loihi.backend import LoihiBackend
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
