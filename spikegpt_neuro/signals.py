"""SIGTERM, which schedulers send before they kill, ends a run as Ctrl-C does."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn


@dataclass
class Ended:
    """Which signal ended a run: Ctrl-C, unless another one came."""

    number: int = signal.SIGINT

    @property
    def exit_code(self) -> int:
        """128 and the signal's number, as shells have it."""
        return 128 + self.number

    @property
    def word(self) -> str:
        """What happened."""
        return "interrupted" if self.number == signal.SIGINT else "terminated"


@contextmanager
def undisturbed() -> Iterator[None]:
    """SIGINT and SIGTERM that come while the body runs are heard at its end.

    Nothing changes off the main thread, which alone hears signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[tuple[int, FrameType | None]] = []
    found = {int(n): signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    handlers = {number: handler for number, handler in found.items() if callable(handler)}
    with ExitStack() as stack:
        for number, handler in handlers.items():
            stack.callback(signal.signal, number, handler)
            signal.signal(number, lambda *arguments: heard.append(arguments))
        yield
    for number, frame in heard[:1]:
        handlers[number](number, frame)


@contextmanager
def ending_as_interrupted() -> Iterator[Ended]:
    """While the body runs, SIGTERM raises KeyboardInterrupt in it.

    Nothing changes off the main thread, which alone hears signals, and where SIGTERM is ignored
    or somebody else's already.
    """
    ended = Ended()

    def interrupt(number: int, _: FrameType | None) -> NoReturn:
        ended.number = number
        raise KeyboardInterrupt

    on_main_thread = threading.current_thread() is threading.main_thread()
    if not on_main_thread or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield ended
        return
    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield ended
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def hearing_interrupts(heard: Callable[[], None]) -> Iterator[None]:
    """While the body runs, SIGINT calls ``heard`` instead of raising KeyboardInterrupt.

    What ``heard`` raises is raised in the body. Nothing changes off the main thread, which alone
    hears signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: heard())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
