"""What shells offer when Tab is pressed, asked as click is asked, and typed into the real ones."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from spikegpt_neuro.cli import COMPLETING, run
from spikegpt_neuro.graph.writer import CONFIG, FORMAT
from spikegpt_neuro.hardware.profile import profile_names

from places import ROOT
from terminals import opened

PROGRAM = Path(sys.executable).with_name("spikegpt-neuro")
PAGE = ROOT / "docs" / "completion.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a person works: an artifact, a checkpoint, a text."""
    (tmp_path / "model.sgn").mkdir()
    (tmp_path / "model.sgn" / CONFIG).write_text(json.dumps({"format": FORMAT}))
    for name in ("model.pth", "notes.txt"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gen", ["plain,generate"]),
        ("info mod", ["plain,model.sgn"]),
        ("info not", ["file,not"]),  # no artifact: any path
        ("convert mod", ["file,mod"]),
        ("convert model.pth --vo", ["plain,--vocab"]),
        ("map model.sgn --hw ", [f"plain,{name}" for name in profile_names()]),
        ("profiles loihi1-s", ["plain,loihi1-sanafe"]),
        ("map model.sgn --hw ./my", ["file,./my"]),
        ("simulate model.sgn --backend lo", ["plain,loihi"]),
        ("profile model.sgn --accounting as", ["plain,as-arrives"]),
        ("profile model.sgn --accounting paper-v1:c", ["plain,constants"]),
        ("profile model.sgn --compare schedule=p", ["plain,pipelined"]),
        ("profile model.sgn --compare bits=", ["plain,4", "plain,6", "plain,8"]),
        ("evaluate model.sgn no", ["file,no"]),
        ("simulate model.sgn --prompt no", []),
    ],
)
def test_what_is_offered(
    line: str,
    expected: list[str],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    monkeypatch.setenv(COMPLETING, "bash_complete")
    monkeypatch.setenv("COMP_LINE", f"spikegpt-neuro {line}")
    with pytest.raises(SystemExit):
        run([])
    assert capsysbinary.readouterr().out.decode().split() == expected


SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
TYPED = (
    ("profile mod", "model.sgn"),
    ("--hw loihi1-s", "loihi1-sanafe"),
    ("--backend lav", "lava"),
    ("--accounting paper-v1:c", "paper-v1:constants"),
    ("--compare schedule=pipe", "schedule=pipelined"),
    ("--text not", "notes.txt"),
)


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_what_is_typed(shell: str, folder: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} is installed")
    page = PAGE.read_text(encoding="utf-8")
    (line,) = re.findall(rf"^```{shell}\n(.*?)\n```", page, re.DOTALL | re.MULTILINE)
    if shell == "zsh":
        line = f"autoload -Uz compinit; compinit -D; {line}"
    path = f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"
    env = {"PATH": path, "PS1": "ready> ", "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    with opened(SHELLS[shell], folder=folder, env=env) as terminal:
        terminal.type(f"{line}; echo do''ne\r")
        terminal.until(r"done\r\n")
        keys = "".join(f"{words}\t" for words, _ in TYPED)  # a busy shell reads them later
        terminal.type(f"spikegpt-neuro {keys}\x01echo said: \r")
        said = " ".join(re.escape(f"{words.split(' ')[0]} {whole}") for words, whole in TYPED)
        terminal.until(rf"[\r\n]said: spikegpt-neuro {said}")
