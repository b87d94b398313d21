"""How long a comparison has taken, kept on the disk while it runs: the time of a killed process counts too."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from featx.cache.memo import Memo

BEAT_SECONDS = 2.0
"""How often the time is written down: no more of it is lost."""

KIND = "compare-spent"


class Spent:
    """A clock that goes on where an earlier process left it.

    Parameters
    ----------
    memo : Memo
        Where the time is written.
    """

    def __init__(self, memo: Memo) -> None:
        self._memo = memo
        self._began, self._before = time.monotonic(), 0.0
        self._about: Mapping[str, Any] | None = None
        self._lock = threading.Lock()

    @property
    def seconds(self) -> float:
        """Seconds since this began, and those before that."""
        return self._before + time.monotonic() - self._began

    def go_on(self, about: Mapping[str, Any]) -> None:
        """Add what earlier processes took for the same, and write down from now on how long that is."""
        self._about = about
        known = self._memo.get(KIND, about)
        self._before = float(known) if isinstance(known, (int, float)) else 0.0

    def write(self) -> None:
        """Write the time down now."""
        with self._lock:
            if self._about is not None:
                self._memo.put(KIND, self._about, self.seconds)

    @contextmanager
    def written(self) -> Iterator[None]:
        """Write the time down again and again, and at the end."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(BEAT_SECONDS):
                self.write()

        thread = threading.Thread(target=beat, name="featx-spent", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.write()
