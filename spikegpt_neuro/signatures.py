"""What a file is, told from its first bytes: for the sentence that says why it is not taken.

A download that went wrong, or a file of another tool.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

FIRST_BYTES = 512
"""As many are enough for :func:`what_it_is`."""

_UNPACK = "unpack it first"
_CONVERT = "give the PyTorch or safetensors checkpoint that it was made from"
_Table = tuple[tuple[re.Pattern[bytes], str], ...]


def _table(*entries: tuple[bytes, str]) -> _Table:
    return tuple((re.compile(pattern, re.DOTALL), name) for pattern, name in entries)


FOREIGN: _Table = _table(
    (rb"GGUF", f"a GGUF model (llama.cpp); {_CONVERT}"),
    (rb"lmgg|fmgg|tjgg|algg", f"a GGML model (llama.cpp); {_CONVERT}"),
    (rb"version https://git-lfs", "a Git LFS pointer; fetch the file with: git lfs pull"),
    (rb"\x1f\x8b", f"a gzip archive; {_UNPACK}"),
    (rb".{257}ustar", f"a tar archive; {_UNPACK}"),
    (rb"\xfd7zXZ\0", f"an xz archive; {_UNPACK}"),
    (rb"BZh[1-9]", f"a bzip2 archive; {_UNPACK}"),
    (rb"\x28\xb5\x2f\xfd", f"a zstd archive; {_UNPACK}"),
    (rb"\x04\x22\x4d\x18", f"an lz4 archive; {_UNPACK}"),
    (rb"7z\xbc\xaf\x27\x1c", f"a 7-zip archive; {_UNPACK}"),
    (rb"Rar!\x1a\x07", f"a rar archive; {_UNPACK}"),
    (rb"\x89HDF", f"an HDF5 file (Keras, TensorFlow); {_CONVERT}"),
    (rb"\x93NUMPY", f"a numpy array; {_CONVERT}"),
    (rb"PAR1|ARROW1", "a table of data (Parquet, Arrow), not a model"),
    (rb"SQLite format 3\0", "an SQLite database, not a model"),
    (rb"%PDF", "a PDF document, not a model"),
    (rb"\x89PNG|\xff\xd8\xff|GIF8", "a picture, not a model"),
    (rb"\x7fELF|MZ\x90\0", "a program, not a model"),
    # Its first message is a piece: text, then a float score.
    (
        rb"\n[\x06-\x7f]\n(?:\x01.|\x02..|\x03.{3}|\x04.{4}|\x05.{5}|\x06.{6})\x15",
        "a SentencePiece model; a tokenizer.json is needed (transformers writes one)",
    ),
    (
        rb"(?:\xef\xbb\xbf)?\s*(?i:<!doctype html|<html|<head|<body|<\?xml|<!--)",
        "an HTML page, not the file that was to be downloaded; download it again",
    ),
)
"""Neither weights nor vocabularies that are read here."""

OF_WEIGHTS: _Table = _table(
    (rb"PK[\x03\x05]", "a zip archive"),
    (rb"\x80[\x02-\x05]", "a pickle"),
    (rb".{7}\0\{", "a safetensors file"),
)
"""Containers of weights, which is a reason for whoever expects something else only."""


def what_it_is(first_bytes: bytes, tables: Iterable[_Table] = (FOREIGN, OF_WEIGHTS)) -> str | None:
    """What a file with these first bytes is, as a noun; None where they do not tell.

    >>> what_it_is(b"GGUF" + bytes(20)).partition(";")[0]
    'a GGUF model (llama.cpp)'
    >>> what_it_is(b'{"0": "a"}') is None
    True
    """
    start = first_bytes[:FIRST_BYTES]
    found = (name for table in tables for mark, name in table if mark.match(start))
    return next(found, None)
