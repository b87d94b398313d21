"""Names come back from ids.json one page at a time, whatever they are made of; a file that changed is not believed."""

from __future__ import annotations

import hashlib
import pickle
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featx.cache import ids as module
from featx.cache.ids import StoredIds, write_ids
from featx.core import atomic
from featx.core.hashing import canonical_json
from featx.errors import CorruptStoreError, StoreError

NAMES = st.lists(st.text('ab"\\,[]é\n\udce9', max_size=6), max_size=9)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(names=NAMES, block=st.sampled_from([1, 2, 3, 1 << 20]), page=st.integers(1, 4), written=st.integers(1, 4))
def test_any_names_come_back(tmp_path: Path, names: list[str], block: int, page: int, written: int) -> None:
    path = tmp_path / "ids.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atomic, "BLOCK", block)
        patch.setattr(module, "_PAGE", page)
        patch.setattr(module, "_WRITTEN", written)
        patch.setattr(module.atomic.os, "fsync", lambda fd: None)
        sha256 = write_ids(path, names)
        assert path.read_bytes() == canonical_json(names)
        stored = StoredIds(path, len(names), sha256, "")
        assert list(stored) == stored[:] == names
        assert [stored[row] for row in range(-len(names), len(names))] == names + names
        assert stored[::-2] == names[::-2]
        assert stored == names
        assert pickle.loads(pickle.dumps(stored)) == stored


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ('["a","b"]', 3),
        ('["a","b"]', 1),
        ('["a" "b"]', 2),
        ('["a",["b"]]', 2),
        ('{"a":"b"}', 2),
        ("[1,2]", 2),
        ('["a","b"', 2),
        ("{}", 1),
    ],
)
def test_what_is_no_list_of_names_is_refused(tmp_path: Path, text: str, n: int) -> None:
    path = tmp_path / "ids.json"
    path.write_text(text)
    with pytest.raises(CorruptStoreError, match=r"ids\.json is damaged"):
        list(StoredIds(path, n, hashlib.sha256(text.encode()).hexdigest(), ""))


def test_a_file_that_changes_is_checked_again(tmp_path: Path) -> None:
    path, names = tmp_path / "ids.json", [f"{row}.png" for row in range(3000)]
    stored = StoredIds(path, 3000, write_ids(path, names), "")
    assert stored[0] == "0.png"
    path.write_bytes(path.read_bytes().replace(b"2999.png", b"2998.png"))
    assert stored[1] == "1.png"  # of the page that is in memory
    with pytest.raises(CorruptStoreError, match="its SHA-256 is not the one"):
        stored[2999]
    write_ids(path, names)
    assert stored[2999] == "2999.png"


def test_names_are_not_all_in_memory(tmp_path: Path) -> None:
    path, n = tmp_path / "ids.json", 50_000
    sha256 = write_ids(path, [f"train/{row:08d}.jpg" for row in range(n)])
    tracemalloc.start()
    stored = StoredIds(path, n, sha256, "")
    assert sum(len(name) for name in stored) == 18 * n
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 67 * n  # what the strings alone would take; blocks of a megabyte do not depend on n


def test_names_that_are_too_long_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="expected at most 4096 per row"):
        write_ids(tmp_path / "ids.json", ["a" * 5000] * 3)
    assert list(tmp_path.iterdir()) == []
