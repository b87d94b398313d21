"""What the chosen rows leave open: classes, labels, content."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featx.cache.schema import UNREADABLE
from featx.data.coverage import check_readable, conflicts, lacking, notes
from featx.data.splits import hold_out, partition
from featx.errors import ImageError, SourceError


class Rows:
    """A source of labels and contents; a content of None could not be read."""

    def __init__(self, rows: list[tuple[int | None, int]], split: str = "all") -> None:
        self.contents = [content for content, _ in rows]
        self.labels = np.array([label for _, label in rows], np.int64)
        self.ids = [f"{split}/{i}" for i in range(len(rows))]
        self.split, self.classes = split, ("a", "b", "c")

    def __getitem__(self, i: int) -> Any:
        raise ImageError(f"image {self.ids[i]} cannot be read: it is gone", "look")

    def row_hashes(self) -> Any:
        found = [UNREADABLE if c is None else hashlib.sha256(b"%d" % c).digest() for c in self.contents]
        return np.frombuffer(b"".join(found), np.uint8).reshape(-1, 32)


def good(n: int, split: str = "all", start: int = 0) -> list[tuple[int | None, int]]:
    return [(start + i, i % 2) for i in range(n)]


@settings(deadline=None)
@given(st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 5)), st.integers(-1, 2)), max_size=30))
def test_conflicts_are_contents_with_several_labels(rows: list[tuple[int | None, int]]) -> None:
    labels: dict[int, set[int]] = {}
    for content, label in rows:
        if content is not None and label >= 0:
            labels.setdefault(content, set()).add(label)
    several = {content for content, found in labels.items() if len(found) > 1}
    found = conflicts([Rows(rows)])
    assert found.images == len(several)
    assert found.rows == sum(content in several and label >= 0 for content, label in rows)
    assert len(found.examples) == min(3, len(several))


def test_conflicts_are_found_from_split_to_split() -> None:
    assert conflicts([Rows([(1, 0)], "train"), Rows([(1, 1), (2, 1)], "test")]).as_dict() == {"images": 1, "rows": 2}


def test_rows_that_cannot_be_read_are_no_conflict_and_are_not_held_out() -> None:
    rows = [*good(40), *((None, i % 3) for i in range(9))]
    source = Rows(rows)
    assert conflicts([source]).images == 0
    assert not hold_out(source.row_hashes(), source.labels, 0.5, 0)[40:].any()
    cut = partition({"all": source})
    whole = partition({"all": Rows(good(40))})
    for name in ("val", "test"):
        assert cut.parts()[name].rows.tolist() == whole.parts()[name].rows.tolist()
    assert lacking(cut) == {"train": ["c"], "val": ["c"], "test": ["c"]}


def test_rows_without_a_label_are_counted_by_split() -> None:
    sources = {"train": Rows([*good(40), (90, -1)], "train"), "test": Rows([(91, -1), (92, -1)], "test")}
    cut = partition(sources)
    assert cut.unlabelled == {"train": 1, "test": 2}
    said = notes(cut, sources)
    assert said[:2] == [
        "1 of 41 rows of train have no label and are left out",
        "2 of 2 rows of test have no label and are left out",
    ]


def test_nothing_to_say_is_not_said() -> None:
    source = Rows([(i, i % 3) for i in range(60)])
    assert notes(partition({"all": source}), {"all": source}) == []


def test_an_own_test_split_of_which_nothing_is_left_is_named() -> None:
    with pytest.raises(SourceError, match=r"2 of 42 images cannot be read, .* none to test on: test/0, test/1"):
        partition({"train": Rows(good(40), "train"), "test": Rows([(None, 0), (None, 1)], "test")})


def test_what_cannot_be_read_is_named_all_at_once() -> None:
    check_readable([Rows(good(5))])
    with pytest.raises(ImageError, match="image all/5 cannot be read: it is gone"):
        check_readable([Rows([*good(5), (None, 0)])])
    with pytest.raises(
        ImageError, match=r"12 of 17 images cannot be read: all/5, .*, all/14 and 2 more; the first: .*gone"
    ):
        check_readable([Rows([*good(5), *[(None, 0)] * 12])])
