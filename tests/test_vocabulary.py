"""Vocabularies: reading, encoding, decoding, streaming, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.sampling import options_for
from spikegpt_neuro.tokenizer import guarded
from spikegpt_neuro.vocabulary import (
    BPEVocabulary,
    ByteVocabulary,
    CharacterVocabulary,
    TextStream,
    Vocabulary,
    check_token_ids,
    read_vocabulary,
    refine_prompt,
    vocabulary_from_files,
)

from random_models import EVERY_PRINTABLE, byte_level_tokenizer, write_vocabulary

CHARACTERS = CharacterVocabulary(tuple(EVERY_PRINTABLE))


BPE = BPEVocabulary(byte_level_tokenizer(), 320)
ALL: tuple[Vocabulary, ...] = (CHARACTERS, ByteVocabulary(), BPE)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8", "utf-8-sig"])
def test_character_file_in_any_unicode_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "vocab.json"
    table = {str(i): c for i, c in enumerate(EVERY_PRINTABLE + "\u00e9\u4e2d\U0001f600")}
    path.write_bytes(json.dumps(table, ensure_ascii=False).encode(encoding))
    vocabulary = read_vocabulary(path, 99)
    assert vocabulary.kind == "character"
    assert vocabulary.encode("\n \u4e2d\U0001f600").tolist() == [0, 1, 97, 98]
    assert vocabulary.decode([0, 1, 97, 98]) == "\n \u4e2d\U0001f600"


@pytest.mark.parametrize("vocabulary", ALL, ids=lambda v: v.kind)
@given(text=st.text(EVERY_PRINTABLE, min_size=1))
def test_decoding_inverts_encoding(vocabulary: Vocabulary, text: str) -> None:
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int64
    assert vocabulary.decode(ids) == text


@pytest.mark.parametrize("vocabulary", ALL[1:], ids=lambda v: v.kind)
@given(text=st.text(min_size=1))
def test_bytes_and_bpe_hold_all_of_unicode(vocabulary: Vocabulary, text: str) -> None:
    stream = TextStream(vocabulary)
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == text
    assert "".join(map(stream.push, ids.tolist())) + stream.flush() == text


@given(ids=st.lists(st.integers(0, 255), min_size=1))
def test_a_stream_of_any_bytes_gives_what_decoding_gives(ids: list[int]) -> None:
    stream = TextStream(ByteVocabulary())
    streamed = "".join(stream.push(token) for token in ids) + stream.flush()
    assert streamed == ByteVocabulary().decode(ids)


def test_a_stream_holds_back_incomplete_characters() -> None:
    stream = TextStream(ByteVocabulary())
    assert [stream.push(byte) for byte in "a\u20acb".encode()] == ["a", "", "", "\u20ac", "b"]
    assert stream.push(0xE2) == ""
    assert stream.flush() == "\ufffd"
    assert stream.flush() == ""


def test_a_character_vocabulary_may_hold_the_replacement_character() -> None:
    stream = TextStream(CharacterVocabulary(("\ufffd", "a")))
    assert [stream.push(0), stream.push(1), stream.flush()] == ["\ufffd", "a", ""]


@pytest.mark.parametrize("vocabulary", ALL, ids=lambda v: v.kind)
def test_files_round_trip(vocabulary: Vocabulary) -> None:
    again = vocabulary_from_files(vocabulary.kind, vocabulary.to_files(), vocabulary.size)
    assert again == vocabulary


@pytest.mark.parametrize("vocabulary", ALL, ids=lambda v: v.kind)
def test_empty_text(vocabulary: Vocabulary) -> None:
    with pytest.raises(UnsupportedInput, match="text is empty"):
        vocabulary.encode("")
    assert vocabulary.decode([]) == ""


def test_characters_outside_are_counted_and_shown() -> None:
    with pytest.raises(UnsupportedInput) as error:
        CHARACTERS.encode("na\u00efve caf\u00e9")
    assert str(error.value) == (
        "2 of 10 characters are outside the vocabulary of 96 characters, the first "
        "'\u00ef' (U+00EF) at position 2; unknown='replace' goes on with a substitute"
    )


def test_characters_outside_become_spaces_or_id_0() -> None:
    assert CHARACTERS.decode(CHARACTERS.encode("a\u00efb", unknown="replace")) == "a b"
    assert CharacterVocabulary(("x", "a")).encode("a?", unknown="replace").tolist() == [1, 0]


@pytest.mark.parametrize("vocabulary", ALL[1:], ids=lambda v: v.kind)
def test_lone_surrogates(vocabulary: Vocabulary) -> None:
    with pytest.raises(UnsupportedInput, match="1 of 3 characters are outside Unicode text"):
        vocabulary.encode("ab\udc80")
    assert vocabulary.decode(vocabulary.encode("ab\udc80", unknown="replace")) == "ab?"


def test_a_tokenizer_with_an_unknown_token() -> None:
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "spike": 1}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    vocabulary = BPEVocabulary(tokenizer.to_str(), 2)
    with pytest.raises(UnsupportedInput, match=r"outside the tokenizer, the first 't'.*position 6"):
        vocabulary.encode("spike train spike")
    assert vocabulary.encode("spike train", unknown="replace").tolist() == [1, 0]
    with pytest.raises(UnsupportedInput, match="no tokens"):
        vocabulary.encode("  ")


@pytest.mark.parametrize("vocabulary", ALL, ids=lambda v: v.kind)
def test_decoding_checks_ids(vocabulary: Vocabulary) -> None:
    with pytest.raises(UnsupportedInput, match=f"token id {vocabulary.size} at position 1"):
        vocabulary.decode([0, vocabulary.size])


def test_padded_ids_of_a_tokenizer_decode_to_nothing() -> None:
    assert BPE.largest_id < 319
    assert BPE.decode([319]) == ""


def test_special_tokens_are_shown() -> None:
    assert BPE.decode([0]) == "<|endoftext|>"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a JSON vocabulary"),
        (b"\xff\xfe{", "not a JSON vocabulary"),
        (b'{"0": "a"', "not a JSON vocabulary"),
        (b"[1, 2]", "expected .*id to character"),
        (b"{}", "expected .*id to character"),
        (b'{"a": 0, "b": 1}', "key 'a' is not an id in 0..1"),
        (b'{"0": "a", "2": "b"}', "key '2' is not an id in 0..1"),
        (b'{"0": "a", "1": "bc"}', "id 1 is 'bc', expected a single character"),
        (b'{"0": "a", "1": 7}', "id 1 is 7, expected a single character"),
        (b'{"0": "a", "1": "a"}', "'a' has two ids, 0 and 1"),
        (b'{"0": "a"}', "has 1 characters, the model has 2 token ids"),
        (b'{"0": "a", "1": "b", "2": "c"}', "has 3 characters, the model has 2 token ids"),
        (b'{"model": {"type": "nonsense"}}', "not a tokenizer.json"),
    ],
)
def test_malformed_files_name_the_file_and_the_fault(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(UnsupportedInput, match=message) as error:
        read_vocabulary(path, 2)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_a_tokenizer_larger_than_the_model(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(BPE.tokenizer_json)
    assert read_vocabulary(path, BPE.largest_id + 1).kind == "bpe"
    with pytest.raises(UnsupportedInput, match=f"ids up to {BPE.largest_id}, the model only"):
        read_vocabulary(path, BPE.largest_id)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedInput, match="cannot be read: No such file"):
        read_vocabulary(tmp_path / "none.json", 2)


@pytest.mark.parametrize(
    ("kind", "files", "size", "message"),
    [
        ("byte", {}, 255, "has 256 ids, the model has 255"),
        ("word", {}, 2, "known: character, byte, bpe"),
        ("character", {}, 2, "vocab.json: missing"),
        ("bpe", {"tokenizer.json": b'{"0": "a", "1": "b"}'}, 2, "holds a character vocabulary"),
    ],
)
def test_artifact_files_are_checked(
    kind: str, files: dict[str, bytes], size: int, message: str
) -> None:
    with pytest.raises(UnsupportedInput, match=message):
        vocabulary_from_files(kind, files, size)


@pytest.mark.parametrize(
    ("text", "refined"),
    [
        ("Once", "\nOnce"),
        ("  Once \r\n\n\u3000upon\u3000\n   \na time ", "\nOnce\nupon\na time"),
        ("\n\n", "\n"),
        ("", "\n"),
    ],
)
def test_refine_prompt(text: str, refined: str) -> None:
    assert refine_prompt(text) == refined


def test_reading_upstreams_file_gives_the_same_as_utf8(tmp_path: Path) -> None:
    path = write_vocabulary(tmp_path / "vocab.json")
    assert path.read_bytes().startswith((b"\xff\xfe", b"\xfe\xff"))
    assert read_vocabulary(path, 96) == CHARACTERS


@pytest.mark.parametrize("tokens", [np.array([1, 2], np.uint8), [1, 2], (1, 2)])
def test_token_ids_become_int64(tokens: Any) -> None:
    checked = check_token_ids(tokens, 3)
    assert checked.dtype == np.int64
    assert checked.tolist() == [1, 2]


# Tokenizers: what they mark as special, and what they fail on.


def _tokenizer(special: tuple[str, ...] = (), added: tuple[str, ...] = ()) -> dict[str, Any]:
    """A byte-level BPE whose first id is ``!``, as GPT-2's; added tokens come last."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(special))
    tokenizer.add_tokens(list(added))
    return dict(json.loads(tokenizer.to_str()))


def test_only_special_tokens_and_ids_without_a_token_are_no_text() -> None:
    special = ("<|endoftext|>", "<|padding|>", "<pad>", "<s>")
    content = _tokenizer(special, added=("   ", "<custom>"))
    vocabulary = BPEVocabulary(json.dumps(content), 320)
    assert vocabulary.decode([0, 260, 261]) == "!   <custom>"
    assert vocabulary.not_text == (256, 257, 258, 259, *range(262, 320))
    assert options_for(vocabulary).forbid == vocabulary.not_text
    assert options_for(CHARACTERS).forbid == options_for(ByteVocabulary()).forbid == ()


def test_a_tokenizer_of_nothing_but_special_tokens_draws_nothing() -> None:
    tokenizer = Tokenizer(models.WordLevel({"<s>": 0}, unk_token="<s>"))
    tokenizer.add_special_tokens(["<s>"])
    with pytest.raises(UnsupportedInput, match="every token as special"):
        options_for(BPEVocabulary(tokenizer.to_str(), 1))


@pytest.mark.parametrize(
    ("size", "far"), [(256, False), (320, False), (352, True), (512, True), (50_277, True)]
)
def test_a_tokenizer_far_smaller_than_the_model(size: int, far: bool) -> None:
    assert BPEVocabulary(json.dumps(_tokenizer()), size).is_far_smaller is far


def test_dropout_of_a_tokenizer_is_off() -> None:
    content = json.loads(byte_level_tokenizer())
    content["model"]["dropout"] = 0.9
    wanted = BPE.encode("the spike of the neuron " * 8).tolist()
    found = BPEVocabulary(json.dumps(content), 320)
    assert [found.encode("the spike of the neuron " * 8).tolist() for _ in range(3)] == [wanted] * 3


def _panicking() -> dict[str, Any]:
    return _tokenizer() | {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}


@pytest.mark.parametrize(
    "change",
    [
        _panicking(),
        {"normalizer": {"type": "Sequence", "normalizers": [_panicking()["normalizer"]]}},
        {"decoder": {"type": "nonsense"}},
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Removed"}},
        {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}},
        {"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}},
        {"model": {"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 7}},
    ],
)
def test_a_tokenizer_that_fails_is_one_line_and_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], change: dict[str, Any]
) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(_tokenizer() | change))
    with pytest.raises(UnsupportedInput, match=r"not a tokenizer\.json") as error:
        read_vocabulary(path, 320)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_a_tokenizer_that_cannot_encode_a_text_is_an_error_of_ours() -> None:
    tokenizer = Tokenizer(models.WordLevel({"spike": 0}, unk_token="<unk>"))
    with pytest.raises(UnsupportedInput, match="fails on the text 'train'"):
        BPEVocabulary(tokenizer.to_str(), 1).encode("train")


def test_what_others_print_meanwhile_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    def action() -> int:
        os.write(2, b"of another thread\n")
        return 7

    assert guarded(action) == 7
    assert capfd.readouterr().err == "of another thread\n"


def _gpt2_files(folder: Path) -> Path:
    model = json.loads(byte_level_tokenizer())["model"]
    first, *others = sorted(model["vocab"], key=lambda token: model["vocab"][token])
    table = {token: index for index, token in enumerate([*others, first])}
    (folder / "vocab.json").write_text(json.dumps(table, ensure_ascii=False), encoding="utf-8")
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    lines = ["#version: 0.2", *merges, ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder / "vocab.json"


def test_the_two_files_of_gpt2(tmp_path: Path) -> None:
    path = _gpt2_files(tmp_path)
    vocabulary = read_vocabulary(path, 320)
    text = "the spike of the neuron, caf\u00e9\n"
    assert vocabulary.kind == "bpe"
    assert vocabulary.encode(text).tolist() == (BPE.encode(text) - 1).tolist()
    assert vocabulary.decode(vocabulary.encode(text)) == text
    assert vocabulary.decode([0]) == "!"
    end = BPE.largest_id
    assert vocabulary.not_text == tuple(range(end, 320))  # <|endoftext|>, and no token
    (tmp_path / "special_tokens_map.json").write_text('{"bos_token": {"content": "the"}}')
    the = int(read_vocabulary(path, 320).encode("the")[0])
    assert read_vocabulary(path, 320).not_text == (the, *range(end, 320))


def test_tokens_without_merges_are_refused(tmp_path: Path) -> None:
    path = _gpt2_files(tmp_path)
    (tmp_path / "merges.txt").write_text("a b c\n")
    with pytest.raises(UnsupportedInput, match=r"merges.txt: 'a b c' is not a pair"):
        read_vocabulary(path, 320)
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(UnsupportedInput, match=r"need merges.txt beside them"):
        read_vocabulary(path, 320)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<!DOCTYPE html><html>", "is an HTML page"),
        (b"\n  <html>", "is an HTML page"),
        (b"GGUF\3\0\0\0" + bytes(64), "is a GGUF model"),
        (b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02", "is a SentencePiece model"),
        (b"\x1f\x8b\x08\0", "is a gzip archive"),
        (b"PK\3\4" + bytes(64), "is a zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (b"[" * 100_000, "not a JSON vocabulary"),
        (b'{"model": ' * 100_000, "not a JSON vocabulary"),
        (b'{"0": 1' + b"0" * 5000 + b"}", "not a JSON vocabulary"),
    ],
)
def test_what_is_no_vocabulary_is_named(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(UnsupportedInput, match=what) as error:
        read_vocabulary(path, 320)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UnsupportedInput, match="is larger than"):
        read_vocabulary(path, 320)
