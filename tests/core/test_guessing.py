"""Losses are held against guessing the classes by their shares, and what is worse is said with what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss

from featx.core.guessing import guessing_losses, worse_than_guessing
from featx.core.metrics import LARGEST_LOSS, Scores, score

TRAIN, TEST = [0] * 6 + [1] * 3 + [2], [0, 1, 1, 2]


def scores(labels: list[int], loss: float, right: bool = True, k: int = 3) -> Scores:
    """Scores of a model that is always right, or takes everything for class 0, with another loss."""
    logits = np.eye(k)[labels] if right else np.tile(np.eye(k)[0], (len(labels), 1))
    return replace(score(logits, labels, k), loss=loss)


def pair(train: float, test: float, **how: Any) -> dict[str, Scores]:
    return {"train": scores(TRAIN, train, **how), "test": scores(TEST, test, **how)}


def test_guessing_costs_what_scikit_learn_says() -> None:
    found = guessing_losses(pair(0, 0))
    for part, labels in (("train", TRAIN), ("test", TEST)):
        assert found[part] == pytest.approx(log_loss(labels, [[0.6, 0.3, 0.1]] * len(labels), labels=[0, 1, 2]))
    assert guessing_losses(pair(0, 0), balanced=True) == pytest.approx(dict.fromkeys(("train", "test"), np.log(3)))


def test_a_class_that_nobody_taught_costs_the_most_and_has_no_share() -> None:
    both = {"train": scores([0, 0, 1, 1], 0), "test": scores([0, 2], 0)}
    for balanced in (False, True):
        found = guessing_losses(both, balanced=balanced)
        assert found["train"] == pytest.approx(np.log(2))
        assert found["test"] == pytest.approx((np.log(2) + LARGEST_LOSS) / 2)


def test_as_good_as_guessing_is_not_worse() -> None:
    guessed = guessing_losses(pair(0, 0))
    assert worse_than_guessing(pair(guessed["train"], guessed["test"])) == ""
    assert worse_than_guessing(pair(guessed["train"] * (1 + 1e-9), guessed["test"])) == ""


def test_the_worse_parts_are_named_with_both_losses() -> None:
    said = worse_than_guessing(pair(2.0, 12345.0, right=False), lr=0.5)
    assert "train loss 2.0000 (0.8979), test loss 1.23e+04 (1.3053), guessing in brackets" in said
    assert said.endswith("; nothing was learnt: try another --lr than 0.5")
    assert worse_than_guessing(pair(2.0, 9.0, right=False)).endswith("; nothing was learnt")


def test_what_went_wrong_is_told_apart() -> None:
    assert worse_than_guessing(pair(0.1, 9.0)).endswith("what was learnt from the training rows does not generalise")
    settled = worse_than_guessing(pair(9.0, 9.0), lr=0.5)
    assert settled.endswith("the classes are told apart, but training did not converge: try another --lr than 0.5")
    assert "--sweep standardises the features" in worse_than_guessing(pair(9.0, 9.0))
