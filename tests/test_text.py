"""Texts of users: any bytes, any line ends, and positions as the user counts them."""

from __future__ import annotations

import json
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikegpt_neuro import text
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.text import ids_of_file, ids_of_prompt
from spikegpt_neuro.vocabulary import BPEVocabulary, ByteVocabulary, CharacterVocabulary

from random_models import EVERY_PRINTABLE, byte_level_tokenizer

CHARACTERS = CharacterVocabulary(tuple(EVERY_PRINTABLE))
WITH_RETURN = CharacterVocabulary((*EVERY_PRINTABLE, "\r"))
BPE = BPEVocabulary(byte_level_tokenizer(), 320)


def _file(folder: Path, content: bytes) -> Path:
    path = folder / "text.txt"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "content", [b"caf\xc3", b"caf\xe9 \xff", b"a\r\nb\rc\n", bytes(range(256)), b"\xff\xfea\0b\0"]
)
def test_a_byte_model_takes_any_bytes(tmp_path: Path, content: bytes) -> None:
    found = ids_of_file(_file(tmp_path, content), ByteVocabulary(), "error")
    assert found.dtype == np.uint8
    assert found.tolist() == list(content)


def test_bytes_that_are_no_text_get_a_substitute_where_one_is_wanted(tmp_path: Path) -> None:
    path = _file(tmp_path, b"caf\xe9 or caf\xc3\xa9")
    for vocabulary in (CHARACTERS, BPE):
        with pytest.raises(UnsupportedInput) as error:
            ids_of_file(path, vocabulary, "error")
        assert str(error.value) == (
            f"{path}: not UTF-8 text: byte 0xe9 at position 3; unknown='replace' goes on with a "
            "substitute"
        )
    assert CHARACTERS.decode(ids_of_file(path, CHARACTERS, "replace")) == "caf  or caf "
    assert BPE.decode(ids_of_file(path, BPE, "replace")) == "caf\ufffd or caf\u00e9"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("unknown", ["error", "replace"])
def test_a_mark_of_utf_16_is_named(tmp_path: Path, encoding: str, unknown: Any) -> None:
    raw = "abc".encode(encoding)
    path = _file(tmp_path, raw if raw[0] > 0xF0 else b"\xfe\xff" + raw)
    with pytest.raises(UnsupportedInput, match=f"is {encoding[:6].upper()} text"):
        ids_of_file(path, CHARACTERS, unknown)


def test_a_mark_of_utf_8_is_no_text(tmp_path: Path) -> None:
    path = _file(tmp_path, b"\xef\xbb\xbfabc")
    for vocabulary in (CHARACTERS, BPE, ByteVocabulary()):
        assert vocabulary.decode(ids_of_file(path, vocabulary, "error")) == "abc"
    with pytest.raises(UnsupportedInput, match="is empty"):
        ids_of_file(_file(tmp_path, b"\xef\xbb\xbf"), CHARACTERS, "error")


def test_a_return_stays_where_the_vocabulary_has_it(tmp_path: Path) -> None:
    path = _file(tmp_path, b"a\r\nb\rc\n")
    assert CHARACTERS.decode(ids_of_file(path, CHARACTERS, "error")) == "a\nb\nc\n"
    for vocabulary in (WITH_RETURN, BPE, ByteVocabulary()):
        assert vocabulary.decode(ids_of_file(path, vocabulary, "error")) == "a\r\nb\rc\n"


PIECES = st.sampled_from(
    [b"a", b"b", b"\r", b"\n", b"\r\n", b" ", b"\xc3\xa9", b"\xe2\x82", b"\xff"]
)


@given(
    pieces=st.lists(PIECES, min_size=1, max_size=40), unknown=st.sampled_from(["error", "replace"])
)
@pytest.mark.parametrize("vocabulary", [CHARACTERS, WITH_RETURN], ids=["plain", "with return"])
def test_a_long_text_by_blocks_is_what_it_is_as_a_whole(
    vocabulary: CharacterVocabulary, pieces: list[bytes], unknown: Any
) -> None:
    """Errors and their positions, too, wherever the ends of the blocks fall."""
    found = list[object]()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = _file(Path(folder), b"".join(pieces))
        for block in (1 << 20, 5):
            patch.setattr(text, "BLOCK_BYTES", block)
            try:
                found.append(ids_of_file(path, vocabulary, unknown).tolist())
            except UnsupportedInput as error:
                found.append(str(error))
    assert found[0] == found[1]


def test_a_long_text_takes_little_more_memory_than_its_bytes(tmp_path: Path) -> None:
    path = _file(tmp_path, b"ab ba\n" * (1 << 21))
    tracemalloc.start()
    try:
        found = ids_of_file(path, CHARACTERS, "error")
        assert tracemalloc.get_traced_memory()[1] < 2.5 * path.stat().st_size + (1 << 25)
    finally:
        tracemalloc.stop()
    assert found.dtype == np.uint8
    assert CHARACTERS.decode(found[:6]) == "ab ba\n"


@pytest.mark.parametrize(
    ("prompt", "position", "outside", "characters"),
    [
        ("na\u00efve", 2, 1, 5),
        ("  Once \n\n up\u00f6n \u00e4", 12, 2, 16),
        ("a\r\n\u00fc", 3, 1, 4),
        ("\n\n\u00e9", 2, 1, 3),
    ],
)
def test_positions_are_those_of_the_users_prompt(
    prompt: str, position: int, outside: int, characters: int
) -> None:
    with pytest.raises(UnsupportedInput) as error:
        ids_of_prompt(prompt, CHARACTERS, "error")
    assert str(error.value).startswith(f"{outside} of {characters} characters are outside")
    assert f"{prompt[position]!r}" in str(error.value)
    assert f"at position {position};" in str(error.value)


def test_positions_are_those_of_the_users_file(tmp_path: Path) -> None:
    text = "one\r\ntwo\r\nthr\u00e9e\r\n"
    with pytest.raises(UnsupportedInput, match=r"1 of 17 characters .* at position 13;"):
        ids_of_file(_file(tmp_path, text.encode()), CHARACTERS, "error")


def test_the_newline_in_front_is_left_out_where_the_vocabulary_has_none() -> None:
    letters = CharacterVocabulary(("a", "b", " "))
    assert letters.decode(ids_of_prompt(" ab ", letters, "error")) == "ab"
    assert letters.decode(ids_of_prompt(" ab ", letters, "replace")) == " ab"  # as upstream does
    with pytest.raises(UnsupportedInput, match=r"1 of 3 characters .*U\+000A.* at position 1;"):
        ids_of_prompt("a\nb", letters, "error")


def test_a_prompt_for_other_models_is_taken_as_it_is() -> None:
    assert BPE.decode(ids_of_prompt("  a \n\n b\r\n", BPE, "error")) == "  a \n\n b\r\n"
    typed = b"caf\xe9\xff".decode("utf-8", "surrogateescape")  # as Python has arguments
    assert ids_of_prompt(typed, ByteVocabulary(), "error").tolist() == list(b"caf\xe9\xff")
    with pytest.raises(UnsupportedInput, match="outside Unicode text"):
        ids_of_prompt("a\ud800", ByteVocabulary(), "error")


def test_an_unknown_token_is_counted_in_the_users_text(tmp_path: Path) -> None:
    content = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": {"<unk>": 0, "a": 1}, "unk_token": "<unk>"},
    }
    words = BPEVocabulary(json.dumps(content), 2)
    with pytest.raises(UnsupportedInput, match=r"the first 'x' .* at position 6;"):
        ids_of_file(_file(tmp_path, b"a\r\na\r\nx"), words, "error")


def test_texts_without_end_and_names_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spikegpt_neuro.text.TEXT_LIMIT", 1 << 22)
    with pytest.raises(UnsupportedInput, match="/dev/zero: is larger than 4,194,304 bytes"):
        ids_of_file("/dev/zero", ByteVocabulary(), "error")
    with pytest.raises(UnsupportedInput, match="cannot be read"):
        ids_of_file("a\0b", ByteVocabulary(), "error")
