"""A stamp tells that a file may have changed."""

from __future__ import annotations

import os
import time
from pathlib import Path

from featx.core.file_stamps import file_stamp, is_settled


def test_a_stamp_changes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("1")
    before = file_stamp(path)
    assert before[0] == 1
    with path.open("rb") as file:
        assert file_stamp(file.fileno()) == before
    os.utime(path, ns=(5, 5))
    assert file_stamp(path)[2] == 5
    path.write_text("22")
    assert file_stamp(path)[0] == 2


def test_a_stamp_is_settled_two_seconds_after_the_last_change() -> None:
    now = time.time_ns()
    assert is_settled([1, 2, now - 3 * 10**9, now - 3 * 10**9])
    assert not is_settled([1, 2, now - 10**9, now - 3 * 10**9])
    assert not is_settled([1, 2, now - 3 * 10**9, now - 10**9])
    assert not is_settled([1, 2, now + 10**9, now - 3 * 10**9])
