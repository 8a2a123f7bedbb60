"""Every kind of file, damaged and changed: understood, or refused in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzzing.seeds import SEEDS
from fuzzing.targets import NEEDED, available

from places import SUPPORT

SECONDS = 100
SEED_FILES = sorted(SEEDS.glob("*.json"))


def fuzz(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The harness in a process of its own: its children are forked from one that has no threads."""
    return subprocess.run(
        [sys.executable, "-m", "fuzzing", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SUPPORT)},
    )


def test_what_is_drawn_is_understood_or_refused(tmp_path: Path) -> None:
    """The same first inputs every time, as many as the time allows; `make fuzz` draws others."""
    done = fuzz("--seconds", SECONDS, "--keep", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("target", available())
def test_what_was_found_before_stays_mended(target: str, tmp_path: Path) -> None:
    seeds = [file for file in SEED_FILES if file.name.startswith(f"{target}-")]
    places = [part for file in seeds for part in ("--replay", file)]
    done = fuzz(*places, "--keep", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(seeds)} inputs in" in done.stdout


def test_every_seed_belongs_to_a_target() -> None:
    assert {file.name.partition("-")[0] for file in SEED_FILES} == set(NEEDED)
