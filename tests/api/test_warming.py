"""What was compiled beforehand is not compiled again by the first run of a verb."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import spikegpt_neuro as sgn
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.model.synthetic import random_model, random_tokens

SAID = "compiling kernels"
WRITE = """
import logging, sys
logging.basicConfig(level=logging.INFO)
import spikegpt_neuro as sgn
from spikegpt_neuro.backends.reference.backend import ReferenceBackend
with ReferenceBackend().session(sgn.load(sys.argv[1])) as session:
    session.step(1)
"""
VERB = (sys.executable, "-m", "spikegpt_neuro")


def test_every_part_runs_and_is_told() -> None:
    told: list[str] = []
    done = sgn.warm_up(told.append)
    assert list(done.seconds) == told
    assert told == ["conversion", "writing", "reading", "mapping and simulation"]
    assert min(done.seconds.values()) > 0


@pytest.mark.slow
def test_the_first_run_after_it_compiles_nothing(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "kernels")}

    def said(*arguments: str) -> tuple[str, str]:
        done = subprocess.run(
            [*VERB, *arguments], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout, done.stderr

    model = random_model(1, 32, 96)
    artifact = tmp_path / "model.sgn"
    lower(model, random_tokens(model, 64), weight_bits=4).save(str(artifact))
    out, err = said("doctor", "--compile", "--json")
    assert SAID in err
    assert set(json.loads(out)) == {"conversion", "writing", "reading", "mapping and simulation"}
    placement = str(tmp_path / "placement.json")
    assert SAID not in said("map", str(artifact), "--hw", "loihi2", "-o", placement)[1]
    written = subprocess.run(
        [sys.executable, "-c", WRITE, str(artifact)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert SAID not in written.stderr
