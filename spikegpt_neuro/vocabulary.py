"""Text to token ids and back: characters, bytes or byte-pair encoding (BPE).

Three kinds of vocabulary occur with SpikeGPT checkpoints:

``character``  upstream's ``vocab.json``, ``{"0": "\\n", "1": " ", ...}`` (id -> character),
               written in UTF-16 by upstream; UTF-8 is read as well.
``byte``       256 ids, the bytes of UTF-8.
``bpe``        a Hugging Face ``tokenizer.json`` (the GPT-NeoX 20B tokenizer for the
               216M model); needs the package ``tokenizers``, imported on first use.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro.errors import MissingBackend, UnsupportedInput

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Kind = Literal["character", "byte", "bpe"]
Unknown = Literal["error", "replace"]
TokenIds = NDArray[np.int64]

CHARACTER_FILE = "vocab.json"
BPE_FILE = "tokenizer.json"
BYTES = 256
CODE_POINTS = 0x110000
INCOMPLETE = "\ufffd"  # what a decoder gives for bytes that are not (yet) a character


class Vocabulary(Protocol):
    """A mapping between text and token ids ``0 .. size - 1``."""

    @property
    def kind(self) -> Kind:
        """``"character"``, ``"byte"`` or ``"bpe"``."""

    @property
    def size(self) -> int:
        """Number of token ids of the model, V."""

    def encode(self, text: str, *, unknown: Unknown = "error") -> TokenIds:
        """Token ids of ``text``, shape (T,) with T >= 1.

        Raises :class:`UnsupportedInput` for an empty text and, with ``unknown="error"``,
        for characters outside the vocabulary (how many, which first, and where).
        """

    def decode(self, ids: Sequence[int] | TokenIds) -> str:
        """The text of ``ids``; bytes that are no UTF-8 become U+FFFD."""

    def to_files(self) -> dict[str, bytes]:
        """File name -> content, as an artifact stores the vocabulary."""


@dataclass(frozen=True)
class CharacterVocabulary:
    """One id per character; ``characters[i]`` is the character of id i.

    With ``unknown="replace"`` a character outside the vocabulary becomes a space, as in
    upstream, or id 0 where the vocabulary has no space.
    """

    characters: tuple[str, ...] = field(repr=False)
    kind: Literal["character"] = field(default="character", init=False)

    @property
    def size(self) -> int:
        return len(self.characters)

    @cached_property
    def _id_of_code_point(self) -> NDArray[np.int32]:
        table = np.full(CODE_POINTS, -1, dtype=np.int32)
        table[[ord(character) for character in self.characters]] = np.arange(self.size)
        return table

    @property
    def replacement(self) -> int:
        """The id that stands for characters outside the vocabulary."""
        return max(int(self._id_of_code_point[ord(" ")]), 0)

    def encode(self, text: str, *, unknown: Unknown = "error") -> TokenIds:
        _check_not_empty(text)
        code_points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        ids: TokenIds = self._id_of_code_point[code_points].astype(np.int64)
        outside = np.flatnonzero(ids < 0)
        if outside.size and unknown == "error":
            raise _outside(text, outside, f"the vocabulary of {self.size} characters")
        ids[outside] = self.replacement
        return ids

    def decode(self, ids: Sequence[int] | TokenIds) -> str:
        return "".join(self.characters[index] for index in _checked(ids, self.size))

    def to_files(self) -> dict[str, bytes]:
        table = {str(index): character for index, character in enumerate(self.characters)}
        text = json.dumps(table, ensure_ascii=False)
        return {CHARACTER_FILE: text.encode("utf-8", "surrogatepass")}


@dataclass(frozen=True)
class ByteVocabulary:
    """One id per byte of UTF-8; only lone surrogates lie outside it (``replace``: ``?``)."""

    kind: Literal["byte"] = field(default="byte", init=False)

    @property
    def size(self) -> int:
        return BYTES

    def encode(self, text: str, *, unknown: Unknown = "error") -> TokenIds:
        _check_not_empty(text)
        raw = _without_surrogates(text, unknown).encode("utf-8")
        return np.frombuffer(raw, dtype=np.uint8).astype(np.int64)

    def decode(self, ids: Sequence[int] | TokenIds) -> str:
        return bytes(_checked(ids, BYTES)).decode("utf-8", errors="replace")

    def to_files(self) -> dict[str, bytes]:
        return {}


@dataclass(frozen=True)
class BPEVocabulary:
    """A Hugging Face tokenizer for a model with ``size`` token ids.

    ``size`` may exceed the tokenizer's own number of ids (models are often padded); such
    ids decode to nothing. No special tokens are added around a text.
    """

    tokenizer_json: str = field(repr=False)
    size: int
    kind: Literal["bpe"] = field(default="bpe", init=False)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise MissingBackend(
                "a BPE vocabulary needs the package tokenizers: pip install tokenizers"
            ) from error
        tokenizer = Tokenizer.from_str(self.tokenizer_json)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def largest_id(self) -> int:
        """The largest id that the tokenizer can give, added tokens included."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)

    @cached_property
    def _unknown_id(self) -> int | None:
        token = getattr(self._tokenizer.model, "unk_token", None)
        return None if token is None else self._tokenizer.token_to_id(token)

    def encode(self, text: str, *, unknown: Unknown = "error") -> TokenIds:
        _check_not_empty(text)
        encoding = self._tokenizer.encode(
            _without_surrogates(text, unknown), add_special_tokens=False
        )
        ids = np.asarray(encoding.ids, dtype=np.int64)
        if ids.size == 0:
            raise UnsupportedInput(f"the text {text[:20]!r} has no tokens in this tokenizer")
        if unknown == "error" and self._unknown_id is not None:
            unknowns = np.flatnonzero(ids == self._unknown_id)
            if unknowns.size:
                positions = np.array([encoding.offsets[index][0] for index in unknowns])
                raise _outside(text, positions, "the tokenizer")
        return ids

    def decode(self, ids: Sequence[int] | TokenIds) -> str:
        return str(self._tokenizer.decode(_checked(ids, self.size), skip_special_tokens=False))

    def to_files(self) -> dict[str, bytes]:
        return {BPE_FILE: self.tokenizer_json.encode("utf-8")}


@dataclass
class TextStream:
    """Decodes a stream of tokens, holding back characters of which bytes are missing.

    The text is decoded together with what was emitted last, because some tokenizers write
    a token differently at the beginning of a text.

    >>> stream = TextStream(ByteVocabulary())
    >>> [stream.push(byte) for byte in "né".encode()], stream.flush()
    (['n', '', 'é'], '')
    """

    vocabulary: Vocabulary
    _emitted: list[int] = field(default_factory=list, init=False)
    _pending: list[int] = field(default_factory=list, init=False)

    def push(self, token: int) -> str:
        """Add one token; returns the text that is complete now, possibly empty."""
        self._pending.append(int(token))
        text = self._pending_text()
        if self.vocabulary.kind != "character" and text.endswith(INCOMPLETE):
            return ""
        return self._emit(text)

    def flush(self) -> str:
        """The text still held back, with U+FFFD for bytes that never became a character."""
        return self._emit(self._pending_text())

    def _pending_text(self) -> str:
        already = len(self.vocabulary.decode(self._emitted))
        return self.vocabulary.decode(self._emitted + self._pending)[already:]

    def _emit(self, text: str) -> str:
        if self._pending:
            self._emitted, self._pending = self._pending, []
        return text


def refine_prompt(text: str) -> str:
    r"""Upstream's treatment of a prompt for a character model.

    Strips every line, drops empty lines and puts one newline in front.

    >>> refine_prompt("  Once \n\n upon a time ")
    '\nOnce\nupon a time'
    """
    lines = (line.strip().strip("\u3000").strip() for line in text.strip().split("\n"))
    return "\n" + "\n".join(line for line in lines if line)


def read_vocabulary(path: str | Path, size: int) -> Vocabulary:
    """Read upstream's ``vocab.json`` or a ``tokenizer.json`` for a model with ``size`` ids.

    The kind is told from the content. A character vocabulary must have exactly ``size``
    entries; a tokenizer may have fewer ids than the model, none beyond it.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise UnsupportedInput(f"{path}: cannot be read: {error.strerror}") from error
    return _parse(raw, size, str(path))


def vocabulary_from_files(kind: str, files: Mapping[str, bytes], size: int) -> Vocabulary:
    """The vocabulary that :meth:`Vocabulary.to_files` wrote, for a model with ``size`` ids."""
    if kind == "byte":
        return byte_vocabulary(size, "byte vocabulary")
    name = {"character": CHARACTER_FILE, "bpe": BPE_FILE}.get(kind)
    if name is None:
        raise UnsupportedInput(f"vocabulary of kind {kind!r}; known: character, byte, bpe")
    if name not in files:
        raise UnsupportedInput(f"{name}: missing, a {kind} vocabulary needs it")
    vocabulary = _parse(files[name], size, name)
    if vocabulary.kind != kind:
        raise UnsupportedInput(f"{name}: holds a {vocabulary.kind} vocabulary, expected {kind}")
    return vocabulary


def check_token_ids(tokens: object, size: int) -> TokenIds:
    """``tokens`` as a 1-D int64 array of ids in ``0 .. size - 1``, or an error saying why not."""
    array = np.asarray(tokens)
    if array.ndim != 1 or array.size == 0:
        raise UnsupportedInput(f"tokens have shape {array.shape}, expected (T,) with T >= 1")
    if not np.issubdtype(array.dtype, np.integer):
        raise UnsupportedInput(f"tokens are {array.dtype}, expected integers")
    outside = np.flatnonzero((array < 0) | (array >= size))
    if outside.size:
        raise UnsupportedInput(
            f"token id {array[outside[0]]} at position {outside[0]} is outside the vocabulary "
            f"(0..{size - 1}); {outside.size} such tokens"
        )
    return array.astype(np.int64)


def byte_vocabulary(size: int, where: str) -> ByteVocabulary:
    """A byte vocabulary, or an error naming ``where`` if the model has not 256 token ids."""
    if size != BYTES:
        raise UnsupportedInput(f"{where}: has {BYTES} ids, the model has {size}")
    return ByteVocabulary()


def character_vocabulary(
    characters: Sequence[object], size: int, where: str
) -> CharacterVocabulary:
    """A character vocabulary checked against the model's ``size``; errors name ``where``."""
    known: dict[str, int] = {}
    for index, character in enumerate(characters):
        if not isinstance(character, str) or len(character) != 1:
            raise UnsupportedInput(
                f"{where}: id {index} is {character!r:.40}, expected a single character"
            )
        if character in known:
            raise UnsupportedInput(
                f"{where}: {character!r} has two ids, {known[character]} and {index}"
            )
        known[character] = index
    if len(known) != size:
        raise UnsupportedInput(
            f"{where}: has {len(known)} characters, the model has {size} token ids; "
            "give the vocabulary the model was trained with (vocab=...)"
        )
    return CharacterVocabulary(tuple(known))


def bpe_vocabulary(tokenizer_json: str, size: int, where: str) -> BPEVocabulary:
    """A tokenizer checked against the model's ``size``; errors name ``where``."""
    vocabulary = BPEVocabulary(tokenizer_json, size)
    try:
        largest = vocabulary.largest_id
    except MissingBackend:
        raise
    except Exception as error:  # tokenizers raises bare Exception for malformed files
        reason = " ".join(str(error).split())
        raise UnsupportedInput(f"{where}: not a tokenizer.json: {reason}") from error
    if largest < 0:
        raise UnsupportedInput(f"{where}: the tokenizer has no tokens")
    if largest >= size:
        raise UnsupportedInput(
            f"{where}: the tokenizer has ids up to {largest}, the model only 0..{size - 1}; "
            "give the tokenizer the model was trained with (vocab=...)"
        )
    return vocabulary


def _parse(raw: bytes, size: int, where: str) -> Vocabulary:
    try:
        table = json.loads(raw)  # tells UTF-8, UTF-16 and UTF-32 apart, with or without BOM
    except (ValueError, RecursionError) as error:
        raise UnsupportedInput(f"{where}: not a JSON vocabulary: {error}") from error
    if isinstance(table, dict) and isinstance(table.get("model"), dict):
        text = raw.decode(json.detect_encoding(raw))
        return bpe_vocabulary(text, size, where)
    if not isinstance(table, dict) or not table:
        raise UnsupportedInput(
            f'{where}: expected {{"0": "\\n", ...}} (id to character) or a tokenizer.json'
        )
    expected = {str(index) for index in range(len(table))}
    if stray := sorted(table.keys() - expected):
        raise UnsupportedInput(
            f"{where}: key {stray[0]!r:.40} is not an id in 0..{len(table) - 1}; expected "
            '{"0": "\\n", ...} (id to character) or a tokenizer.json'
        )
    return character_vocabulary([table[str(i)] for i in range(len(table))], size, where)


def _check_not_empty(text: str) -> None:
    if not text:
        raise UnsupportedInput("the text is empty; at least one character is needed")


def _without_surrogates(text: str, unknown: Unknown) -> str:
    """``text`` if it is UTF-8; lone surrogates (halves of characters) raise or become ``?``."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        if unknown == "replace":
            return text.encode("utf-8", "replace").decode("utf-8")
        positions = [i for i, char in enumerate(text) if "\ud800" <= char <= "\udfff"]
        raise _outside(text, np.array(positions), "Unicode text") from error
    return text


def _outside(text: str, positions: NDArray[np.intp], what: str) -> UnsupportedInput:
    first = int(positions[0])
    return UnsupportedInput(
        f"{positions.size} of {len(text)} characters are outside {what}, the first "
        f"{text[first]!r} (U+{ord(text[first]):04X}) at position {first}; unknown='replace' goes "
        "on with a substitute"
    )


def _checked(ids: Sequence[int] | TokenIds, size: int) -> list[int]:
    return [] if len(ids) == 0 else [int(index) for index in check_token_ids(ids, size)]
