"""Signals wait for the end of a step, and then do what they always did."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from featx.training.signals import Stopping


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_signal_waits() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Stopping() as stopping:
        stopping.now()
        assert not stopping.wanted
        interrupt()
        assert stopping.wanted
        with pytest.raises(KeyboardInterrupt):
            stopping.now()
    assert signal.getsignal(signal.SIGINT) is before


def test_the_second_does_not() -> None:
    with Stopping():
        interrupt()
        with pytest.raises(KeyboardInterrupt):
            interrupt()


def test_a_handler_that_was_there_is_called() -> None:
    calls = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: calls.append(number))
    try:
        with Stopping() as stopping:
            os.kill(os.getpid(), signal.SIGTERM)
            assert calls == []
            stopping.now()
        assert calls == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_are_left_alone() -> None:
    seen = []

    def work() -> None:
        before = signal.getsignal(signal.SIGINT)
        with Stopping() as stopping:
            seen.append((signal.getsignal(signal.SIGINT) is before, stopping.wanted))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(True, False)]
