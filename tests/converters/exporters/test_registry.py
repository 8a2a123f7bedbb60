"""Export formats: found by name, ours and those of other packages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spikegpt_neuro.converters.exporters.names import FORMATS, GROUP, format_names
from spikegpt_neuro.converters.exporters.registry import export, export_format
from spikegpt_neuro.errors import (
    CannotWrite,
    MissingBackend,
    SpikeGPTError,
    UnsupportedInput,
    UsageError,
)

from toy_graph import toy_graph

FORMATS_OF_OTHERS = """
from spikegpt_neuro.converters.exporters.exported import Exported, Format
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.model.spikegpt import SpikeGPT
def export(graph, path):
    path.write_text(" ".join(p.name for p in graph.populations))
    return Exported(path, len(graph.populations))
FORMAT = Format(export, (SpikingGraph,))
OF_MODELS = Format(export, (SpikeGPT,), instead="a checkpoint of others")
NOTHING = object()
"""


@pytest.fixture
def others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with entry points for export formats."""
    (tmp_path / "formats_of_others.py").write_text(FORMATS_OF_OTHERS)
    metadata = tmp_path / "others-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Name: others\nVersion: 1.0\n")
    named = {"list": "FORMAT", "models": "OF_MODELS", "nothing": "NOTHING", "onnx": "NOTHING"}
    lines = [f"{name} = formats_of_others:{attribute}" for name, attribute in named.items()]
    lines.append("lost = no_such_package:FORMAT")
    (metadata / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines]))
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("others")
def test_a_format_of_another_package_is_found_and_written(tmp_path: Path) -> None:
    assert format_names() == (*FORMATS, "list", "lost", "models", "nothing")
    graph = toy_graph()
    done = export(graph, "list", tmp_path / "names.txt")
    assert done.nodes == len(graph.populations)
    assert done.path.read_text().split() == [p.name for p in graph.populations]
    with pytest.raises(CannotWrite, match="exists"):
        export(graph, "list", tmp_path / "names.txt")


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize(
    ("to", "kind", "said"),
    [
        ("nothing", UnsupportedInput, "export format nothing: formats_of_others:NOTHING is none"),
        ("lost", MissingBackend, "export format lost cannot be imported: No module named 'no_suc"),
        ("models", UsageError, "to='models' cannot be made from an artifact; give a checkpoint of"),
        ("pdf", UsageError, "no export format 'pdf'; known: onnx, onnx-float, nir, netx, list"),
    ],
)
def test_what_cannot_be_written_is_refused(
    to: str, kind: type[SpikeGPTError], said: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=re.escape(said)):
        export(toy_graph(), to, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_of_ours_describes_itself(name: str) -> None:
    pytest.importorskip(str(FORMATS[name].package))
    assert export_format(name).sources
