"""Ctrl-C and SIGTERM wait for the end of a step, so that what is saved is whole."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

from featx.core.executors.worker import is_stopped, raise_if_stopped

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """While open, the first signal is only noted; a second one does what it did before.

    Outside of the main thread, where Python handles no signals, nothing is changed.
    """

    def __init__(self) -> None:
        self._noted: tuple[int, FrameType | None] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        before, self._noted = self._noted, (number, frame)
        if before is not None:
            self._act(number, frame)

    def _act(self, number: int, frame: FrameType | None) -> None:
        handler = self._before.get(number)
        if callable(handler):
            handler(number, frame)
        elif handler is signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def counts(self) -> list[float]:
        """Return 1 for the signal that came, of `SIGNALS`, and 0 for the others."""
        noted = self._noted
        return [float(noted is not None and noted[0] == number) for number in SIGNALS]

    def note(self, counts: list[float]) -> None:
        """Note a signal that came to another process of the same training, by how often each of `SIGNALS` did."""
        came = [number for number, count in zip(SIGNALS, counts, strict=True) if count]
        if came and self._noted is None:
            self._noted = came[0], None

    @property
    def wanted(self) -> bool:
        """Whether a signal came, or the worker that this process is was told to stop."""
        return self._noted is not None or is_stopped()

    def now(self) -> None:
        """Do what the noted signal did before: raise KeyboardInterrupt, or whatever its handler does.

        A worker that was told to stop raises `featx.core.executors.worker.Stopped`.
        """
        raise_if_stopped()
        if self._noted is not None:
            self._act(*self._noted)
