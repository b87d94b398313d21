"""Rows are compared over the seeds that all of them have."""

from __future__ import annotations

from featx.recipes.result import common_seeds, uncounted

RECORDS = {"pixels": {0: {}, 1: {}, 2: {}}, "scratch": {0: {}, 1: {}}, "left out": {}}


def test_seeds_that_all_rows_have() -> None:
    assert common_seeds(RECORDS) == [0, 1]
    assert common_seeds({}) == []


def test_what_does_not_count_is_said() -> None:
    assert uncounted(RECORDS) == ["only 2 of the seeds of pixels count: the other rows have no more"]
    assert uncounted({"pixels": {0: {}}, "scratch": {0: {}}}) == []
