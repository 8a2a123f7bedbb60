"""The walkthrough in Python runs as it stands."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from places import EXAMPLES

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch reads the example's checkpoint"
)


def python(*arguments: object, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_walkthrough(tmp_path: Path) -> None:
    script = EXAMPLES / "walkthrough.py"
    assert len(script.read_text(encoding="utf-8").splitlines()) <= 40
    told = python(script, tmp_path, folder=tmp_path)
    for result in ("SpikingGraph", "Evaluation", "Simulated", "Placed", "TokenCost", "Report"):
        assert f"{result}(" in told
    assert {f.name for f in tmp_path.iterdir()} == {
        "walkthrough.sgn",
        "walkthrough.svg",
        "walkthrough.html",
    }
