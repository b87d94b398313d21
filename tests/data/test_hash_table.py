"""Tables of hashes: what was put in is found again, and nothing else."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from featx.data.hash_table import FileTable, tags


def table(names: list[str], stamp: int) -> FileTable:
    hashes = np.frombuffer(b"".join(hashlib.sha256(n.encode()).digest() for n in names), np.uint8).reshape(-1, 32)
    return FileTable.from_bytes(None).updated(
        FileTable(tags(names), np.full((len(names), 4), stamp, np.uint64), hashes), None
    )


@given(st.lists(st.text("abc/", max_size=5), max_size=20), st.lists(st.text("abc/", max_size=5), max_size=20))
def test_what_is_known_is_found_and_the_rest_is_missing(known: list[str], wanted: list[str]) -> None:
    found, missing = FileTable.from_bytes(table(known, 7).to_bytes()).look_up(
        tags(wanted), np.full((len(wanted), 4), 7, np.uint64)
    )
    assert missing.tolist() == [i for i, name in enumerate(wanted) if name not in known]
    for i, name in enumerate(wanted):
        assert (found[i].tobytes() == hashlib.sha256(name.encode()).digest()) == (name in known)


def test_another_stamp_is_another_file() -> None:
    stamps = np.full((1, 4), 7, np.uint64)
    stamps[0, 3] = 8
    assert table(["a"], 7).look_up(tags(["a"]), stamps)[1].tolist() == [0]


def test_an_update_replaces_adds_and_drops_what_is_not_listed() -> None:
    before = table(["a", "b", "c"], 1)
    after = before.updated(table(["b", "d"], 2), tags(["a", "b", "d"]))
    assert sorted(after.tags.tolist()) == sorted(tags(["a", "b", "d"]).tolist())
    assert after.look_up(tags(["b"]), np.full((1, 4), 2, np.uint64))[1].size == 0
    assert after.look_up(tags(["a"]), np.full((1, 4), 1, np.uint64))[1].size == 0


def test_nothing_new_is_the_same_table() -> None:
    before = table(["a", "b"], 1)
    assert before.updated(table([], 1), None) is before
    assert before.updated(table([], 1), tags(["a", "b"])) is before


def test_other_bytes_are_an_empty_table() -> None:
    assert len(FileTable.from_bytes(b"x" * 71).tags) == 0


def test_a_name_that_is_no_unicode_has_a_tag() -> None:
    assert len(set(tags(["caf\udce9.png", "café.png"]).tolist())) == 2
