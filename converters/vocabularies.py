"""Which vocabulary a checkpoint has: given, stored in it, lying beside it, or bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.vocabulary import (
    BPE_FILE,
    BYTES,
    CHARACTER_FILE,
    BPEVocabulary,
    ByteVocabulary,
    Vocabulary,
    read_vocabulary,
)

VocabularyOf = Callable[[int], Vocabulary]
"""Makes the vocabulary stored in a checkpoint, given the model's number of token ids."""


@dataclass(frozen=True)
class Found:
    """A vocabulary, and where it comes from.

    ``file``     the name of the file that it was read from; None for none and for bytes.
    ``refused``  vocabulary files beside the checkpoint that do not fit, and why.
    """

    vocabulary: Vocabulary | None
    file: str | None = None
    refused: tuple[str, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know of the choice."""
        found: list[str] = []
        if isinstance(self.vocabulary, ByteVocabulary) and self.file is None:
            found += [f"bytes are taken as the vocabulary, not {each}" for each in self.refused]
        if isinstance(self.vocabulary, BPEVocabulary) and self.vocabulary.is_far_smaller:
            found.append(
                f"{self.file} has {self.vocabulary.tokens:,} tokens, the model "
                f"{self.vocabulary.size:,} token ids: wrong vocabulary?"
            )
        return tuple(found)


def find_vocabulary(
    path: Path, size: int, vocab: Path | None, stored: VocabularyOf | None
) -> Found:
    """The file ``vocab``, else what is stored, else what lies beside, else bytes for 256 ids."""
    if vocab is not None:
        return Found(read_vocabulary(vocab, size), vocab.name)
    if stored is not None:
        return Found(stored(size), path.name)
    refused: list[str] = []
    if beside := _beside(path, size, refused):
        return beside
    return Found(ByteVocabulary() if size == BYTES else None, refused=tuple(refused))


def _beside(path: Path, size: int, refused: list[str]) -> Found | None:
    """The vocabulary file in the checkpoint's directory that belongs to it, if any does.

    First those named after the checkpoint or plainly ``vocab.json`` / ``tokenizer.json``, of
    which a ``vocab.json`` that needs ``merges.txt`` comes last; else the only ``*vocab*.json`` or
    ``*tokenizer*.json`` whose size fits the model. What does not fit goes to ``refused``.
    """
    folder = path if path.is_dir() else path.parent
    names = (f"{path.stem}-vocab.json", f"{path.stem}.vocab.json", CHARACTER_FILE, BPE_FILE)
    plain = [folder / name for name in names]
    of_two_files: Found | None = None
    for file in plain:
        if (vocabulary := _fitting(file, size, refused)) is not None:
            if vocabulary.kind == "character" or file.name == BPE_FILE:
                return Found(vocabulary, file.name)
            of_two_files = of_two_files or Found(vocabulary, file.name)
    if of_two_files:
        return of_two_files
    others = {p for part in ("vocab", "tokenizer") for p in folder.glob(f"*{part}*.json")}
    fitting = [
        Found(vocabulary, file.name)
        for file in sorted(others - {*plain})
        if (vocabulary := _fitting(file, size, [])) is not None
    ]
    if len(fitting) > 1:
        refused.append(f"{', '.join(str(each.file) for each in fitting)}: each of them fits")
    return fitting[0] if len(fitting) == 1 else None


def _fitting(path: Path, size: int, refused: list[str]) -> Vocabulary | None:
    if not path.is_file():
        return None
    try:
        return read_vocabulary(path, size)
    except UnsupportedInput as error:
        refused.append(str(error).replace(str(path), path.name))
        return None
