"""Classes that a part of the rows has no images of: found in scores, read from records, said in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from featx.data.missing_classes import all_missing, missing_classes, missing_lines, missing_of

FULL, HALF = [[1, 0], [0, 1]], [[2, 1], [0, 0]]


def test_a_class_without_a_row_is_missing_and_one_that_is_never_predicted_is_not() -> None:
    confusion = {"train": np.array(FULL), "val": np.array([[1, 0], [1, 0]]), "test": np.array(HALF)}
    assert missing_classes(confusion, ("a", "b")) == {"test": ["b"]}


def test_a_part_without_rows_lacks_every_class() -> None:
    assert missing_classes({"train": FULL, "test": FULL}, ("a", "b")) == {"val": ["a", "b"]}


def test_earlier_runs_wrote_nothing_down_and_are_understood() -> None:
    record = {"classes": ["a", "b"], "confusion": {"train": FULL, "val": FULL, "test": HALF}}
    assert missing_of(record) == {"test": ["b"]}
    assert missing_of({**record, "missing_classes": {}}) == {}
    assert missing_of({}) == {}


@pytest.mark.parametrize(
    "record",
    [
        {"missing_classes": 5},
        {"missing_classes": ["test"]},
        {"missing_classes": {"test": 7}},
        {"missing_classes": {"elsewhere": ["a"]}},
        {"classes": ["a"], "confusion": {"test": FULL}},
        {"classes": 3, "confusion": {"test": FULL}},
        {"classes": ["a", "b"], "confusion": {"test": [None, "x"]}},
        {"classes": ["a", "b"], "confusion": 9},
    ],
    ids=str,
)
def test_what_a_stranger_wrote_says_nothing(record: dict[str, Any]) -> None:
    assert missing_of(record) == {}


def test_what_several_runs_lack_is_put_together() -> None:
    assert all_missing([{"test": ["b"]}, {"test": ["a", "b"], "val": ["c"]}, {}]) == {"val": ["c"], "test": ["b", "a"]}


def test_parts_that_lack_the_same_share_a_line() -> None:
    missing = {"train": ["c"], "val": ["a", "b"], "test": ["a", "b"]}
    assert missing_lines(missing) == [
        "1 class has no training images: c",
        "2 classes have no validation or test images: a, b",
    ]
    assert missing_lines({"test": ["c"]}, 3) == ["1 of 3 classes have no test images: c"]
    many = [f"{i:02d}" for i in range(12)]
    assert missing_lines({"test": many})[0].endswith("08, 09 and 2 more")
    assert missing_lines({"test": many}, named=None)[0].endswith("10, 11")
