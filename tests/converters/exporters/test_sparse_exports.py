"""Sparse projections in other tools' formats: the file is that of the same weights with zeros."""

from __future__ import annotations

from pathlib import Path

import pytest

import spikegpt_neuro as sgn
from spikegpt_neuro.converters.lowering import lower

from random_models import random_model, random_tokens
from sparse_graphs import pruned, sparse


@pytest.mark.parametrize(
    ("to", "package", "ending"),
    [("onnx", "onnx", ".onnx"), ("nir", "nir", ".nir"), ("netx", "h5py", ".net")],
)
def test_a_sparse_graph_is_exported_as_its_dense_weights(
    to: str, package: str, ending: str, tmp_path: Path
) -> None:
    pytest.importorskip(package)
    model = random_model(1, 16, 40)
    graph = pruned(lower(model, random_tokens(model, 200)), 0.3)
    files = []
    for name, each in (("full", graph), ("thin", sparse(graph))):
        (tmp_path / name).mkdir()
        done = sgn.export(each, to, tmp_path / name / f"model{ending}")
        written = sorted(done.path.parent.rglob(f"*{ending}"))  # netx leaves an artifact beside
        assert written
        files.append({path.name: path.read_bytes() for path in written if path.is_file()})
    assert files[0] == files[1]
