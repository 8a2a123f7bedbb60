"""Checkpoints by ``hf:OWNER/NAME``, from a hub that runs on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from spikegpt_neuro.converters import hub
from spikegpt_neuro.converters.hub import Reference
from spikegpt_neuro.errors import UnsupportedInput

from hub_server import COMMITS, Hub, serving
from random_models import random_model, save_safetensors, save_upstream, write_vocabulary
from verbs import verbs

pytest.importorskip("torch")
pytest.importorskip("huggingface_hub")

TEXT = "The quick brown fox returns a list of all items, if any.\n" * 12


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:owner/name", Reference("owner/name")),
        ("hf:owner/name@v1.0", Reference("owner/name", "v1.0")),
        ("hf:owner/name/a/model.pth", Reference("owner/name", None, "a/model.pth")),
        ("hf:o-w/n.a_m/SpikeGPT-216M.pth", Reference("o-w/n.a_m", None, "SpikeGPT-216M.pth")),
        ("hf:o/n@refs/pr/3/x.pth", Reference("o/n", "refs/pr/3", "x.pth")),
        ("hf:o/n@main/x@1.pth", Reference("o/n", "main", "x@1.pth")),
    ],
)
def test_references(text: str, expected: Reference) -> None:
    assert Reference.parse(text) == expected
    assert str(expected) == text
    assert hub.is_reference(text)
    assert not hub.is_reference(f"./{text}")


@pytest.mark.parametrize(
    "text",
    [
        *("hf:", "hf:name", "hf:/name", "hf:owner/", "hf:../name", "hf:owner/..", "hf:o/n/"),
        *("hf:o/n@", "hf:o/n@../x", "hf:o/n/../../etc/passwd", "hf:o/n/a/../b", "hf:o/n//b"),
        *("hf:o/n/a\\b", "hf:o/n/a\0b", "hf:o/n/x?y", "hf:o/n/%2e%2e/x", "hf:o/n/x\ny"),
        *("hf:http://o/n", "hf:o:x/n", "hf:o/n--m", f"hf:o/{'n' * 97}", "hf:o/n/.env"),
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(UnsupportedInput, match="expected hf:OWNER/NAME") as error:
        Reference.parse(text)
    assert "\n" not in str(error.value)
    assert "\0" not in str(error.value)


SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


@pytest.mark.parametrize(
    ("text", "names", "chosen", "beside"),
    [
        ("hf:o/n", ["a.pth", "vocab.json", "x/tokenizer.json"], "a.pth", ["vocab.json"]),
        ("hf:o/n", ["a.pth", "optimizer.pt", "README.md"], "a.pth", []),
        ("hf:o/n", ["model.safetensors", "pytorch_model.bin"], "model.safetensors", []),
        ("hf:o/n/b.pth", ["a.pth", "b.pth", "b-vocab.json"], "b.pth", ["b-vocab.json"]),
        ("hf:o/n/x/b.pth", ["a.pth", "x/b.pth", "x/config.json"], "x/b.pth", ["x/config.json"]),
        ("hf:o/n/x", ["a.pth", "x/b.pth", "vocab.json"], "x/b.pth", []),
        ("hf:o/n", ["f.onnx", "f.onnx.data"], "f.onnx", ["f.onnx.data"]),
        (
            "hf:o/n",
            [*SHARDS, "model.safetensors.index.json"],
            "model.safetensors.index.json",
            SHARDS,
        ),
        (f"hf:o/n/{SHARDS[0]}", [*SHARDS, "config.json"], SHARDS[0], [SHARDS[1], "config.json"]),
    ],
)
def test_what_is_fetched(text: str, names: list[str], chosen: str, beside: list[str]) -> None:
    assert hub._chosen(Reference.parse(text), names) == chosen
    assert hub._companions(chosen, names) == beside


@pytest.mark.parametrize(
    ("text", "names", "message"),
    [
        ("hf:o/n", ["a.pth", "b.pth"], "2 files of weights; name one of a.pth, b.pth"),
        ("hf:o/n", ["README.md"], "no weights among its 1 files"),
        ("hf:o/n", ["x/a.pth"], "no weights; there are x/a.pth"),
        ("hf:o/n/b.pth", ["a.pth"], "no file b.pth; there are a.pth"),
    ],
)
def test_what_cannot_be_chosen(text: str, names: list[str], message: str) -> None:
    with pytest.raises(UnsupportedInput, match=message):
        hub._chosen(Reference.parse(text), names)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with a random checkpoint as ``.pth`` and as safetensors, and this machine's cache."""
    model = random_model(layers=1, width=16)
    pth = save_upstream(tmp_path / "model.pth", model).read_bytes()
    vocab = write_vocabulary(tmp_path / "vocab.json").read_bytes()
    folder = save_safetensors(tmp_path / "folder", model)
    files = {
        "lab/pth": {"model.pth": pth, "vocab.json": vocab, "notes.txt": b"not fetched"},
        "lab/folder": {f.name: f.read_bytes() for f in folder.iterdir()},
        "lab/damaged": {"model.pth": pth[:1000], "vocab.json": vocab},
    }
    (tmp_path / "text.txt").write_text(TEXT)
    with serving(files, gated=frozenset({"lab/gated"})) as held:
        monkeypatch.setenv("HF_ENDPOINT", held.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.delenv("HF_HUB_CACHE", raising=False)
        yield held


def test_a_checkpoint_from_the_hub_is_the_one_on_disk(
    served: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrate = ("--calibrate", tmp_path / "text.txt", "--json")
    local, first, other = (tmp_path / name for name in ("local", "first", "other"))
    answers = verbs(
        tmp_path,
        ("convert", tmp_path / "model.pth", "-o", local, *calibrate),
        ("convert", "hf:lab/pth", "-o", first, *calibrate),
        ("info", "hf:lab/pth@v1/model.pth", "--json"),
        ("convert", "hf:lab/folder", "--vocab", "hf:lab/pth/vocab.json", "-o", other, *calibrate),
        ("info", "hf:lab/pth", "--json"),
    )
    assert [answer.code for answer in answers] == [0] * 5, [answer.err for answer in answers]
    for name in ("graph.json", "weights.safetensors", "vocab.json"):
        assert (first / name).read_bytes() == (local / name).read_bytes()
        assert (other / name).read_bytes() == (local / name).read_bytes()
    assert answers[1].figures["vocabulary_file"] == "vocab.json"
    assert "fetching model.pth of hf:lab/pth" in answers[1].err
    tagged, again = answers[2].figures, answers[4].figures
    assert tagged["source_file"] == f"hf:lab/pth@{COMMITS['v1']}/model.pth"
    assert again["source_file"] == f"hf:lab/pth@{COMMITS['main']}/model.pth"
    assert answers[4].err == ""
    expected = ["config.json", "model.pth", "model.safetensors", "vocab.json"]
    assert sorted(served.downloads) == expected  # each once, and nothing else

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    cached, absent = verbs(
        tmp_path, ("info", "hf:lab/pth", "--json"), ("info", "hf:lab/damaged", "--json")
    )
    assert cached.figures == again
    assert cached.err == ""
    assert absent.code == 3
    assert "offline mode is on (HF_HUB_OFFLINE)" in absent.err
    assert absent.err.count("\n") == 1


def test_an_unreachable_hub(served: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = verbs(
        tmp_path,
        ("info", "hf:lab/pth/model.pth"),
        ("info", "hf:lab/nothing"),
        ("info", "hf:lab/gated"),
        ("info", "hf:lab/pth@v9"),
        ("info", "hf:lab/pth/other.pth"),
        ("info", "hf:lab/damaged", "-q"),
        ("info", "hf:lab/pth/model.pth", "--vocab", "hf:lab/pth"),
    )[1:]
    words = [
        *("no such repository", "gated", "no such revision", "no file other.pth"),
        *("truncated", "name the file"),
    ]
    for answer, word in zip(refused, words, strict=True):
        assert answer.code == 3
        assert word in answer.err
        assert answer.err.count("\n") == 1, answer.err
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    cached, absent = verbs(
        tmp_path, ("info", "hf:lab/pth", "--json"), ("info", "hf:lab/folder", "--json")
    )
    assert cached.figures["vocab_size"] == 96
    assert "the copy in the cache is used" in cached.figures["remarks"][0]
    assert absent.code == 3
    assert "cannot be reached" in absent.err


def test_without_the_extra(tmp_path: Path) -> None:
    (tmp_path / "huggingface_hub.py").write_text("raise ImportError('not installed')\n")
    (answer,) = verbs(tmp_path, ("info", "hf:lab/pth"))
    assert answer.code == 4
    assert "pip install 'spikegpt-neuro[hub]'" in answer.err
    assert answer.err.count("\n") == 1
