"""A training is ended where its pace says that it would take longer than there is."""

from __future__ import annotations

import itertools

import pytest

from featx.core.specs import no_progress
from featx.recipes import pace
from featx.recipes.pace import TooSlowError, judged


@pytest.fixture(autouse=True)
def _ten_seconds_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0, 10)
    monkeypatch.setattr(pace.time, "monotonic", lambda: next(clock))


def test_too_slow() -> None:
    look = judged(no_progress, 4, lambda: 89.0)
    look("training: epoch 1/4", 0, 100)
    with pytest.raises(TooSlowError) as caught:
        look("training: epoch 1/4", 10, 100)
    assert caught.value.epoch == 25.0


def test_quick_enough() -> None:
    told = list[int]()
    look = judged(lambda stage, done, total: told.append(done), 4, lambda: 91.0)
    for done in (0, 10, 20):
        look("training: epoch 1/4", done, 100)
    assert told == [0, 10, 20]


def test_what_an_earlier_start_did_tells_nothing_of_the_pace() -> None:
    look = judged(no_progress, 4, lambda: 30.0)
    look("training: epoch 3/4", 60, 100)
    look("training: epoch 3/4", 80, 100)  # 20 images in 10 s: 10 s are left to go


def test_only_trainings_are_judged() -> None:
    look = judged(no_progress, 4, lambda: 0.0)
    for done in (0, 50):
        look("extract train", done, 100)
