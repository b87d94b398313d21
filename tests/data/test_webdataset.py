"""WebDataset's shards: which members are one sample, what its label is, and what ids and splits the names give."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from featx.cache.memo import Memo
from featx.data.shard_names import expand_braces, has_braces, shard_ids, split_shards
from featx.data.sources import load_source, load_splits
from featx.errors import OptionError, SourceError

Draw = Callable[..., bytes]


def write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def shard(path: Path, png: Draw, ending: str = "cls", labels: Sequence[Any] = (0, 1, 0, 1)) -> Path:
    members = []
    for i, label in enumerate(labels):
        text = json.dumps(label) if ending == "json" else str(label)
        members += [(f"{i:04d}.png", png(i)), (f"{i:04d}.{ending}", text.encode())]
    return write_tar(path, members)


# Names


def test_braces_are_ranges_and_alternatives() -> None:
    assert expand_braces("a-{08..10}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar"]
    assert expand_braces("{x,y}/{0..1}.tar") == ["x/0.tar", "x/1.tar", "y/0.tar", "y/1.tar"]
    assert expand_braces("{x}.tar") == ["{x}.tar"]
    assert not has_braces("{x}.tar")


@pytest.mark.parametrize("spec", ["a-{3..1}.tar", "{0..9999999}.tar", "{0..9999}/{0..9999}.tar"])
def test_braces_of_nothing_and_of_too_much_are_refused(spec: str) -> None:
    with pytest.raises(OptionError):
        expand_braces(spec)


def test_ids_begin_at_the_folder_of_all_shards() -> None:
    assert shard_ids(["s3://b/x/0.tar", "s3://b/x/1.tar"]) == ["0", "1"]
    assert shard_ids(["x/a/0.tar", "x/b/0.tar"]) == ["a/0", "b/0"]
    assert shard_ids(["x/train/0.tar", "x/train/1.tar"]) == ["train/0", "train/1"]
    with pytest.raises(SourceError, match="more than once: 0"):
        shard_ids(["x/0.tar", "x/0.tar"])


@pytest.mark.parametrize(
    ("ids", "splits"),
    [
        (["train/0", "val/0"], ["train", "val"]),
        (["train-000000", "train-000001", "test-000000"], ["train", "train", "test"]),
        (["imagenet1k-train-0000", "imagenet1k-validation-00"], ["train", "val"]),
        (["shard-0", "shard-1"], ["all", "all"]),
    ],
)
def test_splits_are_what_folders_and_names_say(ids: list[str], splits: list[str]) -> None:
    assert split_shards("x", ids) == splits


@pytest.mark.parametrize("ids", [["train-0", "extra-0"], ["train/0", "more/0"], ["train-0", "training-0"]])
def test_some_splits_and_some_not_are_refused(ids: list[str]) -> None:
    with pytest.raises(SourceError):
        split_shards("x", ids)


# Samples


def test_a_folder_of_tars_has_the_splits_of_its_shards(tmp_path: Path, png: Draw) -> None:
    for name in ("train-000000", "train-000001", "val-000000"):
        shard(tmp_path / f"w/{name}.tar", png)
    splits = load_splits(tmp_path / "w")
    assert {split: len(source) for split, source in splits.items()} == {"train": 8, "val": 4}
    assert splits["val"].ids[1] == "val-000000/0001"
    assert splits["train"].classes == ("0", "1")


@pytest.mark.parametrize(
    ("ending", "labels", "classes"),
    [
        ("cls", ["10", "9", "+9", "010"], ("9", "10")),
        ("cls", ["dog", "cat\n", "cat", "dog"], ("cat", "dog")),
        ("json", [{"label": 3}, {"label": 4, "class": 0}, {"label": 3}, {"label": 4}], ("3", "4")),
        ("json", [{"caption": "x", "class": "cat"}] * 4, ("cat",)),
        ("json", [1, 2, 1, 2], ("1", "2")),
        ("txt", ["cat", "dog", "cat", "dog"], ("cat", "dog")),
        ("txt", ["a cat", "two dogs", "a hat", "a tree"], ()),
        ("txt", ["x " * 99] * 4, ()),
        ("json", [{"label": {"a": 1}}, {"label": True}, [], None], ()),
    ],
)
def test_labels(tmp_path: Path, png: Draw, ending: str, labels: list[Any], classes: tuple[str, ...]) -> None:
    shard(tmp_path / "w/0.tar", png, ending, labels)
    source = load_source(tmp_path / "w")
    assert source.classes == classes
    assert (source.labels >= 0).all() == bool(classes)


def test_the_class_counts_before_a_field_and_that_before_a_text(tmp_path: Path, png: Draw) -> None:
    members = [("1.jpg", png(0)), ("1.txt", b"t"), ("1.json", b'{"label": "j"}'), ("1.cls", b"c")]
    write_tar(tmp_path / "w/0.tar", members)
    write_tar(tmp_path / "w/1.tar", members[:3])
    source = load_source(tmp_path / "w")
    assert source.classes == ("c",)
    assert source.labels.tolist() == [0, -1]


def test_a_key_ends_at_the_first_dot_of_the_name(tmp_path: Path, png: Draw) -> None:
    members = [("a.b/x.y.seg.png", png(1)), ("a.b/x.png", png(2)), ("a.b/x.cls", b"c"), ("./z.JPG", png(3))]
    write_tar(tmp_path / "w/0.tar", members)
    source = load_source(tmp_path / "w")
    assert list(source.ids) == ["0/a.b/x", "0/z"]
    assert source[0][0].tobytes() == load_source(_flat(tmp_path, png(2)))[0][0].tobytes()


def _flat(tmp_path: Path, data: bytes) -> Path:
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat/x.png").write_bytes(data)
    return tmp_path / "flat"


def test_two_images_of_one_sample_are_refused_by_name(tmp_path: Path, png: Draw) -> None:
    write_tar(tmp_path / "w/0.tar", [("7.png", png(0)), ("7.jpg", png(1))])
    with pytest.raises(SourceError, match=r"sample 7 .* has several images: 7\.png and 7\.jpg"):
        load_source(tmp_path / "w")


def test_a_single_tar_with_classes_beside_its_images_is_a_shard(tmp_path: Path, png: Draw) -> None:
    source = load_source(shard(tmp_path / "s.tar", png))
    assert (list(source.ids)[:2], source.classes) == (["s/0000", "s/0001"], ("0", "1"))


def test_a_single_tar_of_class_folders_stays_one(tmp_path: Path, png: Draw) -> None:
    members = [
        (f"{kind}/{i}.{end}", png(i) if end == "png" else b"1")
        for kind in ("cat", "dog")
        for i in range(2)
        for end in ("png", "cls")
    ]
    source = load_source(write_tar(tmp_path / "s.tar", members))
    assert (list(source.ids)[:2], source.classes) == (["cat/0.png", "cat/1.png"], ("cat", "dog"))


@pytest.mark.parametrize("name", ["../../x.png", "a/../../x.png"])
def test_names_that_lead_out_are_refused(tmp_path: Path, png: Draw, name: str) -> None:
    write_tar(tmp_path / "w/0.tar", [(name, png(0))])
    with pytest.raises(SourceError, match="leads out"):
        load_source(tmp_path / "w")


def test_a_name_from_the_root_is_a_key_as_any_other(tmp_path: Path, png: Draw) -> None:
    write_tar(tmp_path / "w/0.tar", [("/x.png", png(0))])
    assert list(load_source(tmp_path / "w").ids) == ["0/x"]


def test_a_shard_that_is_cut_off_is_refused_by_name(tmp_path: Path, png: Draw) -> None:
    path = shard(tmp_path / "w/0.tar", png)
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(SourceError, match=r"shard .*0\.tar is not a readable tar"):
        load_source(tmp_path / "w")


@pytest.mark.usefixtures("settled")
def test_a_shard_is_read_once_and_again_when_it_changed(
    tmp_path: Path, png: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shard(tmp_path / "w/0.tar", png)
    memo = Memo(tmp_path / "home")
    first = load_source(tmp_path / "w", memo=memo)
    with monkeypatch.context() as patch:
        patch.setattr("featx.data.webdataset.tar_members", None)
        second = load_source(tmp_path / "w", memo=memo)
        assert (second.fingerprint(), list(second.ids)) == (first.fingerprint(), list(first.ids))
        assert second[2][0].tobytes() == first[2][0].tobytes()
    shard(path, png, labels=(0, 1, 2, 3, 4))
    with pytest.raises(SourceError, match="changed while featx was reading it"):
        first[0]
    assert len(load_source(tmp_path / "w", memo=memo)) == 5


def test_a_text_file_lists_shards_below_it(tmp_path: Path, png: Draw) -> None:
    for i in range(3):
        shard(tmp_path / f"w/{i}.tar", png)
    (tmp_path / "w/all.txt").write_text("# shards\n{0..1}.tar\n\n2.tar\n")
    assert len(load_source(tmp_path / "w/all.txt")) == 12
    for lines in ("1.jpg\n", "../w/0.tar\n", "", "/etc/x.tar\n", "9.tar\n"):
        (tmp_path / "w/bad.txt").write_text(lines)
        with pytest.raises(SourceError):
            load_source(tmp_path / "w/bad.txt")


def test_shards_that_are_missing_are_named(tmp_path: Path, png: Draw) -> None:
    shard(tmp_path / "w/s-0.tar", png)
    with pytest.raises(SourceError, match=r"1 of the 2 shards .* missing: .*s-1\.tar"):
        load_source(f"{tmp_path}/w/s-{{0..1}}.tar")
