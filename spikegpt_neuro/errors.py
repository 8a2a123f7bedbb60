"""Errors a user can act on: one line that says what, where, the limit and what to do.

::

    SpikeGPTError
    ├── CheckFailed           1  two backends differ, or a check that was asked for did not hold
    │   └── DoesNotFit        1  the model exceeds the hardware; ``violations`` says where
    ├── WorkerFailed          1  a supervised process ended, failed or ran out of time
    ├── UsageError            2  the request contradicts itself or names what does not exist
    ├── UnsupportedInput      3  a file or a value cannot be read, is damaged or not supported
    ├── CannotWrite           3  an output exists, has no place or cannot be written
    └── MissingBackend        4  a backend or an optional package is not installed

The number is the exit code with which the command line ends. Options are named as Python has
them (``force=True``); the command line shows its own spelling (``--force``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

LINE_CHARACTERS = 1000


class SpikeGPTError(Exception):
    """Base of every error that is the user's to solve; its text is one printable line."""

    exit_code = 3

    def __str__(self) -> str:
        return _printable(super().__str__())


def _printable(text: str) -> str:
    """``text`` in one line that a terminal shows as it is, whatever names of files hold.

    The middle of a very long one is left out.
    """
    line = " ".join(text.splitlines())
    if len(line) > LINE_CHARACTERS:
        line = f"{line[: LINE_CHARACTERS // 2]} ... {line[-LINE_CHARACTERS // 3 :]}"
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else _escaped(c) for c in line)


def _escaped(character: str) -> str:
    """As Python writes it; a byte of a name that could not be decoded is that byte."""
    byte = ord(character) - 0xDC00  # see the error handler "surrogateescape"
    if 0x80 <= byte <= 0xFF:
        return f"\\x{byte:02x}"
    return character.encode("unicode_escape").decode()


class CheckFailed(SpikeGPTError):
    """A comparison or another check that was asked for did not hold."""

    exit_code = 1


class DoesNotFit(CheckFailed):
    """The model does not fit the hardware.

    ``violations``  every limit that does not hold, the first one being this error's text.
    ``figures``     what is known of the model all the same: hardware, neurons, synapses, and cores
                    and chips where only chips are missing.
    """

    def __init__(
        self, text: str, violations: Sequence[object] = (), figures: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(text)
        self.violations = tuple(violations)
        self.figures = dict(figures or {})


class WorkerFailed(SpikeGPTError):
    """A supervised process ended too early, reported an error, or ran out of time."""

    exit_code = 1


class UsageError(SpikeGPTError):
    """The request contradicts itself or names something that does not exist."""

    exit_code = 2


class UnsupportedInput(SpikeGPTError):
    """A file or a value cannot be read, is damaged, or is outside what is supported."""

    exit_code = 3


class CannotWrite(SpikeGPTError):
    """An output exists already, has no place to stand, or cannot be written."""

    exit_code = 3


class MissingBackend(SpikeGPTError):
    """A backend or an optional package is not installed; the text names the install line."""

    exit_code = 4
