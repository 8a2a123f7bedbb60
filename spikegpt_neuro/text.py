"""Texts from files and from standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from spikegpt_neuro.errors import UnsupportedInput

STANDARD_INPUT = "-"


def read_text(path: str | Path) -> str:
    """The UTF-8 text of a file, or of standard input for ``-``; line ends become newlines.

    Raises
    ------
    UnsupportedInput
        The file cannot be read, is not UTF-8 (the first bad byte is named), or is empty.
    """
    where = "standard input" if str(path) == STANDARD_INPUT else str(path)
    try:
        raw = sys.stdin.buffer.read() if str(path) == STANDARD_INPUT else Path(path).read_bytes()
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise UnsupportedInput(f"{where}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UnsupportedInput(
            f"{where}: not UTF-8 text: byte 0x{raw[error.start]:02x} at position {error.start}"
        ) from error
    if not text:
        raise UnsupportedInput(f"{where}: is empty; at least one character is needed")
    return text.replace("\r\n", "\n").replace("\r", "\n")
