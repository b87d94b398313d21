"""What cannot be read is told by its own name and reason, never by another archive's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archives_by_hand import zip_of
from click.testing import CliRunner

from featx.cache.memo import Memo
from featx.cli.main import cli
from featx.data.files import FolderFiles
from featx.data.sources import load_source
from featx.errors import ImageError

Draw = Callable[..., bytes]


@pytest.fixture
def files(png: Draw) -> dict[str, bytes]:
    return {f"{label}/{i}.png": png(i) for label in ("cat", "dog") for i in range(3)}


def skipped(path: Path) -> list[dict[str, str]]:
    command = ["extract", str(path), "-b", "pixels", "-l", "pixels", "--on-error", "skip", "--json"]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 3, done.output
    found: list[dict[str, str]] = json.loads(done.stdout)["skipped"]
    return found


def spoil(path: Path, name: str, flags: int, method: int) -> Path:
    """Set the flags and the way of packing of one member."""
    data = bytearray(path.read_bytes())
    for at, skip in ((30, 6), (46, 8)):
        start = data.find(name.encode(), 0 if at == 30 else data.find(b"PK\x01\x02")) - at
        data[start + skip] |= flags
        data[start + skip + 2] = method
    path.write_bytes(data)
    return path


KINDS = {
    "it is encrypted (ZipCrypto)": (1, 0),
    "it is encrypted (AES)": (1, 99),
    "it is encrypted (strongly)": (0x41, 8),
    "it is packed by Deflate64, expected deflate or none": (0, 9),
    "it is packed by PPMd, expected deflate or none": (0, 98),
    "it is packed by XZ, expected deflate or none": (0, 95),
    "it is packed by Zstandard, expected deflate or none": (0, 93),
    "it is packed by bzip2, expected deflate or none": (0, 12),
    "it is packed by way 77, expected deflate or none": (0, 77),
}


def test_each_archives_failures_are_its_own(tmp_path: Path, files: dict[str, bytes]) -> None:
    for number, (reason, (flags, method)) in enumerate(KINDS.items()):
        path = spoil(zip_of(tmp_path / f"{number}.zip", files), "cat/1.png", flags, method)
        assert skipped(path) == [{"id": "cat/1.png", "reason": f"image cat/1.png cannot be read: {reason}"}]


@pytest.mark.parametrize(("reason", "how"), KINDS.items())
def test_a_refusal_names_archive_image_and_packing(
    tmp_path: Path, files: dict[str, bytes], reason: str, how: tuple[int, int]
) -> None:
    source = load_source(spoil(zip_of(tmp_path / "x.zip", files), "cat/1.png", *how))
    with pytest.raises(ImageError) as caught:
        source[1]
    assert caught.value.message == f"image cat/1.png in {tmp_path / 'x.zip'} cannot be read: {reason}"


def test_the_same_row_failing_under_another_name_is_told_by_its_name(tmp_path: Path, files: dict[str, bytes]) -> None:
    skipped(spoil(zip_of(tmp_path / "a.zip", files), "cat/1.png", 1, 0))
    others = {name.replace("cat/1", "cat/1b"): data for name, data in files.items()}
    assert "cat/1b.png" in skipped(spoil(zip_of(tmp_path / "b.zip", others), "cat/1b.png", 1, 0))[0]["reason"]


def test_equal_bytes_that_cannot_be_decoded_are_told_under_the_asking_sources_names(tmp_path: Path, png: Draw) -> None:
    for folder in ("i", "a", "other"):
        path = tmp_path / folder / "x"
        path.mkdir(parents=True)
        (path / f"{folder}1.png").write_bytes(png(1)[:80])
        (path / f"{folder}2.png").write_bytes(png(2))
        (path / f"{folder}3.png").write_bytes(png(1)[:80])
        found = skipped(tmp_path / folder)
        assert [entry["id"] for entry in found] == [f"x/{folder}1.png", f"x/{folder}3.png"]
        assert all(entry["reason"].startswith(f"image {entry['id']} ") for entry in found)
        assert all("cannot be decoded" in entry["reason"] for entry in found)


def test_a_copy_elsewhere_has_the_same_key_and_no_word_of_the_first(tmp_path: Path, files: dict[str, bytes]) -> None:
    first = spoil(zip_of(tmp_path / "first.zip", files), "cat/1.png", 1, 99)
    second = shutil.copy(first, tmp_path / "second.zip")
    assert load_source(first).fingerprint() == load_source(second).fingerprint()
    skipped(first)
    assert "first" not in skipped(second)[0]["reason"]


@pytest.mark.usefixtures("settled")
def test_unreadable_rows_have_hashes_of_their_own_and_are_not_remembered(tmp_path: Path, png: Draw) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).symlink_to(tmp_path / "away.png")
    (folder / "c.png").write_bytes(png(0))
    names = ["a.png", "b.png", "c.png"]
    hashes = FolderFiles(folder, Memo(tmp_path)).hashes(names)
    assert len(np.unique(hashes, axis=0)) == 3
    (folder / "a.png").unlink()
    (folder / "a.png").write_bytes(png(0))
    again = FolderFiles(folder, Memo(tmp_path)).hashes(names)
    assert again[0].tobytes() == again[2].tobytes() == hashes[2].tobytes()


def test_rows_that_cannot_be_read_do_not_count_as_shared_with_the_test_rows(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    both = {f"{split}/{name}": data + split.encode() for split in ("train", "test") for name, data in files.items()}
    path = zip_of(tmp_path / "x.zip", both)
    for split in ("train", "test"):
        spoil(path, f"{split}/cat/1.png", 1, 0)
    done = CliRunner().invoke(cli, ["fit", str(path), "--pixels", "--on-error", "skip"])
    assert done.exit_code == 3, done.output
    assert "also among the training rows" not in done.stderr


def test_a_damaged_row_of_an_hdf5_file_is_one_skipped_image(tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "x.h5"
    images: Any = np.random.default_rng(0).integers(0, 256, (6, 8, 8), np.uint8)
    with h5py.File(path, "w") as file:
        file.create_dataset("X", data=images, chunks=(1, 8, 8), compression="gzip", fletcher32=True)
        place = file["X"].id.get_chunk_info(2).byte_offset
    data = bytearray(path.read_bytes())
    data[place + 4] ^= 0xFF
    path.write_bytes(data)
    found = skipped(path)
    assert [entry["id"] for entry in found] == ["X/000002"]
    assert found[0]["reason"].startswith("image 2 cannot be read")


@pytest.mark.parametrize("command", [["extract", "-b", "pixels", "-l", "pixels"], ["fit", "--pixels"]])
@pytest.mark.parametrize("how", [[], ["--on-error", "skip"]])
def test_an_archive_of_which_nothing_can_be_read_says_why(
    tmp_path: Path, files: dict[str, bytes], command: list[str], how: list[str]
) -> None:
    path = zip_of(tmp_path / "x.zip", files, flags=1, method=99)
    done = CliRunner().invoke(cli, [command[0], str(path), *command[1:], *how])
    assert done.exit_code == 1
    assert "image cat/0.png " in done.stderr
    assert "cannot be read: it is encrypted (AES)" in done.stderr
