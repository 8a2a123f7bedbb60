"""Whatever takes a graph takes the path of its artifact, too, and does the same with it."""

from __future__ import annotations

import importlib.util
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import spikegpt_neuro as sgn
from spikegpt_neuro.api import benchmarking
from spikegpt_neuro.api.models import GraphLike
from spikegpt_neuro.api.placing import checksum_of
from spikegpt_neuro.benchmark.suite import Comparison, Subject
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.vocabulary import ByteVocabulary

from random_models import random_model, random_tokens

TEXT = "The return value is the same."
IDS = list(TEXT.encode())


def talk(graph: GraphLike, _: Path) -> str:
    with sgn.Chat(graph, temperature=0) as chat:
        return chat.say(TEXT, 3).text


def simulated(graph: GraphLike, _: Path) -> Mapping[str, Any]:
    found = sgn.simulate(graph, IDS, verify=True).to_dict()
    return {name: value for name, value in found.items() if "seconds" not in name}


def reported(graph: GraphLike, folder: Path) -> str:
    sgn.report(graph, folder / "page.html", TEXT)
    return (folder / "page.html").read_text(encoding="utf-8")


def exported(graph: GraphLike, folder: Path) -> bytes:
    return sgn.export(graph, "nir", folder / "model.nir").path.read_bytes()


def saved(graph: GraphLike, folder: Path) -> Mapping[str, bytes]:
    return {file.name: file.read_bytes() for file in sgn.save(graph, folder / "copy").iterdir()}


def benched(graph: GraphLike, _: Path) -> Mapping[str, Any]:
    """What would be measured: measuring starts processes, and takes its time."""

    def described(subject: Subject, *_: object) -> Comparison:
        start = sgn.load(subject.artifact)
        facts = {"populations": len(start.populations), "tokens": subject.tokens.tolist()}
        return Comparison((), facts, subject.remarks)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmarking, "measure", described)
        return sgn.bench(graph, tokens=16).facts


def job(graph: GraphLike, folder: Path) -> Mapping[str, Any]:
    held = sgn.write_job(graph, folder / "job", IDS, backend="loihi", layers="0")
    return {name: value for name, value in held.items() if str(folder) not in str(value)}


CALLS: Mapping[str, Callable[[Any, Path], Any]] = {
    "Chat": talk,
    "bench": benched,
    "compare": lambda graph, _: sgn.compare(graph, {"hw": ["loihi1", "loihi2"]}, IDS).to_dict(),
    "describe": lambda graph, _: sgn.describe(graph).to_dict(),
    "evaluate": lambda graph, _: sgn.evaluate(graph, IDS).to_dict(),
    "export": exported,
    "generate": lambda graph, _: sgn.generate(graph, TEXT, 3, temperature=0).text,
    "place": lambda graph, _: sgn.place(graph, "loihi2", activity=IDS).to_dict(),
    "profile": lambda graph, _: sgn.profile(graph, IDS).to_dict(),
    "report": reported,
    "run": lambda graph, _: sgn.run(graph, IDS).logits.tolist(),
    "save": saved,
    "simulate": simulated,
    "write_job": job,
}
"""What takes a graph -> a call of it, and what of its result depends on the graph alone."""
NEEDS = {"export": "nir", "report": "jinja2"}


def parameters(name: str) -> list[str]:
    """Annotations of a public function or class, as they are written."""
    thing = getattr(sgn, name)
    if inspect.isfunction(thing) or name == "Chat":
        return [str(each.annotation) for each in inspect.signature(thing).parameters.values()]
    return []


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = replace(random_model(1, 32, 256), vocabulary=ByteVocabulary())
    graph = lower(model, random_tokens(model, 256))
    return sgn.save(graph, tmp_path_factory.mktemp("model") / "model.sgn")


def test_no_public_function_wants_a_graph_that_is_loaded_already() -> None:
    for name in sgn.__all__:
        assert not any("SpikingGraph" in annotation for annotation in parameters(name)), name
    takers = {name for name in sgn.__all__ if any("GraphLike" in a for a in parameters(name))}
    assert takers == CALLS.keys()


@pytest.mark.parametrize("name", CALLS)
def test_a_path_is_as_good_as_the_graph(name: str, artifact: Path, tmp_path: Path) -> None:
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"needs {NEEDS[name]}")
    found = []
    for number, given in enumerate((sgn.load(artifact), artifact, str(artifact))):
        folder = tmp_path / str(number)
        folder.mkdir()
        found.append(CALLS[name](given, folder))
    assert found[0] == found[1] == found[2]


def test_a_placement_keeps_the_checksum_of_the_path(artifact: Path, tmp_path: Path) -> None:
    placed = sgn.place(artifact, "loihi2", activity=IDS)
    held = json.loads(placed.save(tmp_path / "placement.json").read_text(encoding="utf-8"))
    assert checksum_of(artifact) in held.values()


@pytest.mark.parametrize("name", CALLS)
def test_what_is_no_graph_is_refused_in_a_line(name: str, tmp_path: Path) -> None:
    checkpoint = tmp_path / "model.pth"
    checkpoint.write_bytes(b"weights")
    with pytest.raises(sgn.SpikeGPTError):
        CALLS[name](checkpoint, tmp_path)
    if name not in ("describe", "export"):  # which take checkpoints, too
        with pytest.raises(sgn.UsageError, match="expected a graph or the path of its artifact"):
            CALLS[name](7, tmp_path)
