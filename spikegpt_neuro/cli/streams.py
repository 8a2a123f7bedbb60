"""Standard streams as they are handed over: closed, full, in any encoding, with nobody reading.

Figures that cannot be delivered end a verb with an error; remarks that cannot are dropped.
"""

from __future__ import annotations

import codecs
import io
import os
import select
import sys
from typing import Any, TextIO

from spikegpt_neuro.errors import CannotWrite

REPLACED = "spikegpt-neuro"
"""Name of the error handler of what an encoding lacks."""
IN_ASCII = {"µ": "u"}


class ReaderLeft(Exception):
    """Whoever read standard output closed it, as ``head`` does when it has enough."""


class _Stream(io.FileIO):
    """A standard stream; what is refused is not tried again when Python flushes at the end."""

    def write(self, data: Any) -> int:
        try:
            while (written := super().write(data)) is None:  # the other side made it non-blocking
                select.select([], [self], [])
        except OSError as error:
            silence(self.fileno())
            return self.refused(error, len(data))
        return written

    def refused(self, error: OSError, size: int) -> int:
        raise NotImplementedError


class _Output(_Stream):
    def refused(self, error: OSError, size: int) -> int:
        if isinstance(error, BrokenPipeError):
            raise ReaderLeft from error
        raise CannotWrite(f"standard output cannot be written: {error.strerror}") from error


class _Remarks(_Stream):
    def refused(self, error: OSError, size: int) -> int:
        return size


class _Closed(io.RawIOBase):
    """Standard output that was closed before we began."""

    def writable(self) -> bool:
        return True

    def __init__(self) -> None:
        self._is_told = False

    def write(self, data: Any) -> int:
        if not self._is_told:
            self._is_told = True
            raise CannotWrite("standard output is closed; send it to a file, or to /dev/null")
        return len(data)


def take_over() -> None:
    """Make the process's standard streams ours, for as long as it lives."""
    opened = [_is_open(number) for number in range(3)]
    for number, is_open in enumerate(opened):
        if not is_open:  # else the next file that is opened would be taken for the stream
            silence(number)
    if sys.stdin is None or not opened[0]:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115
    out = _Output(1, "wb", closefd=False) if opened[1] else _Closed()
    sys.stdout = _text(out, sys.stdout, REPLACED)
    sys.stderr = _text(_Remarks(2, "wb", closefd=False), sys.stderr, "backslashreplace")


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def silence(number: int) -> None:
    """Let what still goes to a stream go nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere == number:
        os.set_inheritable(number, True)
        return
    os.dup2(nowhere, number)
    os.close(nowhere)


def _text(raw: io.RawIOBase, former: TextIO | None, errors: str) -> TextIO:
    """A text stream over ``raw`` in the encoding of the former one."""
    encoding = "utf-8" if former is None else former.encoding
    buffered = io.BufferedWriter(raw)
    return io.TextIOWrapper(buffered, encoding, errors, line_buffering=raw.isatty())


def replaced(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that an encoding lacks: a unit stays one, bytes show as such."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(map(_plain, missing)), error.end


def _plain(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # an undecodable byte of a file's name
        return f"\\x{ord(character) - 0xDC00:02x}"
    return IN_ASCII.get(character, "?")


codecs.register_error(REPLACED, replaced)


def say(text: str = "", *, end: str = "\n", err: bool = False) -> None:
    """Print on standard output or standard error at once, in the encoding that it has."""
    print(text, end=end, file=sys.stderr if err else sys.stdout, flush=True)


def json_text(content: object) -> str:
    """One line of JSON that standard output can carry without losing a character."""
    import json

    text = json.dumps(content, ensure_ascii=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(content)
    return text
