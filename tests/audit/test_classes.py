"""Classes that cannot be scored or learnt are remarked on, and splits that were drawn differently are told."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from featx.audit.classes import class_balance


def test_classes_too_small_to_be_learnt_or_scored_are_remarked_on() -> None:
    labels = np.array([0] * 30 + [1] * 30 + [0] * 10 + [1] * 9 + [2] * 12)
    splits = ["train"] * 60 + ["test"] * 31
    found = class_balance(labels, splits, ("a", "b", "c", "d"))
    assert [one.rows for one in found.classes][:2] == [{"train": 30, "test": 10}, {"train": 30, "test": 9}]
    assert [one.remarks for one in found.classes] == [
        [],
        ["9 test images, fewer than 10: its accuracy says little"],
        ["no train image: it cannot be learnt"],
        ["no image at all"],
    ]


def test_a_class_without_test_images_is_not_scored_and_without_a_test_split_none_is_missed() -> None:
    labels = np.array([0, 1, 0])
    assert class_balance(labels, ["train", "train", "test"], ("a", "b")).classes[1].remarks == [
        "no test image: it is not scored"
    ]
    assert all(not one.remarks for one in class_balance(labels, ["all"] * 3, ("a", "b")).classes)


def test_shares_by_split_are_compared() -> None:
    labels = np.repeat([0, 1, 0, 1], [50, 50, 10, 30])
    found = class_balance(labels, ["train"] * 100 + ["test"] * 40, ("a", "b"))
    assert found.imbalance == {"train": 1.0, "test": 3.0}
    assert found.differ == pytest.approx(0.25)
    assert found.p_value == pytest.approx(chi2_contingency([[50, 50], [10, 30]], correction=False).pvalue)


def test_unlabelled_splits_have_no_balance() -> None:
    found = class_balance(np.array([0, 1, -1, -1]), ["train", "train", "test", "test"], ("a", "b"))
    assert found.unlabelled == {"test": 2}
    assert (found.differ, found.p_value) == (None, None)
    assert list(found.imbalance) == ["train"]
    assert all(not one.remarks for one in found.classes)
