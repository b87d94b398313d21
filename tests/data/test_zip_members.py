"""Members read by their offset: what zipfile reads, and nothing that it refuses."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx.data.zip_members import check_readable, ends_of, plain_member

CONTENTS = {
    "cat/0.jpg": b"one" * 50,
    "cat/empty.jpg": b"",
    "dog/é/1.jpg": np.random.default_rng(0).bytes(300),
    "dog/" + "x" * 200 + ".jpg": bytes(5000),
}


def written(path: Path, method: int, *, extra: bytes = b"", streamed: bool = False) -> Path:
    """Write a zip; streamed, sizes stand behind each member."""
    target: Any = io.BytesIO()
    if streamed:
        target.seekable = lambda: False
    with zipfile.ZipFile(target, "w", method) as out:
        for name, content in CONTENTS.items():
            info = zipfile.ZipInfo(name)
            info.compress_type, info.extra = method, extra
            out.writestr(info, content)
    path.write_bytes(target.getvalue())
    return path


def plainly(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes | None:
    assert archive.fp is not None
    file = archive.fp.fileno()
    return plain_member(lambda size, at: os.pread(file, size, at), info, ends_of(archive)[info.header_offset])


def is_readable(info: zipfile.ZipInfo) -> bool:
    try:
        check_readable(info)
    except ValueError:
        return False
    return True


def by_zipfile(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes | None:
    try:
        with archive.open(info) as member:
            return member.read(info.file_size + 1)
    except Exception:  # as `ArchiveFiles.read` has it: zipfile passes on whatever it meets
        return None


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(
    "how", [{}, {"extra": b"\x99\x99\x04\0abcd"}, {"streamed": True}], ids=["", "extra", "streamed"]
)
def test_small_members_are_read_as_zipfile_reads_them(tmp_path: Path, method: int, how: dict[str, Any]) -> None:
    with zipfile.ZipFile(written(tmp_path / "x.zip", method, **how)) as archive:
        assert {info.filename: plainly(archive, info) for info in archive.infolist()} == CONTENTS


def test_more_may_stand_before_a_member_than_is_listed(tmp_path: Path) -> None:
    path = written(tmp_path / "x.zip", zipfile.ZIP_STORED, extra=b"\x99\x99\x60\0" + bytes(96))
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            info.extra = b""
            assert plainly(archive, info) == CONTENTS[info.filename]


def test_the_file_that_was_listed_is_read_whatever_its_path_leads_to(tmp_path: Path) -> None:
    path = written(tmp_path / "x.zip", zipfile.ZIP_STORED)
    with zipfile.ZipFile(path) as archive:
        (tmp_path / "y.zip").write_bytes(bytes(path.stat().st_size))
        os.replace(tmp_path / "y.zip", path)
        assert plainly(archive, archive.infolist()[0]) == CONTENTS["cat/0.jpg"]


def test_large_members_are_left_to_zipfile(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as out:
        out.writestr("a.jpg", bytes(1 << 20))
        out.writestr("b.jpg", bytes((1 << 20) + 1))
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert [plainly(archive, info) is None for info in archive.infolist()] == [False, True]


def test_members_that_overlap_are_left_to_zipfile(tmp_path: Path) -> None:
    """What becomes of them depends on Python's version."""
    with zipfile.ZipFile(written(tmp_path / "x.zip", zipfile.ZIP_STORED)) as archive:
        first, second, *others = archive.infolist()
        second.header_offset = first.header_offset
        assert [plainly(archive, first), plainly(archive, second)] == [None, None]
        second.header_offset += 40
        assert plainly(archive, first) is None
        assert [plainly(archive, info) for info in others] == [CONTENTS[info.filename] for info in others]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_no_damage_passes_that_zipfile_refuses(tmp_path: Path, method: int) -> None:
    whole = written(tmp_path / "x.zip", method).read_bytes()
    draw = np.random.default_rng(0)
    read = left = 0
    for at in draw.permutation(len(whole))[:1200].tolist():
        data = bytearray(whole)
        data[at] ^= int(draw.integers(1, 256))
        (tmp_path / "y.zip").write_bytes(data)
        try:
            archive = zipfile.ZipFile(tmp_path / "y.zip")
        except Exception:  # whatever its parser meets
            continue
        with archive:
            for info in filter(is_readable, archive.infolist()):
                if (found := plainly(archive, info)) is None:
                    left += 1
                else:
                    read += 1
                    assert found == by_zipfile(archive, info)
    assert read > 1000
    assert left > 100
