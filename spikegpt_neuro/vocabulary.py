"""Text to token ids and back: characters, bytes or byte-pair encoding (BPE).

Three kinds of vocabulary occur with SpikeGPT checkpoints:

``character``  upstream's ``vocab.json``, ``{"0": "\\n", "1": " ", ...}`` (id -> character),
               written in UTF-16 by upstream; UTF-8 is read as well.
``byte``       256 ids, the bytes of UTF-8.
``bpe``        a Hugging Face ``tokenizer.json`` (the GPT-NeoX 20B tokenizer for the
               216M model), or GPT-2's ``vocab.json`` (token -> id) with ``merges.txt``
               beside it; needs the package ``tokenizers``, imported on first use.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray

from spikegpt_neuro import tokenizer as tokenizers_library
from spikegpt_neuro.documents import MEGABYTE, read_bytes
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.signatures import FIRST_BYTES, what_it_is

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Kind = Literal["character", "byte", "bpe"]
Unknown = Literal["error", "replace"]
TokenIds = NDArray[np.int64]

CHARACTER_FILE = "vocab.json"
BPE_FILE = "tokenizer.json"
MERGES_FILE = "merges.txt"
SPECIAL_FILE = "special_tokens_map.json"
GPT2_SPECIAL = "<|endoftext|>"
"""Special in GPT-2's tokenizer, whose files do not say so."""
FILE_LIMIT = 64 * MEGABYTE
ID_LIMIT = 1 << 31
PADDED_TO = 64
"""Rows of a head are often padded to a multiple of it."""
BYTES = 256
CODE_POINTS = 0x110000
INCOMPLETE = "\ufffd"  # what a decoder gives for bytes that are not (yet) a character


class OutsideVocabulary(UnsupportedInput):
    """Characters of ``text`` at ``positions`` are outside ``what``."""

    def __init__(self, text: str, positions: NDArray[np.intp], what: str) -> None:
        self.text, self.positions, self.what = text, positions, what
        first = int(positions[0])
        super().__init__(
            f"{positions.size} of {len(text)} characters are outside {what}, the first "
            f"{text[first]!r} (U+{ord(text[first]):04X}) at position {first}; unknown='replace' "
            "goes on with a substitute"
        )


class Vocabulary(Protocol):
    """A mapping between text and token ids ``0 .. size - 1``."""

    @property
    def kind(self) -> Kind:
        """``"character"``, ``"byte"`` or ``"bpe"``."""

    @property
    def size(self) -> int:
        """Number of token ids of the model, V."""

    @property
    def not_text(self) -> tuple[int, ...]:
        """Ids that no text consists of: those of special tokens, and those without a token."""

    def encode(self, text: str, *, unknown: Unknown = "error") -> TokenIds:
        """Token ids of ``text``, shape (T,) with T >= 1.

        Raises :class:`UnsupportedInput` for an empty text and, with ``unknown="error"``,
        for characters outside the vocabulary (how many, which first, and where).
        """

    def decode(self, ids: Sequence[int] | NDArray[np.integer]) -> str:
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

    not_text: ClassVar[tuple[int, ...]] = ()

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
            raise OutsideVocabulary(text, outside, f"the vocabulary of {self.size} characters")
        ids[outside] = self.replacement
        return ids

    def decode(self, ids: Sequence[int] | NDArray[np.integer]) -> str:
        return "".join(self.characters[index] for index in _checked(ids, self.size))

    def to_files(self) -> dict[str, bytes]:
        table = {str(index): character for index, character in enumerate(self.characters)}
        text = json.dumps(table, ensure_ascii=False)
        return {CHARACTER_FILE: text.encode("utf-8", "surrogatepass")}


@dataclass(frozen=True)
class ByteVocabulary:
    """One id per byte of UTF-8; only lone surrogates lie outside it (``replace``: ``?``)."""

    kind: Literal["byte"] = field(default="byte", init=False)

    not_text: ClassVar[tuple[int, ...]] = ()

    @property
    def size(self) -> int:
        return BYTES

    def encode(self, text: str, *, unknown: Unknown = "error") -> TokenIds:
        _check_not_empty(text)
        raw = _without_surrogates(text, unknown).encode("utf-8")
        return np.frombuffer(raw, dtype=np.uint8).astype(np.int64)

    def decode(self, ids: Sequence[int] | NDArray[np.integer]) -> str:
        return bytes(_checked(ids, BYTES)).decode("utf-8", errors="replace")

    def to_files(self) -> dict[str, bytes]:
        return {}


@dataclass(frozen=True)
class BPEVocabulary:
    """A Hugging Face tokenizer for a model with ``size`` token ids.

    ``size`` may exceed the tokenizer's own number of ids (models are often padded); such
    ids decode to nothing. No special tokens are added around a text. Raises
    :class:`UnsupportedInput` where the tokenizer fails on a text or on ids.
    """

    tokenizer_json: str = field(repr=False)
    size: int
    kind: Literal["bpe"] = field(default="bpe", init=False)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return tokenizers_library.load_tokenizer(self.tokenizer_json)

    @cached_property
    def _known_ids(self) -> frozenset[int]:
        return frozenset(self._tokenizer.get_vocab(with_added_tokens=True).values())

    @cached_property
    def largest_id(self) -> int:
        """The largest id that the tokenizer can give, added tokens included."""
        return max(self._known_ids, default=-1)

    @cached_property
    def not_text(self) -> tuple[int, ...]:
        special = tokenizers_library.special_ids(self._tokenizer)
        return tuple(sorted({*special, *range(self.size)} - (self._known_ids - {*special})))

    @property
    def tokens(self) -> int:
        """How many ids the tokenizer has."""
        return len(self._known_ids)

    @property
    def is_far_smaller(self) -> bool:
        """Whether the model has many more ids than the tokenizer, more than padding explains."""
        unused = self.size - self.tokens
        is_padding = unused < 2 * PADDED_TO and self.size % PADDED_TO == 0
        return unused > self.size // 8 and not is_padding

    @cached_property
    def _unknown_id(self) -> int | None:
        token = getattr(self._tokenizer.model, "unk_token", None)
        return None if token is None else self._tokenizer.token_to_id(token)

    def encode(self, text: str, *, unknown: Unknown = "error") -> TokenIds:
        _check_not_empty(text)
        found, spans = tokenizers_library.encoded(
            self._tokenizer, _without_surrogates(text, unknown)
        )
        ids = np.asarray(found, dtype=np.int64)
        if ids.size == 0:
            raise UnsupportedInput(f"the text {text[:20]!r} has no tokens in this tokenizer")
        if unknown == "error" and self._unknown_id is not None:
            unknowns = np.flatnonzero(ids == self._unknown_id)
            if unknowns.size:
                positions = np.array([spans[index][0] for index in unknowns])
                raise OutsideVocabulary(text, positions, "the tokenizer")
        return ids

    def decode(self, ids: Sequence[int] | NDArray[np.integer]) -> str:
        return tokenizers_library.decoded(self._tokenizer, _checked(ids, self.size))

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
    """Read upstream's ``vocab.json``, a ``tokenizer.json`` or GPT-2's two files.

    The kind is told from the content. A character vocabulary must have exactly ``size``
    entries; a tokenizer may have fewer ids than the model, none beyond it. GPT-2's ``vocab.json``
    (token -> id) needs ``merges.txt`` beside it.
    """
    file = Path(path)
    raw = read_bytes(file, FILE_LIMIT)
    table = _json_of(raw, str(path))
    merges = file.with_name(MERGES_FILE)
    if _is_of_tokens(table) and merges.is_file():
        return _gpt2_vocabulary(table, merges, size, str(path))
    return _parse(table, raw, size, str(path))


def vocabulary_from_files(kind: str, files: Mapping[str, bytes], size: int) -> Vocabulary:
    """The vocabulary that :meth:`Vocabulary.to_files` wrote, for a model with ``size`` ids."""
    if kind == "byte":
        return byte_vocabulary(size, "byte vocabulary")
    name = {"character": CHARACTER_FILE, "bpe": BPE_FILE}.get(kind)
    if name is None:
        raise UnsupportedInput(f"vocabulary of kind {kind!r}; known: character, byte, bpe")
    if name not in files:
        raise UnsupportedInput(f"{name}: missing, a {kind} vocabulary needs it")
    vocabulary = _parse(_json_of(files[name], name), files[name], size, name)
    if vocabulary.kind != kind:
        raise UnsupportedInput(f"{name}: holds a {vocabulary.kind} vocabulary, expected {kind}")
    return vocabulary


def check_token_ids(tokens: object, size: int) -> TokenIds:
    """``tokens`` as a 1-D int64 array of ids in ``0 .. size - 1``, or an error saying why not."""
    return checked_ids(tokens, size).astype(np.int64, copy=False)


def checked_ids(tokens: object, size: int) -> NDArray[np.integer]:
    """:func:`check_token_ids` as they come: a long text's need not be held as int64."""
    array = np.asarray(tokens)
    if array.ndim != 1 or array.size == 0:
        raise UnsupportedInput(f"tokens have shape {array.shape}, expected (T,) with T >= 1")
    if not np.issubdtype(array.dtype, np.integer):
        raise UnsupportedInput(f"tokens are {array.dtype}, expected integers")
    if array.min() < 0 or array.max() >= size:
        outside = np.flatnonzero((array < 0) | (array >= size))
        raise UnsupportedInput(
            f"token id {array[outside[0]]} at position {outside[0]} is outside the vocabulary "
            f"(0..{size - 1}); {outside.size} such tokens"
        )
    return array


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
    except tokenizers_library.Failed as error:
        raise UnsupportedInput(f"{where}: not a tokenizer.json: {error}") from error
    if largest < 0:
        raise UnsupportedInput(f"{where}: the tokenizer has no tokens")
    if largest >= size:
        raise UnsupportedInput(
            f"{where}: the tokenizer has ids up to {largest}, the model only 0..{size - 1}; "
            "give the tokenizer the model was trained with (vocab=...)"
        )
    return vocabulary


def _json_of(raw: bytes, where: str) -> object:
    """The document; what is no JSON is named for what it is."""
    if what := what_it_is(raw[:FIRST_BYTES]):
        raise UnsupportedInput(f"{where}: is {what}; expected a vocab.json or a tokenizer.json")
    try:
        return json.loads(raw)  # tells UTF-8, UTF-16 and UTF-32 apart, with or without BOM
    except (ValueError, RecursionError) as error:
        raise UnsupportedInput(f"{where}: not a JSON vocabulary: {error}") from error


def _parse(table: object, raw: bytes, size: int, where: str) -> Vocabulary:
    if isinstance(table, dict) and isinstance(table.get("model"), dict):
        text = raw.decode(json.detect_encoding(raw), "surrogatepass")
        return bpe_vocabulary(text, size, where)
    if not isinstance(table, dict) or not table:
        raise UnsupportedInput(
            f'{where}: expected {{"0": "\\n", ...}} (id to character) or a tokenizer.json'
        )
    expected = {str(index) for index in range(len(table))}
    if stray := sorted(table.keys() - expected):
        tokens = f"; tokens to ids need {MERGES_FILE} beside them" if _is_of_tokens(table) else ""
        raise UnsupportedInput(
            f"{where}: key {stray[0]!r:.40} is not an id in 0..{len(table) - 1}; expected "
            f'{{"0": "\\n", ...}} (id to character) or a tokenizer.json{tokens}'
        )
    return character_vocabulary([table[str(i)] for i in range(len(table))], size, where)


def _is_of_tokens(table: object) -> TypeGuard[dict[str, int]]:
    """Whether it maps tokens to ids, as GPT-2's ``vocab.json`` does."""
    return (
        isinstance(table, dict)
        and bool(table)
        and all(isinstance(index, int) and 0 <= index < ID_LIMIT for index in table.values())
    )


def _gpt2_vocabulary(table: dict[str, int], merges: Path, size: int, where: str) -> BPEVocabulary:
    """GPT-2's two files as one tokenizer."""
    try:
        lines = read_bytes(merges, FILE_LIMIT).decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UnsupportedInput(f"{merges}: not UTF-8 text") from error
    lines = [line.rstrip("\r") for line in lines if not line.startswith("#version")]
    pairs = [tuple(line.split(" ")) for line in lines if line]
    if bad := next((pair for pair in pairs if len(pair) != 2), None):
        raise UnsupportedInput(f"{merges}: {' '.join(bad)!r:.40} is not a pair of tokens")
    try:
        text = tokenizers_library.byte_level_json(
            table, cast(list[tuple[str, str]], pairs), _special_tokens(merges.parent)
        )
    except tokenizers_library.Failed as error:
        raise UnsupportedInput(f"{where} with {merges.name}: no tokenizer: {error}") from error
    return bpe_vocabulary(text, size, where)


def _special_tokens(folder: Path) -> set[str]:
    """Tokens that the files in ``folder`` mark as special, and GPT-2's own."""
    file, found = folder / SPECIAL_FILE, {GPT2_SPECIAL}
    content = _json_of(read_bytes(file, MEGABYTE), str(file)) if file.is_file() else {}
    values = list(content.values()) if isinstance(content, dict) else []
    for value in values:
        for token in value if isinstance(value, list) else [value]:
            name = token.get("content") if isinstance(token, dict) else token
            found |= {name} if isinstance(name, str) else set()
    return found


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
        raise OutsideVocabulary(text, np.array(positions), "Unicode text") from error
    return text


def _checked(ids: Sequence[int] | NDArray[np.integer], size: int) -> list[int]:
    return [] if len(ids) == 0 else [int(index) for index in check_token_ids(ids, size)]
