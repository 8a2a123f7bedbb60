"""What was compiled beforehand is not compiled again by the first run of a verb."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import spikegpt_neuro as sgn

from places import CHECKPOINT, EXAMPLES

SAID = "compiling kernels"
PARTS = ["conversion", "writing", "reading", "mapping and simulation", "pricing"]
VERB = (sys.executable, "-m", "spikegpt_neuro")


def test_every_part_runs_and_is_told() -> None:
    told: list[str] = []
    done = sgn.warm_up(told.append)
    assert list(done.seconds) == told
    assert told == PARTS
    assert min(done.seconds.values()) > 0


@pytest.mark.slow
def test_the_first_run_after_it_compiles_nothing(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "kernels")}

    def said(*arguments: str) -> tuple[str, str]:
        done = subprocess.run(
            [*VERB, *arguments], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout, done.stderr

    out, err = said("doctor", "--compile", "--json")
    assert SAID in err
    assert list(json.loads(out)) == PARTS
    artifact, vocabulary = str(tmp_path / "model.sgn"), str(EXAMPLES / "pydoc-vocab.json")
    schedules = "schedule=pipelined,fall-through"
    for verb in (
        ("convert", str(CHECKPOINT), "--vocab", vocabulary, "-o", artifact),
        ("generate", artifact, "The", "-n", "2"),
        ("map", artifact, "--hw", "loihi2", "--optimize", "cores"),
        ("profile", artifact, "--hw", "loihi2", "--tokens", "64", "--compare", schedules),
    ):
        assert SAID not in said(*verb)[1], verb
