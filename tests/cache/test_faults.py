"""The attacks of tests/benchmarks/faults.py in small: killed, without power, shared, full, read-only, without locks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faults_disk
import faults_kill
import faults_locks
import faults_power
import faults_writers
import pytest
from faults_edges import At
from faults_log import Disk, recorded
from faults_table import Line
from faults_work import Truth, Work, small_shards, works

from featx.core import atomic
from featx.errors import DiskFullError
from featx.extraction import fill_store


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill_store, "plan_shard_rows", fill_store.plan_shard_rows)  # put back afterwards
    small_shards()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def grown(scratch: Path) -> Iterator[tuple[Work, Truth]]:
    """A data set that has grown, with duplicates, and what an uninterrupted extraction of it gives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fill_store, "plan_shard_rows", fill_store.plan_shard_rows)
        small_shards()
        work = works(scratch, 24)[2]
        yield work, Truth.of(work, scratch)


def kept(line: Line) -> None:
    """Fail with a broken promise's counts."""
    assert line.attempts
    assert not {name: n for name, n in line.faults.items() if n}, line


def test_killed_at_random_moments_it_goes_on(grown: Any, scratch: Path) -> None:
    kept(faults_kill.at_random_moments(*grown, scratch / "home", 3, seed=0))


def test_killed_before_a_change_of_the_disk_it_goes_on(grown: Any, scratch: Path) -> None:
    kept(faults_kill.before_every_edge(*grown, scratch / "home", step=60))


def test_without_power_nothing_wrong_is_left(grown: Any, scratch: Path) -> None:
    work, truth = grown
    ops = faults_power.record(work, scratch / "log")
    kept(faults_power.cut(work, truth, ops, scratch, seed=0, samples=0, step=40))


def test_processes_without_locks_give_the_same_bytes(grown: Any, scratch: Path) -> None:
    for kind, stub in faults_writers.LOCKS.items():
        kept(faults_writers.together([grown], scratch / "home", 3, kind, stub))


def test_a_disk_that_is_full_at_a_change_says_what_it_needs(grown: Any, scratch: Path) -> None:
    kept(faults_disk.at_each_edge(*grown, scratch / "home", lasting=True, step=45))


def test_a_store_that_cannot_be_written_or_locked(tmp_path: Path) -> None:
    kept(faults_locks.read_only(tmp_path))
    kept(faults_locks.without_locks(tmp_path, few=1))


def test_a_new_folder_survives_a_loss_of_power_with_its_parents(tmp_path: Path) -> None:
    root, log = tmp_path / "disk", tmp_path / "log"
    root.mkdir()
    with recorded(root, log):
        atomic.make_folder(root / "a" / "b")
        os.mkdir(root / "a" / "unsynced")
    disk = Disk()
    for op in faults_power.read_log(log, root):
        disk.do(op)
    assert set(disk.kept()) == {"a", "a/b"}


def test_a_full_disk_is_told_how_much_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", lambda fd, data: At(0, faults_disk.no_room)())
    with pytest.raises(DiskFullError, match="5,000 bytes needed"):
        atomic.write_bytes(tmp_path / "x", b"abc", needed=5000)
