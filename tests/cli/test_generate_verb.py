"""``generate`` as people use it: a checkpoint at once, and a talk at a prompt."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import spikegpt_neuro as sgn

from random_models import random_model, save_upstream, write_vocabulary
from verbs import verb

pytest.importorskip("torch", reason="torch writes the checkpoint")

OPTIONS = ("-n", 12, "--temperature", 0, "--json")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random 1-layer checkpoint beside its vocabulary."""
    folder = tmp_path_factory.mktemp("quick")
    save_upstream(folder / "model.pth", random_model(layers=1, width=16))
    write_vocabulary(folder / "vocab.json")
    return folder / "model.pth"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for caches of this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    return tmp_path / "caches" / "spikegpt-neuro"


def _kept(cache: Path) -> list[Path]:
    return sorted(cache.iterdir())


def test_a_checkpoint_is_converted_once(checkpoint: Path, cache: Path, tmp_path: Path) -> None:
    first = verb("generate", checkpoint, "The", "--quick", *OPTIONS)
    (kept,) = _kept(cache)
    assert f"converted into the cache: {kept}" in first.err
    converted = tmp_path / "model.sgn"
    assert verb("convert", checkpoint, "-o", converted, "-q").code == 0
    said = verb("generate", converted, "The", *OPTIONS).figures
    assert first.figures["text"] == said["text"]
    stamp = kept.stat().st_mtime_ns
    second = verb("generate", checkpoint, "The", "--quick", *OPTIONS)
    assert second.figures["text"] == said["text"]
    assert f"read from the cache: {kept}" in second.err
    assert (_kept(cache), kept.stat().st_mtime_ns) == ([kept], stamp)
    assert verb("generate", checkpoint, "The", "--quick", "-q", *OPTIONS).err == ""


def test_what_the_graph_depends_on_is_its_key(
    checkpoint: Path, cache: Path, tmp_path: Path
) -> None:
    def kept(path: Path, **options: Any) -> int:
        sgn.convert_cached(path, calibration=text, **options)
        return len(_kept(cache))

    text = tmp_path / "text.txt"
    text.write_text("The quick brown fox. " * 40)
    assert kept(checkpoint) == 1
    moved = tmp_path / "other.pth"
    shutil.copy(checkpoint, moved)
    shutil.copy(checkpoint.with_name("vocab.json"), tmp_path)
    assert kept(moved) == 1
    assert kept(checkpoint, weight_bits=8) == 1
    assert kept(checkpoint, weight_bits=4) == 2
    text.write_text("The lazy dog. " * 40)
    assert kept(checkpoint) == 3
    save_upstream(moved, random_model(layers=1, width=16, seed=5))
    assert kept(moved) == 4


def test_a_damaged_one_is_converted_anew(checkpoint: Path, cache: Path) -> None:
    graph = sgn.convert_cached(checkpoint)
    (kept,) = _kept(cache)
    weights = kept / "weights.safetensors"
    before = hashlib.sha256(weights.read_bytes()).digest()
    with weights.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x55")
    assert sgn.convert_cached(checkpoint).shape == graph.shape
    assert hashlib.sha256(weights.read_bytes()).digest() == before


def test_errors_of_quick(
    checkpoint: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = verb("generate", checkpoint, "The")
    assert (said.code, said.err.count("\n")) == (3, 1)
    assert "--quick converts it into a cache, or convert a checkpoint first" in said.err
    assert verb("generate", checkpoint, "The", "--vocab", "v.json").code == 2
    missing = verb("generate", tmp_path / "none.pth", "The", "--quick")
    assert (missing.code, missing.err.count("\n")) == (3, 1)
    assert not _kept(cache)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    said = verb("generate", checkpoint, "The", "--quick")
    assert (said.code, said.err.count("\n")) == (3, 1)
    assert "XDG_CACHE_HOME" in said.err
