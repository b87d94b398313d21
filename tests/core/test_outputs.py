"""A result's file is there wholly or not at all; devices, pipes and what links point to are written, not replaced."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from featx.core.outputs import write_output
from featx.errors import DiskFullError, StoreError


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    for data in (b"first", b"second"):
        write_output(tmp_path / "a", data)
        assert (tmp_path / "a").read_bytes() == data
    assert os.listdir(tmp_path) == ["a"]


def test_a_link_stays_and_leads_to_the_result(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "a")
    for data in (b"first", b"second"):  # at first, the link leads nowhere
        write_output(tmp_path / "link", data)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "elsewhere" / "a").read_bytes() == data


def test_a_pipe_is_written_to_as_a_whole(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    data, read = os.urandom(1 << 20), list[bytes]()  # more than a pipe holds
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_output(tmp_path / "pipe", data)
    reader.join(60)
    assert read == [data]
    assert (tmp_path / "pipe").is_fifo()


def test_a_reader_who_left_is_no_fault_of_the_disk(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = threading.Thread(target=lambda: (tmp_path / "pipe").open("rb").close())
    reader.start()
    with pytest.raises(BrokenPipeError):
        write_output(tmp_path / "pipe", b"x" * (1 << 20))
    reader.join(60)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_device_is_a_full_disk() -> None:
    with pytest.raises(DiskFullError, match="/dev/full") as caught:
        write_output(Path("/dev/full"), b"x")
    assert caught.value.hint == "choose another place for the file"


def test_a_place_where_nothing_can_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "none" / "a", tmp_path / "file" / "a", tmp_path):
        with pytest.raises(StoreError, match="cannot be written") as caught:
            write_output(path, b"x")
        assert str(path) in caught.value.message
        assert caught.value.hint == "choose another place for the file"
    assert os.listdir(tmp_path) == ["file"]
