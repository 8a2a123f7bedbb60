"""What a file is, told from its first bytes: for the sentence that says why it is not taken."""

from __future__ import annotations

import re

FIRST_BYTES = 512
"""As many are enough for :func:`what_it_is`."""

SIGNATURES: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), name)
    for pattern, name in (
        (rb"GGUF", "a GGUF model (llama.cpp)"),
        (rb"lmgg|fmgg|tjgg|algg", "a GGML model (llama.cpp)"),
        (rb"version https://git-lfs", "a Git LFS pointer; fetch the file with: git lfs pull"),
        (rb"\x1f\x8b", "a gzip archive; unpack it first"),
        (rb".{257}ustar", "a tar archive; unpack it first"),
        (rb"PK[\x03\x05]", "a zip archive"),
        (rb"\xfd7zXZ", "an xz archive; unpack it first"),
        (rb"BZh", "a bzip2 archive; unpack it first"),
        (rb"\x28\xb5\x2f\xfd", "a zstd archive; unpack it first"),
        (rb"\x89HDF", "an HDF5 file"),
        (rb"\x93NUMPY", "a numpy array"),
        (rb"\x80[\x02-\x05]", "a pickle"),
        (rb"%PDF", "a PDF document"),
        (rb"\x89PNG|\xff\xd8\xff|GIF8", "a picture"),
        (rb".{7}\0\{", "a safetensors file"),
        # Its first message is a piece: text, then a float score.
        (rb"\n[\x06-\x7f]\n(?:\x01.|\x02..|\x03.{3}|\x04.{4}|\x05.{5}|\x06.{6})\x15",
         "a SentencePiece model; a tokenizer.json is needed (transformers writes one)"),
        (rb"(?:\xef\xbb\xbf)?\s*(?i:<!doctype html|<html|<head|<body|<\?xml|<!--)",
         "an HTML page, not the file that was to be downloaded"),
    )
)  # fmt: skip


def what_it_is(first_bytes: bytes) -> str | None:
    """What a file with these first bytes is, as a noun; None where they do not tell.

    >>> what_it_is(b"GGUF" + bytes(20))
    'a GGUF model (llama.cpp)'
    >>> what_it_is(b'{"0": "a"}') is None
    True
    """
    return next((name for mark, name in SIGNATURES if mark.match(first_bytes)), None)
