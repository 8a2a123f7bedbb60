"""Every public function has an example, and the examples run and say what they promise."""

from __future__ import annotations

import doctest
import importlib.util
import inspect
import shutil
from pathlib import Path

import pytest
from loihi_records import measured_records

import spikegpt_neuro as sgn
from spikegpt_neuro import api

from places import CHECKPOINT, EXAMPLES

TEXT = "The return value is a new object. If the argument is None, the default is used. " * 20
FUNCTIONS = [n for n in api.__all__ if inspect.isfunction(getattr(api, n)) and n in sgn.__all__]

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch reads the example's checkpoint"
)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> sgn.SpikingGraph:
    text = tmp_path_factory.mktemp("text") / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    vocab = EXAMPLES / "pydoc-vocab.json"
    return sgn.convert(CHECKPOINT, vocab=vocab, calibration=text)


@pytest.fixture
def folder(graph: sgn.SpikingGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the examples find where they run."""
    shutil.copy(CHECKPOINT, tmp_path / "model.pth")
    shutil.copy(EXAMPLES / "pydoc-vocab.json", tmp_path / "vocab.json")
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    graph.save(str(tmp_path / "pydoc.sgn"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_example_of_a_function_runs(name: str, folder: Path, graph: sgn.SpikingGraph) -> None:
    function = getattr(api, name)
    names = {"sgn": sgn, "graph": graph, "records": measured_records()}
    (found,) = doctest.DocTestFinder(recurse=False).find(function, name, globs=names)
    assert found.examples, f"{name} has no example"
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    told: list[str] = []
    runner.run(found, out=told.append)
    assert not told, "".join(told)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_documented(name: str) -> None:
    function = getattr(api, name)
    text = inspect.getdoc(function) or ""
    assert "Raises" in text or name in ("doctor",), f"{name} does not say what it raises"
    for parameter in inspect.signature(function).parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty


def test_what_is_public_is_written_down() -> None:
    assert sorted(sgn.__all__) == sorted(set(sgn.__all__))
    assert set(FUNCTIONS) >= {
        *("convert", "load", "save", "float_model", "run", "generate", "evaluate", "place"),
        *("profile", "simulate", "compare", "report", "export", "fit", "profiles", "finetune"),
    }
    assert set(sgn.__all__) <= set(dir(sgn))


def test_no_public_name_is_a_module_too() -> None:
    """An import of the module would take the function's place."""
    for package, names in ((sgn, sgn.__all__), (api, api.__all__)):
        assert package.__file__ is not None
        folder = Path(package.__file__).parent
        modules = {file.stem for file in folder.iterdir()}
        assert not modules & set(names)
