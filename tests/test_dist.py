"""The wheel of `make dist`, in an environment of its own, does what the README begins with."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import spikegpt_neuro

from places import EXAMPLES, ROOT

VERSION = spikegpt_neuro.__version__
Run = Callable[..., str]


def _run(*command: object, folder: Path, **environment: str) -> str:
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        [*map(str, command)], cwd=folder, capture_output=True, text=True, env=kept | environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _sources(folder: Path) -> Path:
    """What git would give of this tree, in ``folder``, so that no earlier build mixes in."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in filter(None, _run(*listed, folder=ROOT).split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/", "benchmarks/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``dist/`` as the line of the Makefile fills it."""
    (line,) = re.findall(
        r"^\t\$\(BIN\)/python -m build(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    if importlib.util.find_spec("build") is None or not (ROOT / ".git").exists():
        pytest.skip("needs a clone and the package build (make venv)")
    tree = _sources(tmp_path_factory.mktemp("tree"))
    _run(sys.executable, "-m", "build", *line.split(), folder=tree)
    return tree / "dist"


@pytest.fixture(scope="module")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The program of the wheel; what it depends on comes from this interpreter's environment."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    python = folder / "venv" / "bin" / "python"
    (wheel,) = dist.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-index"]
    _run(*pip, "--no-deps", wheel, folder=folder)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    # A path in a .pth comes last and its own .pth files, the editable install's too, do not count.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    work = folder / "work"
    work.mkdir()
    (work / "examples").symlink_to(EXAMPLES)
    where = "import spikegpt_neuro as s; print(s.__file__)"
    assert _run(python, "-c", where, folder=work).startswith(str(site))

    def run(*arguments: object) -> str:
        program = python.parent / "spikegpt-neuro"
        return _run(program, *arguments, folder=work, NUMBA_CACHE_DIR=str(folder / "cache"))

    return run


@pytest.mark.slow
def test_both_files_carry_the_version_and_the_sources_build_alone(dist: Path) -> None:
    names = {file.name for file in dist.iterdir()}
    stem = f"spikegpt_neuro-{VERSION}"
    assert names == {f"{stem}.tar.gz", f"{stem}-py3-none-any.whl"}
    with tarfile.open(dist / f"{stem}.tar.gz") as archive:
        held = {name.removeprefix(f"{stem}/") for name in archive.getnames()}
    assert {"LICENSE", "CHANGELOG.md", "constraints.txt", "hw_profiles/loihi2.toml"} <= held
    assert not any(name.startswith("tests/") for name in held)
    with zipfile.ZipFile(dist / f"{stem}-py3-none-any.whl") as wheel:
        metadata = wheel.read(f"{stem}.dist-info/METADATA").decode()
    assert f"\nVersion: {VERSION}\n" in metadata


@pytest.mark.slow
def test_the_installed_wheel_runs_what_the_readme_begins_with(installed: Run) -> None:
    assert installed("--version") == f"spikegpt-neuro, version {VERSION}\n"
    doctor = json.loads(installed("doctor", "--json"))
    assert doctor["spikegpt_neuro"] == VERSION
    assert {"reference", "cycle"} <= set(doctor["backends"])
    assert "loihi2" in doctor["profiles"]

    example, vocab = "examples/pydoc-4x128.pth", "examples/pydoc-vocab.json"
    assert "882,688" in installed("info", example)
    made = json.loads(installed("convert", example, "--vocab", vocab, "-o", "p.sgn", "--json"))
    assert (made["layers"], made["width"], made["vocab_size"]) == (4, 128, 96)
    held = json.loads(installed("info", "p.sgn", "--json"))
    assert (held["kind"], held["parameters"]) == ("artifact", made["parameters"])
    cost = json.loads(installed("profile", "p.sgn", "--hw", "loihi2", "--json"))
    assert (cost["chips"], cost["cores"]) == (1, 8)
    assert 0 < cost["joules_per_token"] < 1e-3
    assert "µJ" in installed("profile", "p.sgn", "--hw", "loihi2")


def test_the_version_stands_in_one_place_and_is_cited() -> None:
    cited = re.findall(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited == [VERSION]


def test_the_image_takes_what_the_build_context_lets_through() -> None:
    copied = re.findall(r"^COPY (.*) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    passed = {line[1:] for line in lines if line.startswith("!")}
    assert {name for line in copied for name in line.split()} == passed
