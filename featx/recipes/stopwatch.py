"""What the progress of a training tells of its pace: steps, apart from what is before and after them."""

from __future__ import annotations

import statistics
import time

from featx.recipes.pace import STAGE


class Stopwatch:
    """Takes the time at each step of a training, and after each epoch's validation; the first epoch warms up.

    It is called as a progress is. A training tells of its images after each step, and of as many again once it has
    validated.
    """

    def __init__(self) -> None:
        self._steps: list[float] = []
        self._firsts: list[float] = []
        self._validations: list[float] = []
        self._last: tuple[float, int] | None = None
        self._is_begun = False
        self._epochs = 0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take the time."""
        if not stage.startswith(STAGE):
            return
        now = time.perf_counter()
        before, self._last = self._last, (now, done)
        if before is None:
            self._is_begun = True
            return
        ends = done == before[1]
        if self._epochs:
            kind = self._validations if ends else self._steps if self._is_begun else self._firsts
            kind.append(now - before[0])
        self._is_begun = not ends
        self._epochs += ends

    @property
    def step(self) -> float:
        """Seconds of a step, the median of those that are not an epoch's first; of that, where there is no other."""
        return statistics.median(self._steps or self._firsts)

    @property
    def start(self) -> float:
        """Seconds that an epoch takes beyond its steps."""
        return max(0.0, statistics.median(self._firsts) - self.step)

    @property
    def validation(self) -> float:
        """Seconds of the validation after an epoch."""
        return statistics.median(self._validations)
