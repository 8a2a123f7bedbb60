"""kill -9 at random moments: the output is the old one or the new one, and the next run tidies up.

``SPIKEGPT_NEURO_KILLS`` says how many moments for each verb (300); every other one replaces an
output, the rest write a new one. The fast suite kills writers before every single step instead
(``tests/test_files.py``).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from places import SUPPORT
from writing_verbs import NAMES, NEEDS, prepare

KILLS = int(os.environ.get("SPIKEGPT_NEURO_KILLS", "300"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("killed"))


def killed(folder: Path, name: str, kills: int, seed: int) -> int:
    """Kill a verb so often; returns how many runs were really killed."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    script = str(SUPPORT / "writing_verbs.py")
    command = [sys.executable, script, str(folder), name, str(kills), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == kills
    for kill in found:
        assert kill["status"] in (0, -signal.SIGKILL), kill
        assert kill["seen"] in ("old", "new"), kill
        assert (kill["again"], kill["then"], kill["left"]) == (0, "new", ["out"]), kill
    return sum(kill["status"] != 0 for kill in found)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_killed_at_random_moments(folder: Path, name: str) -> None:
    assert killed(folder, name, KILLS, seed=13) > KILLS // 2


def test_an_export_killed_a_few_times(folder: Path) -> None:
    killed(folder, "netx", 4, seed=1)
