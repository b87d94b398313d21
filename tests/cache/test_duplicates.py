"""Equal rows are found whole, in one go or in parts, and nothing else is taken for equal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.cache import duplicates
from featx.cache.duplicates import find_duplicates
from featx.cache.schema import UNREADABLE

BAD = np.frombuffer(UNREADABLE, np.uint8)
CONTENT = st.lists(st.integers(0, 5), max_size=30)


def first_rows(hashes: np.ndarray[Any, Any]) -> list[int]:
    """Return for each row the first row of equal content."""
    found, first = find_duplicates(hashes), np.arange(len(hashes))
    assert (np.diff(found.rows) > 0).all()
    first[found.rows] = found.first
    return [int(row) for row in first]


@pytest.mark.parametrize("part_rows", [4, 1 << 23])
@given(content=CONTENT)
def test_the_first_row_of_equal_content_is_found(part_rows: int, content: list[int]) -> None:
    hashes = np.zeros((len(content), 32), np.uint8)
    hashes[:, 0] = hashes[:, 5] = content  # the part that a row belongs to depends on the latter
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "_PART_ROWS", part_rows)
        assert first_rows(hashes) == [content.index(value) for value in content]


@given(CONTENT)
def test_rows_whose_hashes_only_begin_alike_are_no_copies(content: list[int]) -> None:
    """A forger may make them so: then a copy may be missed, and none may be made up."""
    hashes = np.zeros((len(content), 32), np.uint8)
    hashes[:, 31] = content
    hashes[:, 0] = np.array(content, np.uint8) % 2
    for row, first in enumerate(first_rows(hashes)):
        assert content[first] == content[row]
        assert first <= row


def test_unreadable_rows_are_no_copies() -> None:
    assert first_rows(np.stack([BAD, BAD, BAD * 0, BAD * 0])) == [0, 1, 2, 2]


def test_those_of_some_rows_are_cut_out() -> None:
    hashes = np.zeros((6, 32), np.uint8)
    hashes[:, 0] = [0, 1, 0, 1, 0, 2]
    part = find_duplicates(hashes).between(3, 6)
    assert (part.rows.tolist(), part.first.tolist()) == ([3, 4], [1, 0])
