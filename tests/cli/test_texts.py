"""Prompts, texts and vocabularies as people give them, through the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import spikegpt_neuro as sgn
from spikegpt_neuro.converters.lowering import lower
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.vocabulary import BPEVocabulary, ByteVocabulary

from places import CHECKPOINT, EXAMPLES
from random_models import random_model, random_tokens, save_upstream, write_vocabulary
from verbs import verb

PROGRAM = Path(sys.executable).with_name("spikegpt-neuro")
PADDED = 320
SPECIAL = ("<|endoftext|>", "<|padding|>", "<s>")


def _preferring(order: list[int]) -> SpikeGPT:
    """A model whose likeliest tokens are always those of ``order``, the first one first."""
    model = random_model(layers=1, width=16, vocab_size=PADDED)
    head = np.zeros((PADDED, 16), np.float32)
    head[order] = np.linspace(4, 1, len(order), dtype=np.float32)[:, None]
    flat = {"ln_out.weight": np.zeros(16), "ln_out.bias": np.ones(16), "head.weight": head}
    changed = {name: np.asarray(value, np.float32) for name, value in flat.items()}
    return replace(model, tensors={**model.tensors, **changed})


def _tokenizer() -> str:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens(["<more>"])
    tokenizer.add_special_tokens(list(SPECIAL))
    return str(tokenizer.to_str())


@pytest.mark.parametrize(
    ("order", "text"),
    [
        ([0, 1], "!"),
        ([257, 258, 259, 0], "!"),  # the special tokens
        ([260, 319, 300, 0], "!"),  # rows of the head that no token has
        ([256, 0], "<more>"),  # added, and not special
    ],
)
def test_what_is_written_is_text(tmp_path: Path, order: list[int], text: str) -> None:
    model = _preferring(order)
    graph = lower(model, random_tokens(model, 300))
    sgn.save(replace(graph, vocabulary=BPEVocabulary(_tokenizer(), PADDED)), tmp_path / "a.sgn")
    arguments = ("-n", 20, "--json", "--top-p", 1)
    for options in (("--temperature", 0), ("--temperature", 0.01, "--seed", 1)):
        found = verb("generate", tmp_path / "a.sgn", "abc", *arguments, *options).figures
        assert found["text"] == 20 * text


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with artifacts of a character and of a byte model."""
    folder = tmp_path_factory.mktemp("small")
    characters = random_model(layers=1, width=16)
    vocabulary = write_vocabulary(folder / "vocab.json")
    graph = lower(characters, random_tokens(characters, 300))
    from spikegpt_neuro.vocabulary import read_vocabulary

    sgn.save(replace(graph, vocabulary=read_vocabulary(vocabulary, 96)), folder / "c.sgn")
    bytes_ = random_model(layers=1, width=16, vocab_size=256)
    graph = lower(bytes_, random_tokens(bytes_, 300))
    sgn.save(replace(graph, vocabulary=ByteVocabulary()), folder / "b.sgn")
    return folder


def _piped(given: bytes, *arguments: object) -> dict[str, Any]:
    command = [str(PROGRAM), *map(str, arguments), "--json", "-q"]
    done = subprocess.run(command, input=given, capture_output=True)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_a_prompt_from_standard_input_is_the_typed_one(small: Path) -> None:
    options = ("-n", 12, "--temperature", 0)
    typed = verb("generate", small / "c.sgn", "The quick", *options, "--json").figures["text"]
    piped = _piped(b"The quick\n", "generate", small / "c.sgn", "-", *options)["text"]
    (small / "prompt.txt").write_text("The quick\n")
    graph = sgn.load(small / "c.sgn")
    assert graph.vocabulary is not None
    ids = graph.vocabulary.encode("\nThe quick")
    for prompt in ("The quick", small / "prompt.txt", ids):
        assert sgn.generate(graph, prompt, 12, temperature=0).text == typed
    assert piped == typed


def test_a_byte_model_takes_any_text(small: Path, tmp_path: Path) -> None:
    raw = b"caf\xe9 \xff\r\ncaf\xc3" * 9
    (tmp_path / "text.txt").write_bytes(raw)
    graph = sgn.load(small / "b.sgn")
    ids = np.frombuffer(raw, np.uint8).astype(np.int64)
    wanted = sgn.evaluate(graph, ids).bits_per_token
    found = verb("evaluate", small / "b.sgn", tmp_path / "text.txt", "--json").figures
    assert found["bits_per_token"] == wanted
    assert found["tokens"] == len(raw) - 1
    wanted_text = sgn.generate(graph, ids, 8, temperature=0).text
    options = ("-n", 8, "--temperature", 0)
    assert _piped(raw, "generate", small / "b.sgn", "-", *options)["text"] == wanted_text
    refused = verb("evaluate", small / "c.sgn", tmp_path / "text.txt")
    assert refused.code == 3
    assert "--unknown replace" in refused.err
    replaced = verb("evaluate", small / "c.sgn", tmp_path / "text.txt", "--unknown", "replace")
    assert replaced.code == 0


def test_a_tokenizer_that_panics_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    content = json.loads(_tokenizer())
    content["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    save_upstream(tmp_path / "model.pth", random_model(layers=1, width=16, vocab_size=PADDED))
    command = [PROGRAM, "info", tmp_path / "model.pth", "--vocab", tmp_path / "tokenizer.json"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "not a tokenizer.json: Precompiled" in done.stderr


# The vocabulary that was taken, and remarks on it.


def _beside(folder: Path, model: SpikeGPT, **files: str) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / f"{name}.json").write_text(content)
    return save_upstream(folder / "model.pth", model)


def test_the_vocabulary_file_is_named(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "text.txt").write_text("The quick brown fox. " * 30)
    checkpoint = save_upstream(tmp_path / "model.pth", random_model(layers=1, width=16))
    write_vocabulary(tmp_path / "of-the-run-vocab.json")
    options = ("--calibrate", tmp_path / "text.txt", "-o", tmp_path / "a.sgn")
    assert "of-the-run-vocab.json" in verb("convert", checkpoint, *options).out
    for path in (tmp_path / "a.sgn", checkpoint):
        assert verb("info", path, "--json").figures["vocabulary_file"] == "of-the-run-vocab.json"
    given = shutil.copy(tmp_path / "of-the-run-vocab.json", tmp_path / "given.json")
    figures = verb("info", checkpoint, "--vocab", given, "--json").figures
    assert figures["vocabulary_file"] == "given.json"


def test_bytes_that_are_assumed_and_tokenizers_far_too_small_are_remarked_on(
    tmp_path: Path,
) -> None:
    pytest.importorskip("torch")
    of_bytes = random_model(layers=1, width=16, vocab_size=256)
    alone = verb("info", _beside(tmp_path / "alone", of_bytes), "--json").figures
    assert (alone["vocabulary"], alone["vocabulary_file"]) == ("byte", None)
    assert alone["remarks"] == []
    checkpoint = _beside(tmp_path / "other", of_bytes, vocab='{"0": "a"}')
    answer = verb("info", checkpoint, "--json")
    (remark,) = answer.figures["remarks"]
    assert remark.startswith("bytes are taken as the vocabulary, not vocab.json: has 1 characters")
    assert answer.err == f"{remark}\n"
    assert verb("info", checkpoint, "--json", "-q").err == ""
    large = random_model(layers=1, width=16, vocab_size=1000)
    checkpoint = _beside(tmp_path / "large", large, tokenizer=_tokenizer())
    assert verb("info", checkpoint, "--json").figures["remarks"] == [
        "tokenizer.json has 260 tokens, the model 1,000 token ids: wrong vocabulary?"
    ]
    padded = random_model(layers=1, width=16, vocab_size=PADDED)
    checkpoint = _beside(tmp_path / "padded", padded, tokenizer=_tokenizer())
    assert verb("info", checkpoint, "--json").figures["remarks"] == []


def test_why_there_is_no_vocabulary(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    checkpoint = _beside(tmp_path / "m", random_model(layers=1, width=16), vocab='{"0": "a"}')
    answer = verb("convert", checkpoint, "-o", tmp_path / "a.sgn")
    assert answer.code == 3
    assert "no vocabulary in or beside it for 96 token ids (vocab.json: has 1 char" in answer.err
    assert answer.err.count("\n") == 1


def test_the_vocabulary_of_another_run_is_remarked_on(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    table = json.loads((EXAMPLES / "pydoc-vocab.json").read_bytes())
    shuffled = {key: table[str(95 - int(key))] for key in table}
    shutil.copy(CHECKPOINT, tmp_path / "model.pth")
    (tmp_path / "vocab.json").write_text(json.dumps(shuffled))
    (tmp_path / "text.txt").write_text("Return a string that is the list of arguments. " * 20)
    options = ("--calibrate", tmp_path / "text.txt", "-o", tmp_path / "a.sgn", "--json")
    converted = verb("convert", tmp_path / "model.pth", *options)
    scored = verb("evaluate", tmp_path / "a.sgn", tmp_path / "text.txt", "--json")
    for answer in (converted, scored):
        (remark,) = answer.figures["remarks"]
        assert "more than the 6.585 of guessing: wrong vocabulary" in remark
        assert answer.err == f"{remark}\n"
    assert converted.figures["vocabulary_file"] == "vocab.json"
    (tmp_path / "vocab.json").write_text(json.dumps(table))
    right = verb("convert", tmp_path / "model.pth", *options, "--force")
    assert (right.figures["remarks"], right.err) == ([], "")
