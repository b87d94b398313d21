"""What a training's progress tells of its pace."""

from __future__ import annotations

import pytest

from featx.recipes import stopwatch
from featx.recipes.stopwatch import Stopwatch


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Stopwatch:
    """Two epochs of three steps of 10 images: the first epoch is slow, the second's first step too."""
    now = 0.0
    watch = Stopwatch()
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now)
    lines = [(9.0, 10), (9.0, 20), (9.0, 30), (9.0, 30), (3.0, 40), (1.0, 50), (1.5, 60), (0.5, 60)]
    watch("reading", 5, 60)
    for seconds, done in lines:
        now += seconds
        watch(f"training: epoch {1 + (done > 30)}/2", done, 60)
    return watch


def test_the_first_epoch_warms_up(timed: Stopwatch) -> None:
    assert timed.step == pytest.approx(1.25)
    assert timed.validation == pytest.approx(0.5)


def test_what_an_epoch_takes_before_its_steps_is_told_apart(timed: Stopwatch) -> None:
    assert timed.start == pytest.approx(3.0 - 1.25)


def test_an_epoch_of_one_step_has_that_step(monkeypatch: pytest.MonkeyPatch) -> None:
    now, watch = 0.0, Stopwatch()
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now)
    for seconds, done in [(9.0, 10), (9.0, 10), (2.0, 20), (1.0, 20)]:
        now += seconds
        watch("training: epoch", done, 20)
    assert (watch.step, watch.start, watch.validation) == (2.0, 0.0, 1.0)
