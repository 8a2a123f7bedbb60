"""The recipes of CONTRIBUTING.md, run as they are written there: each in a package of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikegpt_neuro.api import load
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.vocabulary import ByteVocabulary

from dense_weights import weights_of
from outside_package import write_package
from places import ROOT
from random_models import random_model

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

VERB = "import sys; from spikegpt_neuro.cli import main; main(sys.argv[1:])"
SIMULATE = """
import json, sys
import numpy as np
from spikegpt_neuro.api import load
from spikegpt_neuro.running import get_backend
for name in sys.argv[2:]:
    backend = get_backend("cycle", timing=name)
    backend.run(load(sys.argv[1]), np.arange(12))
    print(json.dumps(backend.simulation.to_json()))
"""


TEXT = "spikes and bytes " * 8
TOKENS = np.frombuffer(TEXT.encode(), np.uint8).astype(np.int64)


def model_of_bytes() -> SpikeGPT:
    return replace(random_model(1, 16, 256), vocabulary=ByteVocabulary())


def recipe(heading: str, language: str) -> str:
    """The only block of ``language`` below ``heading`` in CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    (block,) = re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    return str(block)


def installed(folder: Path, heading: str) -> Path:
    """The recipe's module with its entry points, as a package installed in ``folder``."""
    groups = tomllib.loads(recipe(heading, "toml"))["project"]["entry-points"]
    return write_package(folder, "mypackage", recipe(heading, "python"), groups)


def call(
    code: str, *arguments: object, packages: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """``code`` in a child process that also finds ``packages``."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | ({} if packages is None else {"PYTHONPATH": str(packages)}),
        capture_output=True,
        text=True,
    )


def figures(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """The objects that a call printed, one a line."""
    assert done.returncode == 0, done.stderr
    return [dict(json.loads(line)) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of bytes."""
    folder = tmp_path_factory.mktemp("model") / "small.sgn"
    lower(model_of_bytes(), TOKENS).save(str(folder))
    return folder


def test_a_new_chip_is_a_file(artifact: Path, tmp_path: Path) -> None:
    chip = tmp_path / "mychip.toml"
    chip.write_text(recipe("Adding a chip", "toml"), encoding="utf-8")
    arguments = ("map", artifact, "--json", "--activity", ROOT / "LICENSE", "--hw")
    (mine,) = figures(call(VERB, *arguments, chip))
    (base,) = figures(call(VERB, *arguments, "loihi2"))
    assert mine["neurons"] == base["neurons"]
    assert base["cores"] < mine["cores"]
    assert mine["cores"] >= mine["neurons"] / 256


def test_a_backend_of_another_package_is_verified(artifact: Path, tmp_path: Path) -> None:
    packages = installed(tmp_path, "Adding a backend")
    arguments = ("simulate", artifact, "--prompt", "spikes", "--verify", "--json", "--backend")
    (found,) = figures(call(VERB, *arguments, "mychip", packages=packages))
    assert found["backend"] == "mychip"
    assert found["tokens"] == len("spikes")
    assert found["matches_reference"] is True
    unknown = call(VERB, *arguments, "mychip")
    assert unknown.returncode == 2
    assert "no backend named 'mychip'" in unknown.stderr


def test_a_backend_of_another_package_that_differs_is_caught(
    artifact: Path, tmp_path: Path
) -> None:
    packages = installed(tmp_path, "Adding a backend")
    module = packages / "mypackage.py"
    module.write_text(
        module.read_text().replace("Run(checked, logits,", "Run(checked, logits + 1,")
    )
    arguments = ("simulate", artifact, "--prompt", "spikes", "--verify", "--backend", "mychip")
    done = call(VERB, *arguments, packages=packages)
    assert done.returncode == 1
    assert "backend mychip differs from the reference at logits, token 0, neuron 0" in done.stderr


def test_a_reader_of_another_package_is_asked(tmp_path: Path) -> None:
    model = model_of_bytes()
    checkpoint, text = tmp_path / "model.npz", tmp_path / "text.txt"
    tensors: dict[str, Any] = dict(model.tensors)
    np.savez(checkpoint, **tensors)
    text.write_text(TEXT)
    arguments = ("convert", checkpoint, "--calibrate", text, "-o", tmp_path / "model.sgn")
    refused = call(VERB, *arguments)
    assert refused.returncode == 3
    assert "model.npz: " in refused.stderr
    done = call(VERB, *arguments, packages=installed(tmp_path, "Adding a reader of checkpoints"))
    assert done.returncode == 0, done.stderr
    graph = load(tmp_path / "model.sgn")
    assert graph.provenance["source_format"] == "npz"
    ours = lower(model, TOKENS)
    for found, wanted in zip(graph.projections, ours.projections, strict=True):
        assert found.is_dense == wanted.is_dense
        assert not found.is_dense or np.array_equal(weights_of(found), weights_of(wanted))


def test_a_timing_model_of_another_package_gives_the_seconds(
    artifact: Path, tmp_path: Path
) -> None:
    packages = installed(tmp_path, "Adding a timing model")
    bound, careful = figures(call(SIMULATE, artifact, "bound", "careful", packages=packages))
    assert careful["timing"] == "careful"
    assert careful["seconds_per_step"] == pytest.approx(2 * bound["seconds_per_step"])
    unknown = call(SIMULATE, artifact, "careful")
    assert unknown.returncode != 0
    assert "timing is 'careful', expected one of bound" in unknown.stderr
