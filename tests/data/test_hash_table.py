"""Tables of hashes: what was put in is found again, and nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.cache.memo import Memo
from featx.data import hash_table
from featx.data.hash_table import FileMemory, FileTable, RowHashes, tags


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


def digests(names: list[str]) -> npt.NDArray[np.uint8]:
    return np.frombuffer(b"".join(hashlib.sha256(n.encode()).digest() for n in names), np.uint8).reshape(-1, 32)


def remember(home: Path, names: list[str], listed: list[str] | None) -> list[str]:
    """Remember what is not known yet of some files and return it."""
    memory = FileMemory(Memo(home), {"folder": "photos"}, None if listed is None else tags(listed))
    seen, stamps = tags(names), np.full((len(names), 4), 7, np.uint64)
    found, missing = memory.look_up(seen, stamps)
    new = [names[i] for i in missing]
    found[missing] = digests(new)
    assert np.array_equal(found, digests(names))
    memory.update(FileTable(seen[missing], stamps[missing], found[missing]))
    return new


def names_of(n: int) -> list[str]:
    return [f"{i}.png" for i in range(n)]


def memos(home: Path) -> dict[str, int]:
    """Return each memo and when it was written."""
    return {path.name: path.stat().st_mtime_ns for path in (home / "memo").iterdir()}


@pytest.fixture
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hash_table, "_PART_FILES", 10)


@pytest.mark.usefixtures("_small_parts")
def test_files_of_any_number_are_remembered(tmp_path: Path) -> None:
    kept = {}
    for n in (8, 9, 25, 200, 10, 201):
        names = names_of(n)
        assert remember(tmp_path, names, names_of(max(n, *kept, 0))) == names[max(kept, default=0) :]
        kept[n] = len(memos(tmp_path))
    assert kept == {8: 1, 9: 1, 25: 4, 200: 32, 10: 32, 201: 32}


@pytest.mark.usefixtures("_small_parts")
def test_a_folder_that_is_not_listed_is_remembered_too(tmp_path: Path) -> None:
    assert len(remember(tmp_path, names_of(30), None)) == 30
    assert remember(tmp_path, names_of(30), None) == []
    assert remember(tmp_path, names_of(60), None) == names_of(60)[30:]
    assert remember(tmp_path, names_of(60)[::3], names_of(60)) == []


@pytest.mark.usefixtures("_small_parts")
def test_one_more_file_writes_one_memo(tmp_path: Path) -> None:
    remember(tmp_path, names_of(200), names_of(200))
    before = memos(tmp_path)
    assert remember(tmp_path, names_of(201), names_of(201)) == ["200.png"]
    after = memos(tmp_path)
    assert before.keys() == after.keys()
    assert sum(before[name] != after[name] for name in after) == 1


@pytest.mark.usefixtures("_small_parts")
def test_files_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    remember(tmp_path, names_of(200), names_of(200))
    remember(tmp_path, names_of(5), names_of(5))
    assert remember(tmp_path, names_of(10), names_of(10)) == names_of(10)[5:]


@pytest.mark.usefixtures("_small_parts")
def test_a_damaged_memo_costs_only_its_own_files(tmp_path: Path) -> None:
    remember(tmp_path, names_of(200), names_of(200))
    max((tmp_path / "memo").iterdir()).write_bytes(b"broken")
    assert 0 < len(remember(tmp_path, names_of(200), names_of(200))) < 40
    assert remember(tmp_path, names_of(200), names_of(200)) == []


def test_a_memo_of_an_earlier_version_is_found_and_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = names_of(100)
    Memo(tmp_path).put_bytes("folder", {"folder": "photos"}, table(names, 7).to_bytes())
    old = memos(tmp_path)
    assert remember(tmp_path, names, names) == []
    assert memos(tmp_path) == old
    monkeypatch.setattr(hash_table, "_PART_FILES", 10)
    assert remember(tmp_path, names, names) == []
    assert len(memos(tmp_path)) == 16
    assert not memos(tmp_path).keys() & old.keys()
    assert remember(tmp_path, names, names) == []


def test_processes_that_remember_at_once_lose_nothing_but_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that looked things up before another split the memos still adds to what that one left."""
    first = FileMemory(Memo(tmp_path), {"folder": "photos"}, tags(names_of(100)))
    monkeypatch.setattr(hash_table, "_PART_FILES", 10)
    remember(tmp_path, names_of(90), names_of(100))
    first.update(table(names_of(100)[90:], 7))
    assert remember(tmp_path, names_of(100), names_of(100)) == []


def rows_of(home: Path, n: int, rows: list[int]) -> tuple[list[int], list[bytes]]:
    """Hash some rows of a file of `n` rows; return which were read, and the hashes."""
    read = []

    def digest(row: int) -> bytes:
        read.append(row)
        return hashlib.sha256(b"%d" % row).digest()

    hashes = RowHashes("stack", {"stamp": [0, 0, 0, 0]}, n, Memo(home)).get(np.array(rows, np.int64), digest)
    return read, [digest.tobytes() for digest in hashes]


def test_rows_of_any_number_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hash_table, "_PART_ROWS", 4)
    assert rows_of(tmp_path, 10, [0, 3, 9])[0] == [0, 3, 9]
    read, found = rows_of(tmp_path, 10, [9, 8, 0, 5])
    assert read == [5, 8]
    assert found == [hashlib.sha256(b"%d" % row).digest() for row in (9, 8, 0, 5)]
    before = memos(tmp_path)
    assert rows_of(tmp_path, 10, [0, 1, 3, 5, 8, 9])[0] == [1]
    assert sum(before[name] != time for name, time in memos(tmp_path).items()) == 1
    assert len(before) == 3


def test_rows_of_a_file_that_one_memo_holds_are_kept_as_ever(tmp_path: Path) -> None:
    known = digests([str(row) for row in range(10)])
    Memo(tmp_path).put_bytes("stack", {"stamp": [0, 0, 0, 0]}, known.tobytes())
    assert rows_of(tmp_path, 10, list(range(10)))[0] == []
