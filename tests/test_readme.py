"""What README and examples show in Python runs as it stands there."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from places import EXAMPLES, ROOT

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch reads the example's checkpoint"
)


def python(*arguments: object, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(importlib.util.find_spec("lava") is None, reason="the block runs on Lava too")
def test_the_readme_in_python(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(
        r"^## In Python\n.*?^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE
    )
    (tmp_path / "examples").symlink_to(EXAMPLES)
    (tmp_path / "README.md").symlink_to(ROOT / "README.md")
    script = tmp_path / "block.py"
    script.write_text(block + "\nprint(cost, placed, run.logits.shape)\n", encoding="utf-8")
    assert "TokenCost(hardware='loihi2'" in python(script, folder=tmp_path)


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
