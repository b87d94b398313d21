"""What gc chooses, and what it sweeps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from store_samples import Sample

from featx.cache.entries import Entry
from featx.cache.upkeep import choose, remove_unless_used, sweep

NOW = 1e9

entries = st.lists(
    st.tuples(st.integers(0, 100), st.integers(0, 50)).map(
        lambda pair: Entry("0" * 64, "s", "", "b", "w", "l", 1, 1, pair[0], True, NOW - pair[1])
    )
)


@given(entries, st.none() | st.integers(0, 500), st.none() | st.integers(0, 50))
def test_what_stays_is_small_and_young_and_nothing_goes_in_vain(
    found: list[Entry], max_bytes: int | None, max_age: int | None
) -> None:
    chosen = choose(found, NOW, max_bytes, max_age)
    going = [entry for entry, _ in chosen.going]
    assert len(going) + len(chosen.staying) == len(found)
    assert max_bytes is None or chosen.bytes_left <= max_bytes or not chosen.staying
    assert all(max_age is None or NOW - entry.last_used <= max_age for entry in chosen.staying)
    assert max((e.last_used for e in going), default=0) <= min((e.last_used for e in chosen.staying), default=NOW)
    if going and (max_age is None or NOW - going[-1].last_used <= max_age):
        assert max_bytes is not None
        assert chosen.bytes_left + going[-1].bytes > max_bytes


@given(entries)
def test_what_is_in_use_stays(found: list[Entry]) -> None:
    chosen = choose(found, NOW, 0, 0, lambda entry: True)
    assert not chosen.going
    assert chosen.bytes_left == sum(entry.bytes for entry in found)


def test_sweep_removes_what_dead_processes_left_and_follows_no_link(tmp_path: Path, sample: Sample) -> None:
    store = sample.stored(tmp_path / "home")
    code = "from featx.core.atomic import temporary_name as t; print(t())"
    folder = store.folder(sample.key)
    (store.home / "memo").mkdir()
    left = []
    for path in (folder.parent, folder, folder / "shards", store.home / "memo"):
        name = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        left.append(path / name)
        left[-1].mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / left[0].name).touch()
    (folder.parent / ("1" * 64)).symlink_to(outside)
    sweep(store)
    assert not any(path.exists() for path in left)
    assert (outside / left[0].name).exists()
    assert store.is_complete(sample.key)


def test_a_key_that_is_gone_already_frees_nothing(tmp_path: Path, sample: Sample) -> None:
    store = sample.stored(tmp_path)
    assert (remove_unless_used(store, sample.key.digest) or 0) > 0
    assert remove_unless_used(store, sample.key.digest) == 0
    assert os.listdir(tmp_path / "features") in ([], [".lock"])
