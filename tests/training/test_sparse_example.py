"""The example that ``finetune`` made sparse: what the README says of it, and equal integers."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx_steps import in_onnxruntime, steps

import spikegpt_neuro as sgn
from spikegpt_neuro.api import read_model
from spikegpt_neuro.backends.lava.backend import LavaBackend
from spikegpt_neuro.backends.reference import ReferenceBackend
from spikegpt_neuro.backends.reference.stepper import Stepper
from spikegpt_neuro.evaluation.corpus import held_out, python_documentation
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.running import first_mismatch

from places import CHECKPOINT, EXAMPLES

SPARSE = EXAMPLES / "pydoc-4x128-sparse"
MOST_OPERATIONS, MOST_LOST = 0.105, 0.05
needs_lava = pytest.mark.skipif(
    importlib.util.find_spec("lava") is None, reason="Lava is not installed"
)


VOCABULARY = EXAMPLES / "pydoc-vocab.json"
CALIBRATION = 50_000  # characters


@pytest.fixture(scope="module")
def calibration() -> NDArray[np.int64]:
    vocabulary = read_model(SPARSE).vocabulary
    assert vocabulary is not None
    return vocabulary.encode(python_documentation()[:CALIBRATION], unknown="replace")


@pytest.fixture(scope="module")
def sparse(calibration: NDArray[np.int64]) -> SpikingGraph:
    return sgn.convert(SPARSE, calibration=calibration)


@pytest.fixture(scope="module")
def dense(calibration: NDArray[np.int64]) -> SpikingGraph:
    return sgn.convert(CHECKPOINT, vocab=VOCABULARY, calibration=calibration)


@pytest.fixture(scope="module")
def unseen(sparse: SpikingGraph) -> NDArray[np.int64]:
    assert sparse.vocabulary is not None
    text = held_out(python_documentation())
    return sparse.vocabulary.encode(text, unknown="replace")


def lost(
    sparse: SpikingGraph, dense: SpikingGraph, tokens: NDArray[np.int64]
) -> tuple[float, float]:
    """Bits per character more than the dense 8-bit graph, and operations over dense."""
    found = sgn.evaluate(sparse, tokens)
    return found.bits_per_token - sgn.evaluate(
        dense, tokens
    ).bits_per_token, found.synops_over_dense


def test_few_operations_and_the_text_stays(
    sparse: SpikingGraph, dense: SpikingGraph, unseen: NDArray[np.int64]
) -> None:
    bits, operations = lost(sparse, dense, unseen[:8_000])
    assert operations <= MOST_OPERATIONS
    assert bits <= MOST_LOST
    assert all(q.is_sparse for q in sparse.projections if q.is_dense)


@pytest.mark.slow
def test_on_the_whole_unseen_tenth(
    sparse: SpikingGraph, dense: SpikingGraph, unseen: NDArray[np.int64]
) -> None:
    bits, operations = lost(sparse, dense, unseen)
    assert operations <= MOST_OPERATIONS
    assert bits <= MOST_LOST


def test_the_log_is_that_of_the_command_beside_it() -> None:
    asked = json.loads((SPARSE / "finetune.json").read_text())
    last = json.loads((SPARSE / "log.jsonl").read_text().splitlines()[-1])
    assert last["step"] == asked["recipe"]["steps"]
    assert last["weight_density"] == pytest.approx(1 - asked["recipe"]["prune"], abs=1e-4)
    assert last["synops_over_dense"] == pytest.approx(asked["recipe"]["synops"], abs=0.01)


def test_both_modes_and_onnx_give_the_same_integers(
    sparse: SpikingGraph, unseen: NDArray[np.int64], tmp_path: Path
) -> None:
    equal_in_modes_and_onnx(sparse, unseen[:128], tmp_path)


@pytest.mark.slow
def test_both_modes_and_onnx_over_2048_tokens(
    sparse: SpikingGraph, unseen: NDArray[np.int64], tmp_path: Path
) -> None:
    equal_in_modes_and_onnx(sparse, unseen[:2048], tmp_path)


def equal_in_modes_and_onnx(
    sparse: SpikingGraph, tokens: NDArray[np.int64], tmp_path: Path
) -> None:
    run = ReferenceBackend().run(sparse, tokens, record="logits")
    stepper = Stepper(sparse)
    assert np.array_equal([stepper.step(int(t)).copy() for t in tokens], run.logits_int)
    path = tmp_path / "sparse.onnx"
    sgn.export(sparse, "onnx", path)
    for t, outputs in enumerate(steps(path, in_onnxruntime(path), tokens)):
        assert np.array_equal(outputs["logits"], run.logits_int[t]), t


@needs_lava
@pytest.mark.slow
def test_lava_by_block_over_2048_tokens(sparse: SpikingGraph, unseen: NDArray[np.int64]) -> None:
    tokens = unseen[:2048]
    run = LavaBackend("block", time_limit=600).run(sparse, tokens, record="events")
    reference = ReferenceBackend().run(sparse, tokens, record="events")
    assert first_mismatch(sparse, run, reference) is None
