"""Where a training's seconds go."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Clock:
    """One clock a run, its seconds split by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._before = 0.0
        self._stage: tuple[str, float] | None = None
        self._began = time.perf_counter()

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the block's time to a stage."""
        self._stage = stage, time.perf_counter()
        try:
            yield
        finally:
            self.seconds, self._stage = self._by_stage(), None

    def _by_stage(self) -> dict[str, float]:
        """Return the seconds, those of the stage that is not over too."""
        if self._stage is None:
            return self.seconds
        stage, began = self._stage
        return {**self.seconds, stage: self.seconds.get(stage, 0.0) + time.perf_counter() - began}

    def total(self) -> dict[str, float]:
        """Return the seconds by stage and in all, those before a resume too."""
        return {**self._by_stage(), "total": self._before + time.perf_counter() - self._began}

    def go_on(self, seconds: dict[str, float]) -> None:
        """Add what a training took before it was resumed."""
        self._before += seconds.get("total", 0.0)
        for stage, spent in seconds.items():
            if stage != "total":
                self.seconds[stage] = self.seconds.get(stage, 0.0) + spent
