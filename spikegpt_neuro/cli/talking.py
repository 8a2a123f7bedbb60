"""The talk of ``generate -i``: a line in, an answer out, until the input ends."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from spikegpt_neuro.cli.common import Output
from spikegpt_neuro.cli.session import as_typed
from spikegpt_neuro.cli.streams import say
from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.signals import hearing_interrupts

if TYPE_CHECKING:
    from spikegpt_neuro.api import Chat
    from spikegpt_neuro.vocabulary import Unknown

MARK = "> "
KEYS = "Ctrl-C ends an answer, Ctrl-D the talk; /reset forgets what was said, /help says this again"
"""What a person at a terminal is told."""


class LineDropped(Exception):
    """Ctrl-C at the prompt."""


@dataclass
class Talk:
    """A talk at a terminal, or with lines that come through a pipe.

    At a terminal Ctrl-C stops an answer or drops a line, and an error ends its turn only. Off a
    terminal there is nobody to ask: both end the verb, as they end every other.
    """

    out: Output
    chat: Chat
    tokens: int
    unknown: Unknown
    _is_reading: bool = False
    _is_stopped: bool = False

    def hold(self, first: str | None) -> None:
        """Answer ``first``, if it is given, and then every line."""
        if not sys.stdin.isatty():
            for line in sys.stdin if first is None else chain((first,), sys.stdin):
                self._turn(line)
            return
        self.out.note(KEYS)
        with suppress(ImportError):
            import readline  # noqa: F401 - input() edits and recalls lines with it
        with hearing_interrupts(self._interrupt):
            typed: str | None = first or ""
            while typed is not None:
                self._typed_turn(typed)
                typed = self._typed_line()

    def _turn(self, line: str) -> None:
        words = line.strip()
        if words == "/reset":
            self.chat.reset()
        elif words == "/help":
            say(KEYS, err=True)
        elif words:
            self._is_stopped = False
            self.chat.say(
                line.rstrip("\r\n"),
                self.tokens,
                unknown=self.unknown,
                on_text=lambda piece: say(piece, end=""),
                stop=lambda: self._is_stopped,
            )
            say()

    def _typed_turn(self, line: str) -> None:
        try:
            self._turn(line)
        except UnsupportedInput as error:
            say(f"error: {as_typed(str(error))}", err=True)

    def _interrupt(self) -> None:
        if self._is_reading:
            self._is_reading = False
            raise LineDropped
        self._is_stopped = True

    def _typed_line(self) -> str | None:
        """The next line; empty where it was dropped, None at the end."""
        try:
            self._is_reading = True
            line = _edited() if sys.stdout.isatty() else _plain()
            self._is_reading = False
        except (LineDropped, EOFError) as ended:
            self._is_reading = False
            say(err=True)
            return "" if isinstance(ended, LineDropped) else None
        return line


def _edited() -> str:
    return input(MARK)


def _plain() -> str:
    """Where standard output goes elsewhere, the mark may not go with it."""
    say(MARK, end="", err=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line
