"""Signals that end a run, and work that they may not cut in two."""

from __future__ import annotations

import signal
import threading

import pytest

from spikegpt_neuro.signals import ending_as_interrupted, undisturbed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_heard_at_the_end(number: signal.Signals) -> None:
    done = []

    def work() -> None:
        with undisturbed():
            for part in range(3):
                signal.raise_signal(number)
                done.append(part)

    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with ending_as_interrupted() as ended:
        with pytest.raises(KeyboardInterrupt):
            work()
        assert ended.exit_code == 128 + number
    assert done == [0, 1, 2]
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


def test_an_error_of_the_body_comes_first() -> None:
    def work() -> None:
        with undisturbed():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("mine")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="mine"):
        work()
    assert signal.getsignal(signal.SIGINT) == before


def test_handlers_that_python_does_not_know_stay() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with undisturbed():
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_off_the_main_thread_nothing_changes() -> None:
    found = []

    def work() -> None:
        before = signal.getsignal(signal.SIGINT)
        with undisturbed():
            found.append(signal.getsignal(signal.SIGINT) == before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [True]
