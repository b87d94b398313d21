"""Bytes from a folder or an archive: read once, seen again when they change, never from outside."""

from __future__ import annotations

import hashlib
import os
import pickle
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featx.cache.memo import Memo
from featx.data.archives import ZipFiles
from featx.data.files import FolderFiles
from featx.errors import ImageError, SourceError

Make = Callable[[Memo | None], Any]


@pytest.fixture
def memo(tmp_path: Path) -> Memo:
    return Memo(tmp_path / "home")


@pytest.fixture(params=["folder", "zip"])
def make(request: pytest.FixtureRequest, pets: Path, pack: Callable[[Path], Path]) -> Make:
    """Open the same images as a folder, and as a zip archive."""
    if request.param == "folder":
        return lambda memo: FolderFiles(pets, memo)
    archive = pack(pets)
    return lambda memo: ZipFiles(archive, memo)


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the name of every file that is read from here on."""
    seen: list[str] = []
    for kind in (FolderFiles, ZipFiles):

        def read(self: Any, name: str, original: Any = kind.read) -> bytes:
            seen.append(name)
            return original(self, name)

        monkeypatch.setattr(kind, "read", read)
    return seen


def test_names_are_relative_and_sorted(make: Make) -> None:
    expected = [f"cat/{i}.png" for i in range(6)] + [f"dog/{i}.png" for i in range(4)]
    assert make(None).names() == expected


def test_hashes_are_those_of_the_content(make: Make, pets: Path) -> None:
    files = make(None)
    names = ["dog/3.png", "cat/0.png"]
    rows = files.hashes(names)
    assert [row.tobytes() for row in rows] == [hashlib.sha256((pets / n).read_bytes()).digest() for n in names]
    assert files.hashes([]).shape == (0, 32)


def test_many_files_hash_as_few_do(tmp_path: Path) -> None:
    for i in range(150):  # enough for threads
        (tmp_path / f"{i:03d}.bin").write_bytes(b"%d" % i)
    files = FolderFiles(tmp_path)
    expected = [hashlib.sha256(b"%d" % i).digest() for i in range(150)]
    assert [row.tobytes() for row in files.hashes(files.names())] == expected


@pytest.mark.usefixtures("settled")
def test_the_second_look_reads_nothing(make: Make, memo: Memo, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(memo)
    expected = first.hashes(first.names())
    reads = count_reads(monkeypatch)
    second = make(Memo(memo.folder.parent))
    assert (second.hashes(second.names()) == expected).all()
    assert reads == []


@pytest.mark.usefixtures("settled")
def test_the_second_look_does_not_even_open_the_archive(
    pets: Path, pack: Callable[[Path], Path], memo: Memo, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = pack(pets)
    first = ZipFiles(archive, memo)
    names, hashes = first.names(), first.hashes(first.names())
    monkeypatch.setattr(zipfile, "ZipFile", None)
    second = ZipFiles(archive, memo)
    assert second.names() == names
    assert (second.hashes(names) == hashes).all()


def test_without_a_memo_everything_is_read_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = count_reads(monkeypatch)
    for _ in range(2):
        files = make(None)
        files.hashes(files.names())
    assert len(reads) == 20


def test_a_file_that_has_just_been_written_is_not_remembered(
    make: Make, memo: Memo, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = count_reads(monkeypatch)
    for _ in range(2):
        files = make(memo)
        files.hashes(files.names())
    assert len(reads) == 20


@pytest.mark.usefixtures("settled")
def test_only_what_is_new_is_read(pets: Path, memo: Memo, png: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    files = FolderFiles(pets, memo)
    files.hashes(files.names())
    (pets / "cat/new.png").write_bytes(png(99))
    reads = count_reads(monkeypatch)
    files.hashes(files.names())
    assert reads == ["cat/new.png"]


@pytest.mark.usefixtures("settled")
def test_a_changed_byte_is_seen_though_size_and_mtime_are_put_back(
    pets: Path, memo: Memo, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = FolderFiles(pets, memo)
    before = files.hashes(files.names())
    path = pets / "cat/3.png"
    status = path.stat()
    time.sleep(0.05)  # one tick of the file system's clock
    with path.open("r+b") as file:
        file.seek(60)
        byte = file.read(1)[0]
        file.seek(60)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after_status = path.stat()
    assert (after_status.st_size, after_status.st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    reads = count_reads(monkeypatch)
    after = files.hashes(files.names())
    assert reads == ["cat/3.png"]
    assert (before != after).any(axis=1).tolist() == [name == "cat/3.png" for name in files.names()]


@pytest.mark.usefixtures("settled")
def test_an_archive_made_again_is_read_again(pets: Path, pack: Callable[[Path], Path], memo: Memo, png: Any) -> None:
    first = ZipFiles(pack(pets), memo)
    before = first.hashes(first.names())
    (pets / "cat/3.png").write_bytes(png(77))
    second = ZipFiles(pack(pets), memo)
    assert (before != second.hashes(second.names())).any(axis=1).sum() == 1


def test_two_folders_with_the_same_names_are_not_confused(tmp_path: Path, fill: Any, memo: Memo, settled: None) -> None:
    one = FolderFiles(fill(tmp_path / "one", ["a.png"]), memo)
    two = FolderFiles(fill(tmp_path / "two", ["b.png", "a.png"]), memo)
    assert (one.hashes(["a.png"]) != two.hashes(["a.png"])).any()


@pytest.mark.usefixtures("settled")
def test_a_file_that_could_not_be_read_is_tried_again(pets: Path, memo: Memo, monkeypatch: pytest.MonkeyPatch) -> None:
    # A network drive that hiccups leaves the file's times as they are.
    expected = FolderFiles(pets).hashes(["cat/0.png"])
    with monkeypatch.context() as broken:
        broken.setattr(os, "read", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        files = FolderFiles(pets, memo)
        assert (files.hashes(["cat/0.png"]) != expected).any()
        with pytest.raises(ImageError, match=r"cat/0\.png cannot be read: Input/output error"):
            files.read("cat/0.png")
    assert (FolderFiles(pets, memo).hashes(["cat/0.png"]) == expected).all()


def test_a_missing_file_is_named(make: Make) -> None:
    with pytest.raises(ImageError, match=r"cow/1\.png"):
        make(None).read("cow/1.png")


@pytest.mark.parametrize("kind", ["file", "chain"])
def test_a_link_out_of_the_folder_is_refused(pets: Path, tmp_path: Path, png: Any, kind: str) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(5))
    (pets / "cat/out.png").symlink_to(secret)
    (pets / "cat/chain.png").symlink_to("out.png")
    name = "cat/out.png" if kind == "file" else "cat/chain.png"
    files = FolderFiles(pets)
    with pytest.raises(ImageError, match="is a link that leads out of"):
        files.read(name)
    assert files.hashes([name])[0].tobytes() != hashlib.sha256(secret.read_bytes()).digest()


def test_a_link_inside_the_folder_is_followed(pets: Path) -> None:
    (pets / "cat/again.png").symlink_to("../dog/0.png")
    assert FolderFiles(pets).read("cat/again.png") == (pets / "dog/0.png").read_bytes()


@pytest.mark.parametrize("target", ["nowhere.png", "loop.png"])
def test_a_link_to_nothing_or_to_itself_is_a_bad_image(pets: Path, target: str) -> None:
    (pets / "cat/loop.png").symlink_to(target)
    files = FolderFiles(pets)
    assert files.hashes(files.names()).shape == (11, 32)
    with pytest.raises(ImageError, match=r"cat/loop\.png cannot be read"):
        files.read("cat/loop.png")


def test_a_class_folder_linked_from_outside_is_refused_and_not_left_out(pets: Path, tmp_path: Path) -> None:
    (tmp_path / "cow").mkdir()
    (pets / "cow").symlink_to(tmp_path / "cow")
    with pytest.raises(SourceError, match="cow is a link that leads out of"):
        FolderFiles(pets).names()


def test_a_folder_linked_inside_is_followed_under_the_links_name(pets: Path, tmp_path: Path) -> None:
    (pets / "wolf").symlink_to("dog")
    files = FolderFiles(pets)
    assert [name for name in files.names() if name.startswith("wolf/")] == [f"wolf/{i}.png" for i in range(4)]
    assert files.read("wolf/1.png") == (pets / "dog/1.png").read_bytes()
    assert (files.hashes(["wolf/1.png"]) == files.hashes(["dog/1.png"])).all()


def test_a_folder_that_is_linked_elsewhere_later_is_read_no_more(pets: Path, tmp_path: Path, png: Any) -> None:
    (pets / "wolf").symlink_to("dog")
    names = FolderFiles(pets).names()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/1.png").write_bytes(png(5))
    (pets / "wolf").unlink()
    (pets / "wolf").symlink_to(tmp_path / "secret")
    assert "wolf/1.png" in names
    with pytest.raises(ImageError, match="behind a link that leads out of"):
        FolderFiles(pets).read("wolf/1.png")


@pytest.mark.parametrize(
    "links",
    [
        {"cat/self": "."},
        {"cat/up": ".."},
        {"cat/over": "../dog", "dog/back": "../cat"},
        {"cat/in": "../dog/deep/er", "dog/deep/er/out": "../.."},
    ],
    ids=",".join,
)
def test_a_loop_of_links_is_named_and_ends(pets: Path, links: dict[str, str]) -> None:
    (pets / "dog/deep/er").mkdir(parents=True)
    for link, target in links.items():
        (pets / link).symlink_to(target)
    with pytest.raises(SourceError, match="contains a link to itself"):
        FolderFiles(pets).names()


def test_names_with_leading_dots_count_and_litter_does_not(pets: Path, png: Any) -> None:
    for name in (".NET/1.png", "cat/.hidden.png", "dog/.git/x.png", ".DS_Store", "__MACOSX/cat/._1.png", "cat/._1.png"):
        (pets / name).parent.mkdir(parents=True, exist_ok=True)
        (pets / name).write_bytes(png(1))
    names = FolderFiles(pets).names()
    assert [name for name in names if "/." in f"/{name}"] == [".NET/1.png", "cat/.hidden.png"]
    assert not any("MACOSX" in name for name in names)


@pytest.mark.usefixtures("settled")
def test_deleted_files_are_forgotten(pets: Path, memo: Memo) -> None:
    files = FolderFiles(pets, memo)
    files.hashes(files.names())
    (remembered,) = memo.folder.iterdir()
    before = remembered.stat().st_size
    for i in range(5):
        (pets / f"cat/{i}.png").unlink()
    again = FolderFiles(pets, memo)
    again.hashes(again.names())
    assert remembered.stat().st_size == before - 5 * 72


@pytest.mark.usefixtures("settled")
def test_a_look_at_a_part_forgets_nothing(pets: Path, memo: Memo, monkeypatch: pytest.MonkeyPatch) -> None:
    files = FolderFiles(pets, memo)
    expected = files.hashes(files.names())
    part = FolderFiles(pets, memo)
    part.hashes(part.names()[:2])
    reads = count_reads(monkeypatch)
    last = FolderFiles(pets, memo)
    assert (last.hashes(last.names()) == expected).all()
    assert reads == []


def test_a_folder_reached_through_a_link_is_fine(pets: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(pets)
    assert FolderFiles(tmp_path / "alias").names() == FolderFiles(pets).names()


def test_a_pipe_is_refused_and_never_waited_for(pets: Path) -> None:
    os.mkfifo(pets / "cat/pipe.png")
    with pytest.raises(ImageError, match="no ordinary file"):
        FolderFiles(pets).read("cat/pipe.png")


def test_a_giant_file_is_refused_unread(pets: Path) -> None:
    with (pets / "cat/giant.png").open("wb") as file:
        file.truncate(1 << 30)  # sparse
    with pytest.raises(ImageError, match="1,073,741,824 bytes"):
        FolderFiles(pets).read("cat/giant.png")


# Archives


@pytest.mark.parametrize("content", [b"", b"this is text", b"PK\x03\x04 and no more"], ids=["empty", "text", "cut"])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"x\.zip is not a readable zip"):
        ZipFiles(path).names()


def test_a_truncated_archive_is_refused(pets: Path, pack: Callable[[Path], Path]) -> None:
    archive = pack(pets)
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(SourceError, match="not a readable zip"):
        ZipFiles(archive).names()


def test_a_damaged_member_is_named_and_the_others_stay_readable(pets: Path, pack: Callable[[Path], Path]) -> None:
    archive = pack(pets)
    with zipfile.ZipFile(archive) as opened:
        at = opened.getinfo("cat/2.png").header_offset
    data = bytearray(archive.read_bytes())
    data[at + 60 : at + 90] = bytes(30)
    archive.write_bytes(data)
    files = ZipFiles(archive)
    assert len(files.hashes(files.names())) == 10
    with pytest.raises(ImageError, match=r"image cat/2\.png in .* cannot be read"):
        files.read("cat/2.png")
    assert files.read("cat/3.png") == (pets / "cat/3.png").read_bytes()


def test_a_member_that_unpacks_beyond_bounds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.data.files.MAX_FILE_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("cat/1.png", bytes(1001))
        out.writestr("cat/2.png", bytes(1000))
    files = ZipFiles(tmp_path / "x.zip")
    with pytest.raises(ImageError, match="1,001 bytes"):
        files.read("cat/1.png")
    assert len(files.read("cat/2.png")) == 1000


def test_files_can_be_sent_to_another_process(make: Make, memo: Memo) -> None:
    files = make(memo)
    expected = files.hashes(files.names())
    again = pickle.loads(pickle.dumps(files))
    assert again.names() == files.names()
    assert (again.hashes(again.names()) == expected).all()
    assert again.read("cat/1.png") == files.read("cat/1.png")
