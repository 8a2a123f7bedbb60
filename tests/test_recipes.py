"""The recipes of CONTRIBUTING.md, run as they are written there, and what they change counted."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikegpt_neuro.api import load, place, save
from spikegpt_neuro.backends.reference import ReferenceBackend
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.errors import DoesNotFit, UnsupportedInput
from spikegpt_neuro.graph.graph import SpikingGraph
from spikegpt_neuro.hardware.profile import load_profile
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.neurons import program_class
from spikegpt_neuro.vocabulary import ByteVocabulary

from dense_weights import weights_of
from outside_package import write_package
from places import ROOT
from random_models import random_model
from source_tree import apply_diff, changed_files, copy_of_sources
from toy_graph import VOCABULARY, toy_graph
from verbs import verb, verbs

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HELP = """
import sys
from spikegpt_neuro.cli import run
run(["simulate", "--help"])
print(*sys.modules, file=sys.stderr)
"""
BUILT_IN = """
import json
from spikegpt_neuro.backends.cycle.timing.names import MODELS
from spikegpt_neuro.converters.exporters.registry import export_format
from spikegpt_neuro.converters.reader import BUILT_IN
from spikegpt_neuro.descriptions import resolved
from spikegpt_neuro.hardware.profile import load_profile
from spikegpt_neuro.neurons import PROGRAMS
print(json.dumps({
    "a chip profile": load_profile("mychip").title,
    "a neuron program": PROGRAMS["soft_reset_lif"].__module__,
    "an export format": export_format("dot").export.__module__,
    "a reader of checkpoints": BUILT_IN[-1].read.__module__,
    "a timing model": resolved(MODELS["careful"]).__module__,
}))
"""

TEXT = "spikes and bytes " * 8
TOKENS = np.frombuffer(TEXT.encode(), np.uint8).astype(np.int64)


def model_of_bytes() -> SpikeGPT:
    return replace(random_model(1, 16, 256), vocabulary=ByteVocabulary())


def recipe(heading: str, language: str) -> str:
    """The only block of ``language`` below ``heading`` in CONTRIBUTING.md."""
    found = re.findall(rf"^```{language}\n(.*?)^```", section(heading), re.MULTILINE | re.DOTALL)
    (block,) = found
    return str(block)


def section(heading: str) -> str:
    """What CONTRIBUTING.md says below ``heading``."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return str(found)


def files_said(change: str) -> list[int]:
    """What the table says that a change touches: built in, and from another package."""
    (row,) = re.findall(rf"^\| {change} \|(.*)\|$", section("What a change touches"), re.MULTILINE)
    return [int(cell.split(":")[0]) for cell in row.split("|") if cell.strip()[0].isdigit()]


def installed(folder: Path, heading: str) -> Path:
    """The recipe's module with its entry points, as a package installed in ``folder``."""
    groups = tomllib.loads(recipe(heading, "toml"))["project"]["entry-points"]
    return write_package(folder, "mypackage", recipe(heading, "python"), groups)


def call(packages: Path, code: str) -> subprocess.CompletedProcess[str]:
    """``code`` in a child process that finds ``packages`` first."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=packages,  # Python looks there before it looks at PYTHONPATH
        env=os.environ | {"PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of bytes."""
    folder = tmp_path_factory.mktemp("model") / "small.sgn"
    lower(model_of_bytes(), TOKENS).save(str(folder))
    return folder


def test_a_new_chip_is_a_file(artifact: Path, tmp_path: Path) -> None:
    chip = tmp_path / "mychip.toml"
    chip.write_text(recipe("Adding a chip", "toml"), encoding="utf-8")
    command = (
        "map",
        artifact,
        "--json",
        "--optimize",
        "cores",
        "--activity",
        ROOT / "LICENSE",
        "--hw",
    )
    mine, base = (verb(*command, hw).figures for hw in (chip, "loihi2"))
    assert mine["neurons"] == base["neurons"]
    assert base["cores"] < mine["cores"]
    assert mine["cores"] >= mine["neurons"] / 256


def test_a_program_of_another_package_runs_in_both_modes_and_is_placed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, chip = tmp_path / "toy.sgn", tmp_path / "chip.toml"
    monkeypatch.syspath_prepend(str(installed(tmp_path, "Adding a neuron program")))
    graph = load(save(with_soft_reset(toy_graph()), folder))
    assert graph.by_name["blocks.0.lif"].program.kind == "soft_reset_lif"
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, 40)
    done = ReferenceBackend().run(graph, tokens)
    spikes = done.events["blocks.0.lif"]
    assert 0 < spikes.sum() < spikes.size
    with caplog.at_level(logging.INFO), ReferenceBackend().session(graph) as session:
        steps = np.stack([session.step(int(token)) for token in tokens])
    assert np.array_equal(steps, done.logits_int)
    assert "program soft_reset_lif (blocks.0.lif) has no compiled step" in caplog.text
    assert "slower" in caplog.text
    with pytest.raises(DoesNotFit, match="soft_reset_lif"):
        place(graph, "loihi2", activity=tokens)
    chip.write_text(profile_with_program("soft_reset_lif"))
    assert place(graph, chip, activity=tokens).neurons == place(toy_graph(), "loihi2").neurons
    monkeypatch.undo()
    with pytest.raises(UnsupportedInput, match="soft_reset_lif"):
        load(folder)


def with_soft_reset(graph: SpikingGraph) -> SpikingGraph:
    """The graph with another package's program for its LIF populations."""
    made: Any = program_class("soft_reset_lif")
    populations = tuple(
        replace(p, program=made(leak=3, vth=4000)) if p.program.kind == "lif" else p
        for p in graph.populations
    )
    return replace(graph, populations=populations)


def profile_with_program(kind: str) -> str:
    """Loihi 2 that runs one more program."""
    programs = json.dumps([*load_profile("loihi2").support.programs, kind])
    return (
        'schema = 1\ntitle = "test"\nbase = "loihi2"\n[sources]\nlab = "written by a test"\n'
        f'[support]\nprograms = {{ value = {programs}, unit = "programs", kind = "measured", '
        'source = "lab" }\n'
    )


def test_a_backend_of_another_package_is_verified(artifact: Path, tmp_path: Path) -> None:
    packages = installed(tmp_path, "Adding a backend")
    command = ("simulate", artifact, "--prompt", "spikes", "--verify", "--json")
    mine = (*command, "--backend", "mychip")
    plain, slow = (a.figures for a in verbs(packages, mine, (*mine, "--rate", 50)))
    assert plain["backend"] == "mychip"
    assert plain["tokens"] == len("spikes")
    assert plain["matches_reference"] is slow["matches_reference"] is True
    assert plain["seconds"] == pytest.approx(len("spikes") / 1000)
    assert slow["seconds"] == pytest.approx(len("spikes") / 50)
    unknown = verb(*mine)
    assert unknown.code == 2
    assert "no backend named 'mychip'" in unknown.err


def test_a_backend_of_another_package_that_differs_is_caught(
    artifact: Path, tmp_path: Path
) -> None:
    packages = installed(tmp_path, "Adding a backend")
    module = packages / "mypackage.py"
    module.write_text(
        module.read_text().replace("Run(checked, logits,", "Run(checked, logits + 1,")
    )
    command = ("simulate", artifact, "--prompt", "spikes", "--verify", "--backend", "mychip")
    (done,) = verbs(packages, command)
    assert done.code == 1
    assert "backend mychip differs from the reference at logits, token 0, neuron 0" in done.err


def test_help_lists_the_options_of_a_backend_of_another_package(tmp_path: Path) -> None:
    shown = call(installed(tmp_path, "Adding a backend"), HELP)
    assert re.search(r"--rate HZ +mychip: tokens per second", shown.stdout)
    assert "mypackage" in shown.stderr.split()
    assert "numpy" not in shown.stderr.split()


def test_a_wrong_option_of_a_backend_of_another_package_is_one_line(
    artifact: Path, tmp_path: Path
) -> None:
    command = ("simulate", artifact, "--prompt", "spikes", "--backend")
    wrong = {
        ("mychip", "--rate", "fast"): "'--rate': 'fast' is not a valid float",
        ("mychip", "--rate", "0"): "'--rate': 0.0 is not in the range",
        ("mychip", "--speed", "50"): "No such option",
        ("mychip", "--hw", "loihi2"): "backend mychip has no option hw; it has rate",
        ("reference", "--rate", "50"): "backend reference has no option rate",
    }
    packages = installed(tmp_path, "Adding a backend")
    answers = verbs(packages, *((*command, *options) for options in wrong))
    for answer, said in zip(answers, wrong.values(), strict=True):
        assert answer.code == 2
        assert len(answer.err.splitlines()) == 1
        assert said in answer.err


def test_a_reader_of_another_package_is_asked(tmp_path: Path) -> None:
    model = model_of_bytes()
    checkpoint, text = tmp_path / "model.npz", tmp_path / "text.txt"
    tensors: dict[str, Any] = dict(model.tensors)
    np.savez(checkpoint, **tensors)
    text.write_text(TEXT)
    command = ("convert", checkpoint, "--calibrate", text, "-o", tmp_path / "model.sgn")
    refused = verb(*command)
    assert refused.code == 3
    assert "model.npz: " in refused.err
    (done,) = verbs(installed(tmp_path, "Adding a reader of checkpoints"), command)
    assert done.code == 0, done.err
    graph = load(tmp_path / "model.sgn")
    assert graph.provenance["source_format"] == "npz"
    ours = lower(model, TOKENS)
    for found, wanted in zip(graph.projections, ours.projections, strict=True):
        assert found.is_dense == wanted.is_dense
        assert not found.is_dense or np.array_equal(weights_of(found), weights_of(wanted))


def test_a_timing_model_of_another_package_gives_the_seconds(
    artifact: Path, tmp_path: Path
) -> None:
    command = ("simulate", artifact, "--backend", "cycle", "--prompt", "spikes", "--json")
    commands = ((*command, "--timing", name) for name in ("bound", "careful"))
    answers = verbs(installed(tmp_path, "Adding a timing model"), *commands)
    bound, careful = (answer.figures["simulation"] for answer in answers)
    assert careful["timing"] == "careful"
    assert careful["seconds_per_step"] == pytest.approx(2 * bound["seconds_per_step"])
    unknown = verb(*command, "--timing", "careful")
    assert unknown.code == 2
    assert "'careful' is not one of 'bound'" in unknown.err


def test_an_export_format_of_another_package_is_written(artifact: Path, tmp_path: Path) -> None:
    packages, file = installed(tmp_path, "Adding an export format"), tmp_path / "graph.dot"
    command = ("export", artifact, "--to", "dot", "-o", file, "--json")
    done, again, shown = verbs(packages, command, command, ("export", "--help"))
    graph, text = load(artifact), file.read_text()
    assert done.figures["nodes"] == len(graph.populations)
    for projection in graph.projections:
        assert f'"{projection.source}" -> "{projection.target}"' in text
    assert again.code != 0
    assert "exists; choose another output or pass --force" in again.err
    assert re.search(r"--to \[onnx\|.*\bdot\b.*\]", shown.out)
    unknown = verb(*command)
    assert unknown.code == 2
    assert "'dot' is not one of 'onnx'" in unknown.err


def test_an_energy_event_is_a_row_and_a_line(artifact: Path, tmp_path: Path) -> None:
    heading, chip = "Adding an energy event", tmp_path / "bits.toml"
    command = ("profile", artifact, "--prompt", "spikes", "--json", "--hw")
    base = verb(*command, "loihi2").figures
    sources = copy_of_sources(tmp_path)
    apply_diff(sources, recipe(heading, "diff"))
    assert [len(changed_files(sources))] == files_said("an energy event")
    chip.write_text(recipe(heading, "toml"), encoding="utf-8")
    answers = verbs(sources, (*command, chip), (*command, "loihi2"))
    priced, unpriced = (answer.figures for answer in answers)
    joules = sent_bits(load(artifact), "spikes") / len("spikes") * 0.5e-12
    (row,) = (r for r in priced["by_operation"] if r["operation"] == "message_bit")
    assert joules > 0
    assert row["joules_per_token"] == pytest.approx(joules)
    assert row["category"] == "network"
    assert priced["joules"]["network"] == pytest.approx(base["joules"]["network"] + joules)
    assert priced["joules_per_token"] - base["joules_per_token"] == pytest.approx(joules)
    assert unpriced["joules_per_token"] == base["joules_per_token"]
    assert any("energy.message_bit" in line for line in unpriced["not_modelled"])


def sent_bits(graph: SpikingGraph, text: str) -> int:
    """Bits beyond the first of all messages, where the chip's populations fit one core each.

    The embedding stands on the host.
    """
    tokens = np.frombuffer(text.encode(), np.uint8).astype(np.int64)
    done = ReferenceBackend().run(graph, tokens, record="events")
    events: Mapping[str, Any] = {**done.events, graph.output.name: done.logits_int}
    return sum(
        int(np.count_nonzero(events[p.name])) * (p.events.bits - 1) for p in graph.populations[1:]
    )


MODULES = {
    "a neuron program": ("Adding a neuron program", "spikegpt_neuro/neurons/soft_reset_lif.py"),
    "an export format": ("Adding an export format", "converters/exporters/dot.py"),
    "a reader of checkpoints": ("Adding a reader of checkpoints", "converters/npz.py"),
    "a timing model": ("Adding a timing model", "backends/cycle/timing/careful.py"),
}
LINES = {
    "a neuron program": """--- a/spikegpt_neuro/neurons/__init__.py
+++ b/spikegpt_neuro/neurons/__init__.py
+from spikegpt_neuro.neurons.soft_reset_lif import SoftResetLIF
 from spikegpt_neuro.neurons.squared_relu import SquaredReLU
--- a/spikegpt_neuro/neurons/__init__.py
+++ b/spikegpt_neuro/neurons/__init__.py
         Gate,
+        SoftResetLIF,
     )
""",
    "an export format": """--- a/converters/exporters/names.py
+++ b/converters/exporters/names.py
     "netx": Registered(f"{_HERE}.netx_export:FORMAT", "h5py", "netx"),
+    "dot": Registered(f"{_HERE}.dot:FORMAT"),
 }
""",
    "a reader of checkpoints": """--- a/converters/reader.py
+++ b/converters/reader.py
-from spikegpt_neuro.converters import hub, myelin, onnx_reader, safetensors_directory, upstream
+from spikegpt_neuro.converters import hub, myelin, npz, onnx_reader, safetensors_directory
+from spikegpt_neuro.converters import upstream
--- a/converters/reader.py
+++ b/converters/reader.py
     onnx_reader.READER,
+    npz.READER,
 )
""",
    "a timing model": """--- a/backends/cycle/timing/names.py
+++ b/backends/cycle/timing/names.py
     "cycle": f"{_HERE}.clocked:ClockedTiming",
+    "careful": f"{_HERE}.careful:CarefulTiming",
 }
""",
}


def test_what_is_built_in_takes_its_module_and_its_line(tmp_path: Path) -> None:
    sources = copy_of_sources(tmp_path)
    (sources / "hw_profiles" / "mychip.toml").write_text(recipe("Adding a chip", "toml"))
    assert [len(changed_files(sources)), 0] == files_said("a chip profile")
    for change, (heading, module) in MODULES.items():
        before = changed_files(sources)
        (sources / module).write_text(recipe(heading, "python"))
        apply_diff(sources, LINES[change])
        assert [len(changed_files(sources) - before), 0] == files_said(change)
    assert json.loads(call(sources, BUILT_IN).stdout) == {
        "a chip profile": "Loihi 2 with small cores",
        "a neuron program": "spikegpt_neuro.neurons.soft_reset_lif",
        "an export format": "spikegpt_neuro.converters.exporters.dot",
        "a reader of checkpoints": "spikegpt_neuro.converters.npz",
        "a timing model": "spikegpt_neuro.backends.cycle.timing.careful",
    }
