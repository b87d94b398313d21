"""A memo is quick when it is there, and nothing is lost when it is not."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from featx.cache.memo import Memo
from featx.errors import OptionError

ABOUT = {"file": "a.png", "stamp": [1, 2]}


def test_what_was_put_comes_back_to_another_memo(tmp_path: Path) -> None:
    Memo(tmp_path).put("hash", ABOUT, {"sha256": "ab", "n": [1, 2.5, None]})
    assert Memo(tmp_path).get("hash", ABOUT) == {"sha256": "ab", "n": [1, 2.5, None]}


def test_another_kind_or_subject_is_absent(tmp_path: Path) -> None:
    memo = Memo(tmp_path)
    memo.put("hash", ABOUT, 1)
    assert memo.get("names", ABOUT) is None
    assert memo.get("hash", {**ABOUT, "stamp": [1, 3]}) is None


def test_a_later_value_replaces_the_earlier_one(tmp_path: Path) -> None:
    memo = Memo(tmp_path)
    memo.put("hash", ABOUT, 1)
    memo.put("hash", ABOUT, 2)
    assert memo.get("hash", ABOUT) == 2
    assert len(os.listdir(tmp_path / "memo")) == 1


def test_every_damaged_byte_makes_it_absent(tmp_path: Path) -> None:
    memo = Memo(tmp_path)
    memo.put("hash", ABOUT, "value")
    (path,) = (tmp_path / "memo").iterdir()
    good = path.read_bytes()
    json.loads(good)
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        assert memo.get("hash", ABOUT) is None, at
    for size in (0, 1, len(good) - 1):
        path.write_bytes(good[:size])
        assert memo.get("hash", ABOUT) is None, size
    path.write_bytes(good)
    assert memo.get("hash", ABOUT) == "value"


def test_a_copy_under_another_name_is_no_answer(tmp_path: Path) -> None:
    memo = Memo(tmp_path)
    memo.put("hash", ABOUT, "right")
    memo.put("hash", {"file": "b.png"}, "wrong")
    names = sorted((tmp_path / "memo").iterdir(), key=lambda path: b"wrong" in path.read_bytes())
    shutil.copy(names[1], names[0])
    assert memo.get("hash", ABOUT) is None
    assert memo.get("hash", {"file": "b.png"}) == "wrong"


def test_a_home_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    memo = Memo(tmp_path / "home")
    memo.put("hash", ABOUT, 1)
    assert memo.get("hash", ABOUT) is None


def test_a_kind_is_a_plain_word(tmp_path: Path) -> None:
    with pytest.raises(OptionError):
        Memo(tmp_path).put("../x", ABOUT, 1)


def test_bytes_come_back_and_every_damaged_one_makes_them_absent(tmp_path: Path) -> None:
    memo = Memo(tmp_path)
    memo.put_bytes("table", ABOUT, b"\0value")
    assert Memo(tmp_path).get_bytes("table", ABOUT) == b"\0value"
    assert memo.get_bytes("table", {"file": "b.png"}) is None
    (path,) = (tmp_path / "memo").iterdir()
    good = path.read_bytes()
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        assert memo.get_bytes("table", ABOUT) is None, at
    for size in (0, 31, len(good) - 1):
        path.write_bytes(good[:size])
        assert memo.get_bytes("table", ABOUT) is None, size


def test_bytes_copied_under_another_name_are_no_answer(tmp_path: Path) -> None:
    memo = Memo(tmp_path)
    memo.put_bytes("table", ABOUT, b"right")
    (path,) = (tmp_path / "memo").iterdir()
    memo.put_bytes("table", {"file": "b.png"}, b"wrong")
    (other,) = (p for p in (tmp_path / "memo").iterdir() if p != path)
    shutil.copy(other, path)
    assert memo.get_bytes("table", ABOUT) is None
