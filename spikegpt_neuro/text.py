r"""Texts of users as token ids: files, standard input, prompts.

What a vocabulary is given differs from what the user wrote: line ends become ``"\n"`` where the
vocabulary has no ``"\r"``, and the lines of a prompt are tidied for a character model. Messages
count the characters of the user's text all the same.
"""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.remarks import remark
from spikegpt_neuro.vocabulary import (
    OutsideVocabulary,
    TokenIds,
    Unknown,
    Vocabulary,
    refine_prompt,
)

STANDARD_INPUT = "-"
TEXT_LIMIT = 1 << 29
"""Bytes of a text."""
BLOCK_BYTES = 1 << 20
"""Of a text that are read, or encoded where every character has an id, at a time."""
OTHER_UNICODE = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
"""Byte order marks of what is not UTF-8; those of UTF-32 begin like those of UTF-16."""


def ids_of_file(
    path: str | Path, vocabulary: Vocabulary, unknown: Unknown
) -> NDArray[np.unsignedinteger]:
    r"""Token ids of a UTF-8 file, or of standard input for ``-``, in the smallest integers for V.

    A byte vocabulary takes any bytes as they are. Elsewhere, ``unknown="replace"`` puts U+FFFD in
    the place of bytes that are no UTF-8, and line ends become newlines where the vocabulary has no
    ``"\r"``. A byte order mark of UTF-8 is skipped.

    Raises :class:`UnsupportedInput` for a file that cannot be read, is empty, is not UTF-8 (the
    first bad byte is named), or has characters outside the vocabulary.
    """
    where, raw = _bytes_of(path)
    if vocabulary.kind == "byte":
        if other := _other_unicode(raw):
            remark(f"{where}: is {other} text; a byte model takes its bytes as they are")
        return np.frombuffer(raw, np.uint8)
    smallest = np.min_scalar_type(vocabulary.size - 1)
    is_long = len(raw) > BLOCK_BYTES and not _other_unicode(raw)
    if is_long and vocabulary.kind == "character":
        with suppress(UnsupportedInput, UnicodeDecodeError):  # the whole tells where
            blocks = [ids.astype(smallest) for ids in _by_blocks(raw, vocabulary, unknown)]
            return np.concatenate(blocks)
    text = _decoded(raw, where, unknown)
    ids = _encoded(vocabulary, text, _with_known_line_ends(vocabulary, text), unknown)
    return ids.astype(smallest)


def _by_blocks(raw: bytes, vocabulary: Vocabulary, unknown: Unknown) -> Iterator[TokenIds]:
    """Token ids of a text of which each character has its own, block by block."""
    plain = codecs.getincrementaldecoder("utf-8")("strict" if unknown == "error" else "replace")
    keeps = _has(vocabulary, "\r")
    decoder = plain if keeps else io.IncrementalNewlineDecoder(plain, translate=True)
    for start in range(0, len(raw), BLOCK_BYTES):
        end = start + BLOCK_BYTES
        if text := decoder.decode(raw[start:end], final=end >= len(raw)):
            yield vocabulary.encode(text, unknown=unknown)


def prompt_of_file(path: str | Path, vocabulary: Vocabulary, unknown: Unknown) -> str:
    """The text of a file or of standard input, to be continued; see :func:`ids_of_prompt`."""
    where, raw = _bytes_of(path)
    if vocabulary.kind == "byte":
        return raw.decode("utf-8", "surrogateescape")
    return _decoded(raw, where, unknown)


def ids_of_prompt(prompt: str, vocabulary: Vocabulary, unknown: Unknown) -> TokenIds:
    r"""Token ids of a text as typed.

    A character model gets what upstream's script gives it: every line without spaces around it,
    no empty lines, and one newline in front (unless its vocabulary has none). Other vocabularies
    take the text as it is; that of bytes also takes bytes that are no UTF-8, which Python keeps
    as lone surrogates (``"\udc80"`` to ``"\udcff"``).
    """
    if not prompt:
        raise UnsupportedInput("the prompt is empty; at least one character is needed")
    if vocabulary.kind == "byte":
        try:
            return np.frombuffer(prompt.encode("utf-8", "surrogateescape"), np.uint8).astype(
                np.int64
            )
        except UnicodeEncodeError:
            return vocabulary.encode(prompt, unknown=unknown)
    if vocabulary.kind != "character":
        return vocabulary.encode(prompt, unknown=unknown)
    refined = refine_prompt(prompt)
    if unknown == "error" and len(refined) > 1 and not _has(vocabulary, "\n"):
        refined = refined[1:]
    return _encoded(vocabulary, prompt, refined, unknown)


def _bytes_of(path: str | Path) -> tuple[str, bytes]:
    """What a file is called in messages, and its bytes, a mark of UTF-8 left out."""
    is_piped = str(path) == STANDARD_INPUT
    where = "standard input" if is_piped else str(path)
    try:
        with nullcontext(sys.stdin.buffer) if is_piped else Path(path).open("rb") as file:
            raw = _read(file)
    except (OSError, ValueError) as error:  # a NUL in a name is a ValueError
        reason = getattr(error, "strerror", None) or str(error)
        raise UnsupportedInput(f"{where}: cannot be read: {reason}".replace("\0", "\\0")) from error
    if len(raw) > TEXT_LIMIT:
        raise UnsupportedInput(f"{where}: is larger than {TEXT_LIMIT:,} bytes; give a part of it")
    raw = raw.removeprefix(codecs.BOM_UTF8)
    if not raw:
        raise UnsupportedInput(f"{where}: is empty; at least one character is needed")
    return where, raw


def _read(file: IO[bytes]) -> bytes:
    """All of a file, pipe or device, but little more than the limit."""
    blocks, size = list[bytes](), 0
    while size <= TEXT_LIMIT and (block := file.read(BLOCK_BYTES)):
        blocks.append(block)
        size += len(block)
    return b"".join(blocks)


def _decoded(raw: bytes, where: str, unknown: Unknown) -> str:
    if other := _other_unicode(raw):
        raise UnsupportedInput(
            f"{where}: is {other} text (its byte order mark says so), expected UTF-8; convert it "
            "first, with iconv or an editor"
        )
    try:
        return raw.decode("utf-8", "strict" if unknown == "error" else "replace")
    except UnicodeDecodeError as error:
        raise UnsupportedInput(
            f"{where}: not UTF-8 text: byte 0x{raw[error.start]:02x} at position {error.start}; "
            "unknown='replace' goes on with a substitute"
        ) from error


def _other_unicode(raw: bytes) -> str | None:
    return next((name for mark, name in OTHER_UNICODE if raw.startswith(mark)), None)


def _has(vocabulary: Vocabulary, character: str) -> bool:
    """Whether a text keeps ``character`` in this vocabulary."""
    try:
        return vocabulary.decode(vocabulary.encode(character)) == character
    except UnsupportedInput:
        return False


def _with_known_line_ends(vocabulary: Vocabulary, text: str) -> str:
    if "\r" not in text or _has(vocabulary, "\r"):
        return text
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _encoded(vocabulary: Vocabulary, written: str, given: str, unknown: Unknown) -> TokenIds:
    """Token ids of ``given``; an error tells positions in ``written``, which it was made from."""
    try:
        return vocabulary.encode(given, unknown=unknown)
    except OutsideVocabulary as error:
        if written == given:
            raise
        origin = _origin(written, given)
        raise OutsideVocabulary(written, origin[error.positions], error.what) from error


def _origin(written: str, given: str) -> NDArray[np.intp]:
    r"""Where each character of ``given`` stands in ``written``.

    ``given`` is ``written`` without some white space, with ``"\r"`` as ``"\n"`` and with a newline
    in front at most: each of its characters is the next one in ``written`` that is equal.
    """
    found, at = np.zeros(len(given), np.intp), 0
    for index, character in enumerate(given):
        begin = at
        while at < len(written) and not _stands_for(written[at], character):
            if not written[at].isspace():
                break
            at += 1
        is_there = at < len(written) and _stands_for(written[at], character)
        found[index] = at if is_there else begin  # the newline in front stands nowhere
        at = at + 1 if is_there else begin
    return found


def _stands_for(written: str, given: str) -> bool:
    return written == given or (written == "\r" and given == "\n")
