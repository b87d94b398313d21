"""Ends a training that would take more than the time that there is, as soon as that is seen."""

from __future__ import annotations

import time
from collections.abc import Callable

from featx.core.specs import Progress

LOOK_SECONDS, LOOK_SHARE = 5.0, 0.03
"""How long, and how far, a training runs before its pace is judged."""

STAGE = "training"
"""What the progress of a training begins with."""


class TooSlowError(Exception):
    """A training that would not end in time.

    Parameters
    ----------
    epoch : float
        Seconds that one of its epochs takes.
    """

    def __init__(self, epoch: float) -> None:
        super().__init__()
        self.epoch = epoch


def judged(progress: Progress, epochs: int, left: Callable[[], float]) -> Progress:
    """Return a progress that also looks at the pace.

    Parameters
    ----------
    progress : callable
        Told of the images done.
    epochs : int
        Of the training.
    left : callable
        Gives the seconds that there are.

    Raises
    ------
    TooSlowError
        When it is called, and the rest would take longer.
    """
    begun: list[tuple[float, int]] = []

    def judge(stage: str, done: int, total: int) -> None:
        progress(stage, done, total)
        if not stage.startswith(STAGE):
            return
        now = time.monotonic()
        begun[:] = begun or [(now, done)]  # what an earlier start has done is no part of the pace
        seconds, images = now - begun[0][0], done - begun[0][1]
        if seconds < LOOK_SECONDS or images < LOOK_SHARE * total:
            return
        pace = seconds / images
        if (total - done) * pace > left():
            raise TooSlowError(pace * total / epochs)

    return judge
