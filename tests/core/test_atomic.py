"""A file is wholly there or not at all, and every failure says what mends it."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from store_samples import in_child

from featx.core import atomic
from featx.errors import CorruptStoreError, DiskFullError, StoreError


def test_written_bytes_come_back_and_leave_nothing_beside_them(tmp_path: Path) -> None:
    atomic.write_bytes(tmp_path / "a", b"x" * 100_000)
    assert atomic.read_bytes(tmp_path / "a", 100_000) == b"x" * 100_000
    assert os.listdir(tmp_path) == ["a"]


def test_writing_replaces_a_link_and_not_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("mine")
    (tmp_path / "a").symlink_to(tmp_path / "target")
    atomic.write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "target").read_text() == "mine"
    assert not (tmp_path / "a").is_symlink()


@pytest.mark.parametrize("name", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_leaves_the_old_file_and_no_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int
) -> None:
    atomic.write_bytes(tmp_path / "a", b"old")

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, name, full)
        with pytest.raises(DiskFullError, match=r"12,345 bytes needed, [0-9,]+ bytes free") as caught:
            atomic.write_bytes(tmp_path / "a", b"x" * 12_345)
    assert str(tmp_path / "a") in caught.value.message
    assert "FEATX_HOME" in caught.value.hint
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:7]))
    atomic.write_bytes(tmp_path / "a", bytes(range(100)))
    assert (tmp_path / "a").read_bytes() == bytes(range(100))


def test_an_interrupt_leaves_no_temporary_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic.replacing(tmp_path / "a"):
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_read_only_place_is_called_so(code: int) -> None:
    error = atomic.storage_error(Path("/somewhere/a"), OSError(code, os.strerror(code)))
    assert type(error) is StoreError
    assert "read-only" in error.message
    assert "store=" in error.hint


def test_a_folder_where_a_file_stands_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        atomic.make_folder(tmp_path / "a" / "b")


def test_json_is_readable_sorted_and_ends_with_a_newline(tmp_path: Path) -> None:
    atomic.write_json(tmp_path / "a.json", {"b": 1, "a": "ü\udce9"})
    text = (tmp_path / "a.json").read_text("ascii")
    assert text.endswith("}\n")
    assert text.index('"a"') < text.index('"b"')
    assert atomic.read_json(tmp_path / "a.json") == {"b": 1, "a": "ü\udce9"}


def test_nan_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic.write_json(tmp_path / "a.json", float("nan"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "data", [b"", b"{", b"NaN", b"-Infinity", b"[" * 200_000, b"\xff\xfe", b"9" * 5000, b'{"a": 1}x']
)
def test_bad_json_is_a_corrupt_store(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(CorruptStoreError, match=r"a\.json") as caught:
        atomic.read_json(tmp_path / "a.json", hint="do this")
    assert caught.value.hint == "do this"


def test_a_file_larger_than_its_bound_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps("x" * 100))
    with pytest.raises(CorruptStoreError, match="at most 101"):
        atomic.read_json(tmp_path / "a.json", max_bytes=101)
    assert atomic.read_json(tmp_path / "a.json", max_bytes=102) == "x" * 100
    os.truncate(tmp_path / "a.json", 1 << 40)  # sparse: reading it whole would take all memory
    with pytest.raises(CorruptStoreError):
        atomic.read_json(tmp_path / "a.json")


def test_links_pipes_and_folders_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("1")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "."):
        with pytest.raises(CorruptStoreError):
            atomic.read_json(tmp_path / name)


def test_an_absent_file_is_no_corruption(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        atomic.read_json(tmp_path / "a.json")
    assert not isinstance(caught.value, CorruptStoreError)


def test_tidy_removes_what_dead_processes_left_and_nothing_else(tmp_path: Path) -> None:
    def leave() -> None:
        name = atomic.temporary_name()
        (tmp_path / name).write_text("half")
        (tmp_path / f"{name[:-1]}{'0' if name[-1] != '0' else '1'}").mkdir()
        os._exit(0)

    assert in_child(leave) == 0
    assert len(os.listdir(tmp_path)) == 2
    mine = atomic.temporary_name()
    elsewhere = ".tmp-1-" + "0" * 16
    for name in (mine, elsewhere, "kept", ".tmp-x"):
        (tmp_path / name).write_text("")
    atomic.tidy(tmp_path)
    assert set(os.listdir(tmp_path)) == {mine, elsewhere, "kept", ".tmp-x"}
    os.utime(tmp_path / elsewhere, (1, 1))  # another machine's, and old
    atomic.tidy(tmp_path)
    assert set(os.listdir(tmp_path)) == {mine, "kept", ".tmp-x"}
    atomic.tidy(tmp_path / "absent")


def test_removing_a_tree_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a").write_text("mine")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "outside")
    atomic.remove_tree(tmp_path / "tree")
    assert (tmp_path / "outside" / "a").exists()
    assert not (tmp_path / "tree").exists()


def test_a_lock_keeps_others_out_until_its_process_is_gone(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def second() -> None:
        with atomic.locked(tmp_path / "lock"):
            log.write_text(log.read_text() + "second")

    with atomic.locked(tmp_path / "lock"):
        pid = os.fork()
        if pid == 0:
            second()
            os._exit(0)
        log.write_text("first ")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert log.read_text() == "first second"
