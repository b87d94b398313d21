"""A list of images: understood or refused by its line, and never a way out of its folder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featx.data.csv_list import Below, read_list
from featx.data.sources import load_source, load_splits
from featx.errors import FeatxError, ImageError, SourceError


def write(pets: Path, text: str | bytes) -> Path:
    path = pets / "list.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "path,label\ncat/1.png,cat\ndog/0.png,dog\n",
        "label,path\ncat,cat/1.png\ndog,dog/0.png\n",
        "Path , LABEL\r\ncat/1.png, cat\r\n\r\n dog/0.png,dog\r\n",
        '\ufeffnote,"path","label"\n"a, b",cat/1.png,"cat"\n,"./dog//0.png",dog',
        "cat/1.png,cat\ndog/0.png,dog\n",
        "path,label\rcat/1.png,cat\rdog/0.png,dog\r",
    ],
    ids=["plain", "other order", "CRLF and spaces", "BOM, quotes, more columns", "no header", "CR"],
)
def test_spellings_of_one_list(pets: Path, text: str) -> None:
    source = load_source(write(pets, text))
    assert list(source.ids) == ["cat/1.png", "dog/0.png"]
    assert (source.classes, source.labels.tolist()) == (("cat", "dog"), [0, 1])
    assert source[1][0].shape == (10, 12, 3)


def test_labels_may_be_missing(pets: Path) -> None:
    assert load_source(write(pets, "path\ncat/1.png\n")).labels.tolist() == [-1]
    assert load_source(write(pets, "path,label\ncat/1.png,\ncat/2.png,x\n")).labels.tolist() == [-1, 0]


def test_splits_are_understood_with_and_without_a_header(pets: Path) -> None:
    rows = "cat/1.png,cat,Train\ncat/2.png,cat,test\ndog/1.png,dog,train\ndog/2.png,dog,validation\n"
    for text in (rows, "path,label,split\n" + rows):
        splits = load_splits(write(pets, text))
        assert {s: list(source.ids) for s, source in splits.items()} == {
            "train": ["cat/1.png", "dog/1.png"],
            "val": ["dog/2.png"],
            "test": ["cat/2.png"],
        }
        assert splits["test"].classes == ("cat", "dog")


def test_an_image_may_stand_in_several_rows(pets: Path) -> None:
    source = load_source(write(pets, "path,label\ncat/1.png,a\ncat/1.png,b\ncat/1.png,a\n"))
    assert source.labels.tolist() == [0, 1, 0]
    assert len({row.tobytes() for row in source.row_hashes()}) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\ncat/1.png,cat\n../x.png,cat\n", "line 3: its path is '../x.png'"),
        ("path\n/etc/x.png\n", "line 2: its path is '/etc/x.png'"),
        ("path\ncat/../../x.png\n", "line 2: its path"),
        ("path\nC:\\x.png\n", "line 2: its path"),
        ("path\na\0b.png\n", "line 2: its path"),
        ("../x.png,cat\n", "line 1: its path"),
        ("path,label\n,cat\n", "line 2: it has no path"),
        ("path,label\n.,cat\n", "line 2: it has no path"),
        ("path,label\ncat/1.png\n", "line 2: it has 1 columns, expected 2"),
        ("path,split\ncat/1.png,tset\n", "line 2: its split is 'tset', expected train, val or test"),
        ("path,split\ncat/1.png,\n", "line 2: its split is ''"),
        ("path,label,path\n", "two columns called path"),
        ("photo,class\ncat/1.png,cat\n", "line 1: it is neither a header"),
        ("a.png,b,c,d\n", "line 1: it is neither a header"),
        ('path\n"cat/1.png\n', "it is not CSV"),
        ("path,label\n", "names no images"),
        ("", "names no images"),
        ("\n\n", "names no images"),
        (b"path\ncat/1.png\ncat/\xff.png\n", "line 3: it is not UTF-8"),
        (b"\xef\xbb\xbfpath\n\xff.png\n", "line 2: it is not UTF-8"),
        ("path\n".encode("utf-16"), "line 1: it is not UTF-8"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(pets: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        load_source(write(pets, text))
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_an_image_that_is_not_there_is_a_bad_image(pets: Path) -> None:
    source = load_source(write(pets, f"path\ncat/none.png\n{'x' * 5000}.png\ncat/1.png\n"))
    assert source.row_hashes().shape == (3, 32)
    for i in (0, 1):
        with pytest.raises(ImageError, match="cannot be read"):
            source[i]


@pytest.mark.parametrize("link", ["folder", "file"])
def test_links_that_lead_out_are_refused_unread(pets: Path, tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.png").write_bytes((pets / "cat/1.png").read_bytes())
    (pets / "away").symlink_to(outside) if link == "folder" else (pets / "s.png").symlink_to(outside / "secret.png")
    source = load_source(write(pets, "path\naway/secret.png\n" if link == "folder" else "path\ns.png\n"))
    assert source.row_hashes()[0].tobytes() != load_source(outside).row_hashes()[0].tobytes()
    with pytest.raises(ImageError, match="leads out"):
        source[0]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(["/", "//", "..", ".", "a", "root", "root/sub", "\\", "C:", " ", "\0"]), max_size=8))
def test_any_path_is_a_name_below_the_folder_or_none(pieces: list[str]) -> None:
    path = "".join(pieces)
    for text in (path, f"/root{path}", f"/root/{path}"):
        name = Below(Path("/root")).name_of(text)
        if name is not None:
            pure = PurePosixPath(name)
            assert not pure.is_absolute()
            assert ".." not in pure.parts
            assert not text.startswith("/") or PurePosixPath("/" + text.lstrip("/")).is_relative_to("/root")


def test_a_path_that_only_begins_like_the_folder_lies_outside(tmp_path: Path) -> None:
    (tmp_path / "ab").mkdir()
    (tmp_path / "a").mkdir()
    assert Below(tmp_path / "a").name_of(f"{tmp_path}/ab/x.png") is None
    assert Below(tmp_path / "a").name_of(f"{tmp_path}/a/x.png") == "x.png"


PIECES = st.sampled_from(
    [
        "path",
        "label",
        "split",
        ",",
        "\n",
        "\r\n",
        '"',
        "../",
        "/",
        "a.png",
        "train",
        "test",
        ".",
        " ",
        "\0",
        "\ufeff",
        "é",
        ";",
        "\t",
        "class",
        "image",
        "0",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join)))
def test_any_text_is_right_rows_or_a_refusal(text: str) -> None:
    try:
        layout = read_list(text, "list.csv")
    except FeatxError:
        return
    assert layout.splits
    for split, rows in layout.splits.items():
        assert split in ("train", "val", "test", "all")
        for row in rows:
            pure = PurePosixPath(row.name)
            assert not pure.is_absolute()
            assert pure.parts
            assert ".." not in pure.parts
            assert row.label is None or row.label in layout.classes
