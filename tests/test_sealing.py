"""A Python of ours imports nothing from the folder it is started in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spikegpt_neuro import sealing
from spikegpt_neuro.benchmark import startup
from spikegpt_neuro.sealing import SEAL, sealed_environment

USERS_OWN = "open('executed.txt', 'a').write(__name__ + ' ')\n"
OURS = ("random", "json", "click", "spikegpt_neuro")
NAMES = (*OURS, "sitecustomize", "usercustomize", "rlcompleter")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder full of modules that must not be executed."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(USERS_OWN, "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("paths", ["", ".", "{here}", ":", "./", "{here}/../{name}"])
def test_the_current_folder_is_never_imported_from(
    paths: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", paths.format(here=here, name=here.name))
    monkeypatch.setenv("PYTHONSTARTUP", "random.py")
    monkeypatch.setenv("PYTHONINSPECT", "1")
    environment = sealed_environment({"OMP_NUM_THREADS": "1"})
    assert environment["OMP_NUM_THREADS"] == "1"
    command = [sys.executable, "-c", f"{SEAL}import {', '.join(OURS)}"]
    subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=True)
    assert not (here / "executed.txt").exists()


@pytest.mark.parametrize("command", [startup.HELP, startup.IMPORT, startup.BARE])
def test_starts_are_measured_away_from_it(command: tuple[str, ...], here: Path) -> None:
    start = startup._start(command, threads=1)
    assert start.seconds > 0
    assert not (here / "executed.txt").exists()


def test_python_m_is_the_command_line_and_not_the_users_modules(tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text(USERS_OWN, "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "spikegpt_neuro", "doctor", "--json"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert done.stdout.startswith(b"{")
    assert not (tmp_path / "executed.txt").exists()


def test_other_folders_stay_wherever_they_are_named_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "packages", "/opt/lava"]))
    found = sealed_environment()["PYTHONPATH"].split(os.pathsep)
    assert found == [str(tmp_path / "packages"), "/opt/lava"]
    monkeypatch.setattr(sealing, "HOME", tmp_path)  # installed here, and started here
    monkeypatch.setenv("PYTHONPATH", ".")
    assert sealed_environment()["PYTHONPATH"] == str(tmp_path)


def test_what_others_print_first_is_no_figure() -> None:
    assert startup.Start(1.0, 'hello\n{"peak_rss_bytes": 5.0}\n').values == {"peak_rss_bytes": 5.0}
