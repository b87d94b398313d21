"""Archives as other tools make them hold all that they hold, and a data set that was cut is no smaller data set."""

from __future__ import annotations

import hashlib
import io
import shutil
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from archives_by_hand import hard_link, old_sparse, pax_sparse, tar_bytes, zip_of

from featx.cache.memo import Memo
from featx.core.specs import no_progress
from featx.data.archives import TarFiles
from featx.data.datasets import open_arrays
from featx.data.decoding import decode
from featx.data.download import Remote, fetch_all
from featx.data.sources import load_source, load_splits
from featx.errors import FeatxWarning, ImageError, SourceError

Draw = Callable[..., bytes]
END = bytes(1024)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


# Joined tars


@pytest.mark.parametrize("gap", [0, 512, 9 * 512])
def test_all_archives_of_a_joined_tar_are_read(tmp_path: Path, png: Draw, gap: int) -> None:
    parts = [tar_bytes([(f"{label}/{i}.png", png(i)) for i in range(3)]) for label in ("ape", "bee", "cat")]
    source = load_source(write(tmp_path / "x.tar", bytes(gap).join(parts)))
    assert source.classes == ("ape", "bee", "cat")
    assert list(source.ids) == [f"{label}/{i}.png" for label in ("ape", "bee", "cat") for i in range(3)]
    alone = load_source(write(tmp_path / "y.tar", tar_bytes([(name, png(int(name[4]))) for name in source.ids])))
    assert source.fingerprint() == alone.fingerprint()


@pytest.mark.parametrize("spoilt", [b"garbage" * 100, b"\0" * 600 + b"x"])
def test_what_follows_an_end_and_is_no_tar_is_refused(tmp_path: Path, png: Draw, spoilt: bytes) -> None:
    with pytest.raises(SourceError, match=r"what follows its end at byte .* is no other tar"):
        load_source(write(tmp_path / "x.tar", tar_bytes([("a/1.png", png(1))]) + spoilt))


def test_a_second_archive_that_was_cut_off_is_refused(tmp_path: Path, png: Draw) -> None:
    one, two = (tar_bytes([(f"{label}/{i}.png", png(i)) for i in range(3)]) for label in "ab")
    with pytest.raises(SourceError, match="not a readable tar"):
        load_source(write(tmp_path / "x.tar", one + two[:1600]))


@pytest.mark.usefixtures("settled")
def test_images_that_stand_in_an_archive_twice_are_said_each_time(tmp_path: Path, png: Draw) -> None:
    one, two = tar_bytes([("a/1.png", png(1)), ("b/1.png", png(3))]), tar_bytes([("a/1.png", png(2))])
    path = write(tmp_path / "x.tar", one + two)
    for _ in range(2):  # the second time the listing is remembered
        with pytest.warns(
            FeatxWarning, match=r"several images with the same name, of which the last is used: a/1\.png"
        ):
            load_source(path, memo=Memo(tmp_path)).row_hashes()
    assert TarFiles(path).read("a/1.png") == png(2)


# Links and holes


def test_a_hard_link_is_the_file_that_it_means(tmp_path: Path, png: Draw) -> None:
    members = [("./cat/1.png", png(1)), (hard_link("./dog/2.png", "./cat/1.png"), b""), ("cat/1.png", png(3))]
    members.append((hard_link("dog/3.png", "dog/2.png"), b""))
    files = TarFiles(write(tmp_path / "x.tar", tar_bytes(members)))
    # As it is when it is unpacked: the link keeps what it meant when it was made.
    assert [files.read(name) for name in ("cat/1.png", "dog/2.png", "dog/3.png")] == [png(3), png(1), png(1)]


@pytest.mark.parametrize("target", ["cat/9.png", "../outside.png", "dog/2.png"])
def test_a_hard_link_to_what_the_archive_does_not_hold_is_no_file(tmp_path: Path, png: Draw, target: str) -> None:
    (tmp_path / "outside.png").write_bytes(png(0))
    members = [("cat/1.png", png(1)), (hard_link("dog/2.png", target), b"")]
    with pytest.raises(ImageError, match="no ordinary file"):
        TarFiles(write(tmp_path / "x.tar", tar_bytes(members))).read("dog/2.png")


@pytest.mark.parametrize("sparse", [old_sparse, pax_sparse])
def test_a_sparse_member_is_read_with_its_holes(
    tmp_path: Path, png: Draw, sparse: Callable[[str, int, list[tuple[int, bytes]]], bytes]
) -> None:
    image = png(1)
    size = 20_000
    blocks = sparse("cat/1.png", size, [(0, image[:512]), (512, image[512:]), (8192, b"x" * 512), (size, b"")])
    path = write(tmp_path / "x.tar", tar_bytes([("cat/0.png", png(0))])[: 512 + 512 * -(-len(png(0)) // 512)] + blocks)
    with path.open("ab") as file:
        file.write(tar_bytes([("dog/2.png", png(2))]))
    expected = bytearray(size)
    expected[: len(image)] = image
    expected[8192:8704] = b"x" * 512
    files = TarFiles(path)
    assert files.names() == ["cat/0.png", "cat/1.png", "dog/2.png"]
    assert files.read("cat/1.png") == bytes(expected)
    assert files.read("dog/2.png") == png(2)


@pytest.mark.parametrize("pieces", [[(0, b"x" * 512), (256, b"y" * 512)], [(9000, b"x" * 2000)], [(1 << 32, b"x")]])
def test_pieces_that_overlap_or_lie_outside_are_refused(tmp_path: Path, pieces: list[tuple[int, bytes]]) -> None:
    path = write(tmp_path / "x.tar", old_sparse("a/1.png", 10_000, pieces) + END)
    with pytest.raises(ImageError, match="its pieces overlap or lie outside"):
        TarFiles(path).read("a/1.png")


def test_a_sparse_member_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar", old_sparse("a/1.png", 1 << 32, [(0, b"x")]) + END)
    with pytest.raises(ImageError, match="4,294,967,296 bytes, at most"):
        TarFiles(path).read("a/1.png")


# Names in zips


def test_names_in_utf8_without_the_flag_are_what_the_folder_says(tmp_path: Path, png: Draw) -> None:
    names = ["hünde/1.png", "hünde/größe 2.png", "猫/1.png", "plain/1.png"]
    path = zip_of(tmp_path / "x.zip", {name: png(i) for i, name in enumerate(names)}, without=0x800)
    source = load_source(path)
    assert source.classes == ("hünde", "plain", "猫")
    assert sorted(source.ids) == sorted(names)
    assert source[0][0].shape == (10, 12, 3)


def test_names_that_are_no_utf8_are_code_page_437(tmp_path: Path, png: Draw) -> None:
    path = zip_of(tmp_path / "x.zip", {"hXnde/1.png": png(0), "b/2.png": png(1)})
    path.write_bytes(path.read_bytes().replace(b"hXnde", b"h\x81nde"))
    assert load_source(path).classes == ("b", "hünde")


@pytest.mark.parametrize("right", [True, False])
def test_the_field_of_a_name_in_unicode_counts_where_it_is_of_this_name(tmp_path: Path, png: Draw, right: bool) -> None:
    told = "ł/1.png".encode()
    raw = b"\x88/1.png"  # ł in code page 852
    field = b"\x01" + struct.pack("<I", zlib.crc32(raw) ^ (not right)) + told
    extra = struct.pack("<HH", 0x7075, len(field)) + field
    path = zip_of(tmp_path / "x.zip", {"X/1.png": png(0), "b/1.png": png(1)}, extra={"X/1.png": extra})
    path.write_bytes(path.read_bytes().replace(b"X/1.png", raw))
    assert load_source(path).classes == (("b", "ł") if right else ("b", "ê"))


@pytest.mark.parametrize("system", [0, 3])
def test_backslashes_between_folders_are_slashes(tmp_path: Path, png: Draw, system: int) -> None:
    names = ["pets\\cat\\1.png", "pets\\cat\\2.png", "pets\\dog\\1.png", "pets\\dog\\"]
    files = {name: b"" if name.endswith("\\") else png(i) for i, name in enumerate(names)}
    source = load_source(zip_of(tmp_path / "x.zip", files, system=system))
    assert source.classes == ("cat", "dog")
    assert list(source.ids) == ["cat/1.png", "cat/2.png", "dog/1.png"]
    assert source[2][0].shape == (10, 12, 3)


def test_a_backslash_in_a_name_from_unix_stays(tmp_path: Path, png: Draw) -> None:
    source = load_source(zip_of(tmp_path / "x.zip", {"cat/a\\b.png": png(0), "c\\d/1.png": png(1)}))
    assert list(source.ids) == ["c\\d/1.png", "cat/a\\b.png"]


def test_the_dot_that_bsdtar_writes_before_all_names_is_no_folder(tmp_path: Path, png: Draw) -> None:
    files = {"./": b"", "./cat/": b"", "./cat/1.png": png(0), "./dog/1.png": png(1)}
    assert list(load_source(zip_of(tmp_path / "x.zip", files)).ids) == ["cat/1.png", "dog/1.png"]


def test_keys_of_archives_that_were_read_before_are_the_same(tmp_path: Path, png: Draw) -> None:
    """SHA-256 over the rows' hashes, computed before any of this."""
    files = {f"{label}/{i}.png": bytes([i]) * 50 for label in "ab" for i in range(3)}
    known = "bcf196ecc8552a98b2138098732e12d08965af2ac40f4f861a2116d64309e985"
    found = {
        load_source(zip_of(tmp_path / "x.zip", files)).fingerprint(),
        load_source(write(tmp_path / "x.tar", tar_bytes(list(files.items())))).fingerprint(),
    }
    assert found == {known}


# Names that are not plain


def packed(tmp_path: Path, kind: str, files: dict[str, bytes]) -> Path:
    path = tmp_path / f"x.{kind}"
    return zip_of(path, files) if kind == "zip" else write(path, tar_bytes(list(files.items())))


KINDS = pytest.mark.parametrize("kind", ["zip", "tar"])


@KINDS
@pytest.mark.parametrize(
    "odd", ["d/./test", "d//test", "./d/test", "/d/test", "//d/test/.", "d/x/../test", "d/train/../test", "x/../d/test"]
)
def test_a_split_whose_names_are_spelt_otherwise_is_a_split(tmp_path: Path, png: Draw, kind: str, odd: str) -> None:
    files = {f"{top}/{c}/0.png": png(i) for i, (top, c) in enumerate((t, c) for t in ("d/train", odd) for c in "ab")}
    splits = load_splits(packed(tmp_path, kind, files))
    assert {split: list(source.ids) for split, source in splits.items()} == {
        split: [f"{split}/{c}/0.png" for c in "ab"] for split in ("train", "test")
    }
    assert all(source.classes == ("a", "b") for source in splits.values())
    np.testing.assert_array_equal(splits["test"][1][0], decode(png(3), "3"))


@KINDS
def test_an_empty_part_of_a_name_is_no_class(tmp_path: Path, png: Draw, kind: str) -> None:
    source = load_source(packed(tmp_path, kind, {"d//train/a/0.png": png(0), "d/train//b/0.png": png(1)}))
    assert (source.classes, list(source.ids)) == (("a", "b"), ["train/a/0.png", "train/b/0.png"])


@KINDS
@pytest.mark.parametrize("up", ["../", "../../", "x/../../", "/../"])
def test_what_all_names_lead_out_to_is_the_top(tmp_path: Path, png: Draw, kind: str, up: str) -> None:
    files = {f"{up}d/{c}/{i}.png": png(i) for c in "ab" for i in range(2)}
    source = load_source(packed(tmp_path, kind, {f"{up}d/": b"", **files} if kind == "zip" else files))
    assert list(source.ids) == ["a/0.png", "a/1.png", "b/0.png", "b/1.png"]
    np.testing.assert_array_equal(source[1][0], decode(png(1), "1"))


@KINDS
@pytest.mark.parametrize("out", ["../d/test/a/0.png", "d/../../d/test/a/0.png", "d/train/a/../../../../0.png"])
def test_a_member_that_leads_out_of_where_others_lie_is_named(tmp_path: Path, png: Draw, kind: str, out: str) -> None:
    path = packed(tmp_path, kind, {"d/train/a/0.png": png(0), out: png(1), "d/train/b/0.png": png(2)})
    with pytest.raises(SourceError, match=r"holds \.\./(d/test/a/)?0\.png, which leads out") as caught:
        load_source(path)
    assert "without .. in names" in caught.value.hint


@KINDS
@pytest.mark.parametrize("top", [".", "a/..", "..", "x/../.."])
def test_a_file_that_is_called_like_the_top_is_named(tmp_path: Path, png: Draw, kind: str, top: str) -> None:
    with pytest.raises(SourceError, match=r"holds \.\.?, which leads out"):
        load_source(packed(tmp_path, kind, {"a/0.png": png(0), "b/0.png": png(1), top: png(2)}))


@KINDS
@pytest.mark.parametrize("name", ["1.png", "1"])
def test_two_spellings_of_one_name_are_said(tmp_path: Path, png: Draw, kind: str, name: str) -> None:
    files = {f"../a/{name}": png(1), "../b/1.png": png(2), f"../b/../a//{name}": png(3), "../b/x": b"", "../b//x": b""}
    with pytest.warns(FeatxWarning, match=rf"several images with the same name, of which the last is used: a/{name}$"):
        source = load_source(packed(tmp_path, kind, files))
    np.testing.assert_array_equal(source[0][0], decode(png(3), "3"))


def test_a_hard_link_is_followed_however_its_names_are_spelt(tmp_path: Path, png: Draw) -> None:
    members = [("../a/1.png", png(1)), (hard_link("../b/./2.png", "../x/../a//1.png"), b"")]
    assert TarFiles(write(tmp_path / "x.tar", tar_bytes(members))).read("b/2.png") == png(1)


# Data sets that were unpacked

FOLDER = "cifar-10-batches-bin"
BATCHES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]


def published(root: Path, rows: int) -> Path:
    """Lay out CIFAR-10 as it is unpacked, its files full of zeros that take no room."""
    folder = root / FOLDER
    folder.mkdir(parents=True)
    (folder / "batches.meta.txt").write_text("\n".join("abcdefghij"))
    for name in BATCHES:
        with (folder / name).open("wb") as file:
            file.truncate(rows * 3073)
    return folder


@pytest.mark.parametrize("cut", [["data_batch_3.bin"], BATCHES])
def test_an_unpacked_cifar10_that_was_cut_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: list[str]
) -> None:
    monkeypatch.setenv("FEATX_DATA", str(tmp_path))
    folder = published(tmp_path, 10_000)
    assert {split: len(source) for split, source in open_arrays("cifar10", None, no_progress).items()} == {
        "train": 50_000,
        "test": 10_000,
    }
    for name in cut:
        with (folder / name).open("r+b") as file:
            file.truncate(4_000 * 3073)
    train = 50_000 - 6_000 * len([name for name in cut if name != "test_batch.bin"])
    with pytest.raises(SourceError, match=f"incomplete: it has {train:,} train images of 50,000") as caught:
        load_source("cifar10")
    assert f"delete {FOLDER}" in caught.value.hint


def test_a_record_that_was_cut_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATX_DATA", str(tmp_path))
    with (published(tmp_path, 10_000) / "data_batch_2.bin").open("r+b") as file:
        file.truncate(5_000_000)
    with pytest.raises(SourceError, match=r"data_batch_2\.bin has 5,000,000 bytes, expected whole records of 3,073"):
        load_source("cifar10")


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """An archive of three files, checked and unpacked by featx."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name in ("set/a.bin", "set/deep/b.bin", "set/c.bin"):
            info = tarfile.TarInfo(name)
            info.size = 3000
            archive.addfile(info, io.BytesIO(name.encode() * 3000))
    (tmp_path / "set.tar.gz").write_bytes(out.getvalue())
    remote = Remote(("http://127.0.0.1:9/set.tar.gz",), hashlib.md5(out.getvalue()).hexdigest(), unpacked=("set",))
    for _ in range(2):
        fetch_all("toy", [remote], tmp_path, Memo(tmp_path))
    return remote


@pytest.mark.parametrize("name", ["a.bin", "deep/b.bin"])
@pytest.mark.parametrize("fault", ["cut", "changed", "gone"])
def test_what_changed_since_it_was_unpacked_is_refused_and_can_be_mended(
    tmp_path: Path, remote: Remote, name: str, fault: str
) -> None:
    path = tmp_path / "set" / name
    data = path.read_bytes()
    if fault == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:1200] if fault == "cut" else bytes(1) + data[1:])
    with pytest.raises(SourceError, match=f"toy in .* cannot be read: set/{name} .* since it was unpacked") as caught:
        fetch_all("toy", [remote], tmp_path)
    assert f"delete {tmp_path / 'set'}" in caught.value.hint
    shutil.rmtree(tmp_path / "set")
    fetch_all("toy", [remote], tmp_path)
    assert path.read_bytes() == data


def test_a_note_that_is_damaged_is_said(tmp_path: Path, remote: Remote) -> None:
    (tmp_path / "set.tar.gz.contents.json").write_text("[1]")
    with pytest.raises(SourceError, match=r"contents\.json is damaged") as caught:
        fetch_all("toy", [remote], tmp_path)
    assert caught.value.hint == "delete it"


def test_images_that_are_unchanged_have_the_hashes_that_they_had(tmp_path: Path, png: Draw) -> None:
    files = {f"a/{i}.png": png(i) for i in range(3)}
    wanted = np.frombuffer(b"".join(hashlib.sha256(data).digest() for data in files.values()), np.uint8).reshape(-1, 32)
    for path in (zip_of(tmp_path / "x.zip", files), write(tmp_path / "x.tar", tar_bytes(list(files.items())))):
        np.testing.assert_array_equal(load_source(path).row_hashes(), wanted)
