"""Vocabularies: upstream's tables of characters, and tokenizers.

What was understood must be what the table says; a tokenizer must take and give text.
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import numpy as np

from fuzzing.case import Case, Changed
from fuzzing.octets import damaged
from fuzzing.parts import CHARACTERS, special
from fuzzing.values import changed, to_json
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.vocabulary import TextStream, Vocabulary, read_vocabulary

from random_models import byte_level_tokenizer

FILE = "vocab.json"
PROBE = "the spike \n é \U0001f9e0 a b!"
SIZES = {FILE: len(CHARACTERS), "tokenizer.json": 300}


class VocabularyFile:
    """A table in UTF-8 and in UTF-16, and a byte-level tokenizer of 300 tokens."""

    def __init__(self) -> None:
        table = {str(index): character for index, character in enumerate(CHARACTERS)}
        text = json.dumps(table, ensure_ascii=False)
        self._tables = [text.encode("utf-8"), text.encode("utf-16")]
        self._tokenizer = byte_level_tokenizer().encode()

    def bases(self) -> list[Case]:
        tables = [Case({FILE: data}, same=True) for data in self._tables]
        return [*tables, Case({"tokenizer.json": self._tokenizer}, same=True)]

    def case(self, rng: Random) -> Case:
        name, data = rng.choice(
            [(FILE, self._tables[0]), (FILE, self._tables[1]), ("tokenizer.json", self._tokenizer)]
        )
        way = rng.randrange(10)
        if way < 4:
            return Case({name: damaged(data, rng)})
        if way < 9:
            text = to_json(changed(json.loads(data), rng))
            return Case({name: text})
        return Case(special({name: data}, rng))

    def read(self, folder: Path) -> object:
        file = next(f for f in (folder / name for name in SIZES) if f.exists() or f.is_symlink())
        vocabulary = read_vocabulary(file, SIZES[file.name])
        if vocabulary.kind == "character":
            table = json.loads(file.read_bytes())
            for index in range(vocabulary.size):
                if vocabulary.decode([index]) != table[str(index)]:
                    raise Changed("a character is another one than the table says")
        return vocabulary.kind, _used(vocabulary)


def make() -> VocabularyFile:
    return VocabularyFile()


def _used(vocabulary: Vocabulary) -> object:
    """A text there and back, as reading and generating do it."""
    try:
        ids = vocabulary.encode(PROBE, unknown="replace")
    except UnsupportedInput as error:
        ids, said = np.zeros(1, np.int64), str(error)
    else:
        said = vocabulary.decode(ids)
    stream = TextStream(vocabulary)
    pieces = "".join([stream.push(int(token)) for token in ids]) + stream.flush()
    for token in (0, 1, vocabulary.size - 1):
        vocabulary.decode([token])
    return said, pieces, vocabulary.size, tuple(vocabulary.to_files())
