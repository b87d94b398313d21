"""Images are left out by id and split; what does not occur is told, and an empty split or class is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from drawn import drawn

from featx.core.csv_cells import csv_line
from featx.data.exclusion import exclude, read_exclusion
from featx.data.opening import choose_rows
from featx.data.split_options import SplitOptions
from featx.errors import OptionError


def source(split: str, ids: list[str]) -> Any:
    found = drawn(len(ids))
    found.split, found.ids = split, ids
    return found


def sources() -> dict[str, Any]:
    return {split: source(split, [f"{name}{i}" for i in range(12)]) for split, name in (("train", "a"), ("test", "a"))}


def listed(tmp_path: Path, text: str) -> str:
    path = tmp_path / "list.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_rows_are_left_out_of_their_split_alone(tmp_path: Path) -> None:
    path = listed(tmp_path, "kind,id,split\nnear,a3,train\nnear,a5,test\n")
    found = exclude(sources(), read_exclusion(path))
    assert {split: rows.tolist() for split, rows in found.rows.items()} == {"train": [3], "test": [5]}
    chosen, notes = choose_rows(sources(), SplitOptions(exclude=path), 0, "raise")
    assert sorted([*chosen.train.rows, *chosen.val.rows]) == [i for i in range(12) if i != 3]
    assert chosen.test.rows.tolist() == [i for i in range(12) if i != 5]
    assert chosen.excluded is not None
    assert chosen.excluded.counts() == {"train": 1, "test": 1}
    assert not any("occur" in line for line in notes)


@pytest.mark.parametrize("text", ["id\na3\n", "split;id\n;a3\n", "\ufeffid\r\na3\r\n"])
def test_without_a_split_all_splits_are_meant(tmp_path: Path, text: str) -> None:
    found = exclude(sources(), read_exclusion(listed(tmp_path, text)))
    assert found.counts() == {"train": 1, "test": 1}


def test_what_does_not_occur_is_told(tmp_path: Path) -> None:
    path = listed(tmp_path, "split,id\ntrain,a3\ntrain,gone\n")
    _, notes = choose_rows(sources(), SplitOptions(exclude=path), 0, "raise")
    assert any("1 image that does not occur here: gone (split train)" in line for line in notes)


def test_names_come_back_as_a_spreadsheet_saw_them(tmp_path: Path) -> None:
    names = ["=1+1", "tab\there", 'comma,quote"', "plain", *"bcdefghi"]
    path = listed(tmp_path, csv_line(["split", "id"]) + "".join(csv_line(["train", name]) for name in names[:3]))
    found = exclude({"train": source("train", names)}, read_exclusion(path))
    assert found.rows["train"].tolist() == [0, 1, 2]
    again = tmp_path / "again.csv"
    again.write_text(found.exclusion.as_csv(), encoding="utf-8")
    assert read_exclusion(str(again)).digest == found.exclusion.digest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name\na3\n", "no column id"),
        ("", "no column id"),
        ("id\n", "names no image"),
        ("id\nother\n", "none of its 1 images occurs"),
        ("id,split\n" + "".join(f"a{i},train\n" for i in range(12)), "leaves no image of split 'train'"),
        ("id,split\n" + "".join(f"a{i},test\n" for i in range(0, 12, 2)), "leaves no image of class a in split 'test'"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        choose_rows(sources(), SplitOptions(exclude=listed(tmp_path, text)), 0, "raise")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot be read"):
        read_exclusion(str(tmp_path / "none.csv"))


def test_the_digest_is_of_what_is_left_out(tmp_path: Path) -> None:
    first = read_exclusion(listed(tmp_path, "id,split,score\na,train,1\nb,test,2\n")).digest
    assert read_exclusion(listed(tmp_path, "split,id\ntest,b\ntrain,a\n")).digest == first
    assert read_exclusion(listed(tmp_path, "split,id\ntest,a\ntrain,b\n")).digest != first
