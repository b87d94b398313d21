"""Rows with the same content, groups that hang together, and what leaks are worth."""

from __future__ import annotations

import numpy as np
import pytest

from featx.audit.duplicates import components, groups_of, pairs_of
from featx.audit.findings import Leak, as_csv
from featx.audit.leaked_scores import leaked_scores
from featx.audit.thumbnails import pixel_digest


def test_equal_keys_are_grouped_under_their_first_row_and_unknown_ones_are_not() -> None:
    keys = np.array([[1, 0], [2, 0], [1, 0], [1, 0], [2, 0]], np.uint8)
    first = groups_of(keys, np.array([True, True, True, False, True]))
    assert first.tolist() == [0, 1, 0, 3, 1]
    assert pairs_of(first) == [(0, 2), (1, 4)]


def test_chains_of_pairs_are_one_group() -> None:
    assert components(6, [(4, 5), (1, 2), (5, 1)]).tolist() == [0, 1, 1, 3, 1, 1]


def test_pixels_are_the_same_whether_grey_is_stored_as_rgb() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    assert pixel_digest(grey) == pixel_digest(np.repeat(grey, 3, axis=2))
    assert pixel_digest(grey) != pixel_digest(grey.reshape(4, 3, 1))
    assert pixel_digest(grey) != pixel_digest(grey + 1)


@pytest.mark.parametrize(
    ("split_a", "split_b", "dropped"),
    [
        ("train", "test", "a"),
        ("test", "train", "b"),
        ("val", "train", "b"),
        ("train", "train", "b"),
        ("all", "all", "b"),
    ],
)
def test_the_image_outside_the_test_set_is_left_out(split_a: str, split_b: str, dropped: str) -> None:
    finding = Leak("a", "b", split_a, split_b, "near", 0.9, False, 0, 1).finding()
    assert finding.ids[0] == dropped
    lines = as_csv([finding, finding]).splitlines()
    assert len(lines) == 2
    assert lines[1].startswith(f"{split_a if dropped == 'a' else split_b},{dropped},near,0.9,")


def test_leaked_rows_are_worth_what_they_add_and_the_interval_covers_it() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        leaked = rng.random(400) < 0.2
        right = rng.random(400) < np.where(leaked, 0.95, 0.7)
        found = leaked_scores(right, leaked, seed)
        assert found is not None
        assert found.difference == pytest.approx(found.accuracy - found.without)
        covered += found.interval[0] <= 0.2 * (0.95 - 0.7) <= found.interval[1]
    assert 180 <= covered <= 199
    assert leaked_scores(right, np.zeros(400, bool)) is None
