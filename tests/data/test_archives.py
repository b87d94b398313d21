"""Archives from strangers: names lead nowhere, links are not followed, damage is never a shorter listing."""

from __future__ import annotations

import hashlib
import io
import os
import posixpath
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featx.cache.memo import Memo
from featx.data.archives import ArchiveFiles, TarFiles, ZipFiles
from featx.data.sources import load_source
from featx.errors import FeatxError, ImageError, OptionError, SourceError


def make_tar(path: Path, members: Sequence[tuple[str, bytes]], **about: Any) -> Path:
    with tarfile.open(path, "w", **about) as out:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return path


def make_zip(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        for name, content in members:
            out.writestr(zipfile.ZipInfo(name), content)
    return path


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_all_formats_of_tar_are_read(tmp_path: Path, form: int) -> None:
    members = [("./cat/1.png", b"one"), ("dog/" + "x" * 90 + ".png", b"2" * 1000), ("cat/0.png", b"")]
    files = TarFiles(make_tar(tmp_path / "x.tar", members, format=form))
    assert files.names() == ["cat/0.png", "cat/1.png", "dog/" + "x" * 90 + ".png"]
    assert [files.read(name) for name in files.names()] == [b"", b"one", b"2" * 1000]


def test_of_members_with_one_name_the_last_counts(tmp_path: Path) -> None:
    assert TarFiles(make_tar(tmp_path / "x.tar", [("a.png", b"1"), ("./a.png", b"2")])).read("a.png") == b"2"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_listed_and_never_followed(tmp_path: Path, kind: bytes) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    with tarfile.open(tmp_path / "x.tar", "w") as out:
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = kind, str(tmp_path / "secret.png")
        out.addfile(info)
    files = TarFiles(tmp_path / "x.tar")
    assert files.names() == ["a.png"]
    with pytest.raises(ImageError, match="no ordinary file"):
        files.read("a.png")


@pytest.mark.parametrize("cut", [1, 512, 700, 1024, 1536, 1600, 2048])
def test_an_archive_that_was_cut_off_is_refused(tmp_path: Path, cut: int) -> None:
    path = make_tar(tmp_path / "x.tar", [(f"{i}.png", b"x" * 100) for i in range(3)])
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(SourceError, match=r"x\.tar is not a readable tar"):
        TarFiles(path).names()


def test_a_damaged_header_in_the_middle_is_refused(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "x.tar", [(f"{i}.png", b"x" * 100) for i in range(3)])
    data = bytearray(path.read_bytes())
    data[1024:1030] = b"spoilt"
    path.write_bytes(data)
    with pytest.raises(SourceError, match="damaged or cut off"):
        TarFiles(path).names()


def test_a_negative_size_ends_and_is_refused(tmp_path: Path) -> None:
    """CVE-2025-8194: Python's reader would go in a circle for ever."""
    path = make_tar(tmp_path / "x.tar", [("0.png", b"x" * 100), ("1.png", b"x" * 100)])
    data = bytearray(path.read_bytes())
    header = data[1024:1536]
    header[124:136] = b"\xff" * 10 + (-1024 & 0xFFFF).to_bytes(2, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    data[1024:1536] = header
    path.write_bytes(data)
    with pytest.raises(SourceError, match="not a readable tar"):
        TarFiles(path).names()


@pytest.mark.usefixtures("settled")
def test_an_archive_that_changes_is_refused_and_not_skipped(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "x.tar", [("a.png", b"1")])
    files = TarFiles(path, Memo(tmp_path))
    files.hashes(files.names())
    make_tar(path, [("0.png", b"0"), ("a.png", b"2")])
    with pytest.raises(SourceError, match="changed while") as caught:
        files.read("a.png")
    assert not isinstance(caught.value, ImageError)
    assert TarFiles(path, Memo(tmp_path)).names() == ["0.png", "a.png"]


@pytest.mark.parametrize("name", ["x.tar.gz", "x.tgz", "x.tar.xz"])
def test_a_compressed_tar_is_answered_with_how_to_unpack_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(OptionError, match=r"expected an uncompressed \.tar"):
        load_source(tmp_path / name)


def test_a_compressed_tar_of_another_name_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w:gz"):
        pass
    with pytest.raises(SourceError, match="uncompressed"):
        load_source(tmp_path / "x.tar")


def snapshot(folder: str) -> list[str]:
    return sorted(os.path.join(at, name) for at, below, files in os.walk(folder) for name in below + files)


NAMES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
    st.lists(st.sampled_from(["..", "/", "a", "\n", "\x1b[2J", "C:\\", "é", "."]), max_size=8).map("/".join),
    st.integers(1, 400).map(lambda n: "d/" * n),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(NAMES.map(lambda n: n + ".png"), st.binary(max_size=20)),
        max_size=5,
        unique_by=lambda m: m[0].split("\0")[0],
    ),
    st.booleans(),
)
def test_hostile_names_are_rows_or_refusals_and_never_paths(members: list[tuple[str, bytes]], tar: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "inner", "x.tar" if tar else "x.zip")
        path.parent.mkdir()
        (make_tar if tar else make_zip)(path, members)
        before = snapshot(folder)
        files: ArchiveFiles = (TarFiles if tar else ZipFiles)(path)
        # A NUL ends a name in both formats; names are made plain, whoever comes last counts.
        plain = [posixpath.normpath(name.lstrip("/")) for name, _ in members]
        above = "../" * min((name.split("/").count("..") for name in plain), default=0)
        wanted = {name.removeprefix(above): content for name, (_, content) in zip(plain, members, strict=True)}
        try:
            assert len(files.hashes(files.names())) == len(files.names())
            found = {name: files.read(name) for name in files.names()}
            assert set(found.values()) <= set(wanted.values())
            assert found == wanted or any("\0" in name for name in wanted)
            source = load_source(path)
            # Folders that wrap everything are no part of an id.
            assert all(row in found or any(name.endswith(f"/{row}") for name in found) for row in source.ids)
            for i in range(len(source)):
                with pytest.raises(ImageError):
                    source[i]
        except FeatxError:
            pass
        assert snapshot(folder) == before


@settings(max_examples=150, deadline=None)
@given(st.data(), st.booleans())
def test_damage_gives_right_rows_or_a_refusal(data: st.DataObject, tar: bool) -> None:
    members = [(f"c/{i}.png", bytes([i]) * 30) for i in range(3)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x")
        content = bytearray((make_tar if tar else make_zip)(path, members).read_bytes()[:4096])
        for _ in range(data.draw(st.integers(1, 8))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        try:
            files: ArchiveFiles = (TarFiles if tar else ZipFiles)(path)
            for name in files.names():
                content = files.read(name)
                assert len(content) <= 1 << 16
                assert files.hashes([name])[0].tobytes() == hashlib.sha256(content).digest()
                assert tar or content in dict(members).values()  # a zip knows its contents' checksums
        except FeatxError:
            pass
