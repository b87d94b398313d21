"""Strangers' files and texts: an error of featx's own or right rows, whatever the bytes say."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import tarfile
import tempfile
import tracemalloc
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from featx.data.archives import TarFiles, ZipFiles
from featx.data.decoding import decode
from featx.data.sources import load_source, load_splits
from featx.errors import FeatxError, ImageError, OptionError, SourceError
from featx.extraction.inputs import as_source

GREY = np.random.default_rng(0).integers(0, 256, (4, 3, 5), np.uint8)


def encoded(pixels: Any, kind: str = "PNG", **how: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **how)
    return buffer.getvalue()


def small_zip(path: Path, data: bytes, method: int = zipfile.ZIP_DEFLATED, name: str = "a/0.png") -> bytearray:
    with zipfile.ZipFile(path, "w", method) as out:
        out.writestr(name, data)
    return bytearray(path.read_bytes())


def refused(path: Path, match: str) -> None:
    with pytest.raises(SourceError, match=match) as caught:
        load_splits(path)
    assert str(caught.value).isprintable()


# What a source may be called

PLAIN = (
    "/",
    "..",
    ".",
    "digits",
    "a",
    ".zip",
    ".npz",
    ".tgz",
    "x" * 300,
    "é",
    " ",
    "*",
    "{}",
    "://",
    ":",
    "%s",
    "C:\\",
)
NASTY = ("~", "~nobody-of-that-name", "~\0", "~\ud800", "\n", "\x1b[2J", "\0", "\udcff", "\u202e")
PARTS = st.sampled_from(PLAIN + NASTY)
SPECS = st.one_of(st.text(max_size=40), *(st.lists(PARTS, max_size=6).map(joint.join) for joint in ("", "/")))


@settings(max_examples=300, deadline=None)
@given(SPECS, st.sampled_from([load_source, load_splits]))
def test_any_text_is_a_source_or_an_error_that_can_be_printed(spec: str, load: Callable[[str], Any]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        inner = Path(folder, *"abcdefgh")  # as many as there are parts: no "../.." leads to the machine's own files
        inner.mkdir(parents=True)
        patch.chdir(inner)
        patch.setenv("HOME", str(inner))
        caught = None
        try:
            load(spec.lstrip("/"))
        except FeatxError as exc:
            caught = exc
        assert caught is None or (str(caught).isprintable() and caught.hint)


@pytest.mark.parametrize("spec", ["~nobody-of-that-name/x.png", "~\0/x", "a\0/b", "\ud800/x", "x" * 300 + "/y"])
def test_names_that_no_file_can_have(spec: str) -> None:
    with pytest.raises(OptionError, match=r"neither built in nor|no file or folder"):
        load_source(spec)
    with pytest.raises(ImageError):
        as_source([spec])[0]


def test_errors_spell_out_what_would_paint_the_terminal(tmp_path: Path) -> None:
    for name in ("a\x1b[2Jb", "a\nerror: b", "a\u202eb"):
        (tmp_path / name).mkdir()
        refused(tmp_path / name, "holds no images")


# Listings of archives


def make(path: Path, names: list[str], data: bytes) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as out:
            for name in names:
                out.writestr(zipfile.ZipInfo(name), data)
    else:
        with tarfile.open(path, "w") as out:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                out.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "names",
    [
        ["a/x.png", "A/x.png", "a/X.png"],
        [unicodedata.normalize(form, "ä/ü.png") for form in ("NFC", "NFD")],
        ["..\\a.png", "C:\\b.png", "C:/c.png", "//host/d.png", "/etc/f.png"],
        ["a/" * 10_000 + "x.png", "b/x.png"],
        ["a/1.png", "a/1.png/2.png"],
        ["con.png", "aux/nul.png", " .png", "a/ .png"],
        ["a/\u202egnp.exe.png", "a/\x1b[2J.png", "a/\n.png"],
    ],
    ids=["case", "normal forms", "ways out", "deep", "file and folder", "devices", "control characters"],
)
def test_names_are_rows_and_nothing_is_written(tmp_path: Path, names: list[str], suffix: str) -> None:
    (tmp_path / "in").mkdir()
    data = encoded(GREY[0])
    source = load_source(make(tmp_path / "in" / f"x{suffix}", names, data))
    assert len(source) >= len(set(names))  # ".." is no class
    for i in range(len(source)):
        np.testing.assert_array_equal(source[i][0][..., 0], GREY[0])
    assert [p.name for p in tmp_path.rglob("*")] == ["in", f"x{suffix}"]


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_twenty_thousand_members_are_listed(tmp_path: Path, suffix: str) -> None:
    names = [f"{i % 9}/{i}.png" for i in range(20_000)]
    files = (TarFiles if suffix == ".tar" else ZipFiles)(make(tmp_path / f"x{suffix}", names, b""))
    assert files.names() == sorted(names)


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_two_members_of_one_name_one_is_a_row(tmp_path: Path, suffix: str) -> None:
    assert list(load_source(make(tmp_path / f"x{suffix}", ["a/1.png"] * 3, encoded(GREY[0]))).ids) == ["a/1.png"]


# Zip members that lie about their size


def test_a_member_that_unpacks_to_more_than_it_says_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    data = small_zip(path, bytes(64 << 20))
    at = data.rfind(b"PK\1\2")
    struct.pack_into("<I", data, at + 24, 100)
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match="CRC"):
            ZipFiles(path).read("a/0.png")
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packings_without_a_bound_are_refused(tmp_path: Path, method: int) -> None:
    small_zip(tmp_path / "x.zip", encoded(GREY[0]), method)
    with pytest.raises(ImageError, match=r"packed by (bzip2|LZMA), expected deflate"):
        load_source(tmp_path / "x.zip")[0]
    buffer = io.BytesIO()
    np.save(buffer, GREY)
    small_zip(tmp_path / "x.npz", buffer.getvalue(), method, "X.npy")
    refused(tmp_path / "x.npz", "expected deflate")


def test_an_encrypted_member_is_a_bad_image(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    data = small_zip(path, encoded(GREY[0]))
    for at in (6, data.rfind(b"PK\1\2") + 8):
        data[at] |= 1
    path.write_bytes(data)
    with pytest.raises(ImageError, match="encrypted"):
        load_source(path)[0]


# Arrays


def npz(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        for name, data in members.items():
            out.writestr(f"{name}.npy", data)
    return path


def npy(array: Any, **header: str) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    data = bytearray(buffer.getvalue())
    if header:
        fields = {"descr": f"'{array.dtype.str}'", "fortran_order": "False", "shape": str(array.shape), **header}
        text = "{" + ", ".join(f"'{k}': {v}" for k, v in fields.items()) + "}"
        data[10:128] = text.encode().ljust(117) + b"\n"
    return bytes(data)


@pytest.mark.parametrize("shape", ["(1000000000000, 0, 5)", "(4, 0, 5)", "(4, 3, 0)", "(1000000000000000, 0, 0, 3)"])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_images_without_pixels_are_refused_however_many(tmp_path: Path, shape: str, suffix: str) -> None:
    data = npy(GREY[:0], shape=shape)
    path = tmp_path / f"x{suffix}"
    path.write_bytes(data) if suffix == ".npy" else npz(path, X=data)
    refused(path, "expected uint8" if suffix == ".npy" else "expected uint8|too big|allocate")


@pytest.mark.parametrize("shape", ["(2, 3, 5)", "(4, 3, 4)", "(0, 3, 5)"])
def test_a_shape_that_leaves_bytes_over_is_refused(tmp_path: Path, shape: str) -> None:
    (tmp_path / "x.npy").write_bytes(npy(GREY, shape=shape))
    refused(tmp_path / "x.npy", "expected rows of shape")
    refused(npz(tmp_path / "x.npz", X=npy(GREY, shape=shape)), "longer than its header says")


def test_a_flipped_bit_in_an_npz_is_refused_wherever_it_is(tmp_path: Path) -> None:
    path = npz(tmp_path / "x.npz", X=npy(GREY))
    data = path.read_bytes()
    start = data.index(b"\x93NUMPY")
    for at in range(start, start + 128 + GREY.nbytes):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        refused(path, "not a readable|longer|holds the arrays|expected uint8")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("classes", npy(np.array("p"))),
        ("classes", npy(np.zeros((2, 2), int))),
        ("classes", npy(np.array(["pq"]), shape="(1,)")[:-1] + b"\xff"),
        ("ids", npy(np.array(3))),
        ("ids", npy(np.arange(4) / 2)),
        ("y", npy(np.array([0, 1, 0, 2**63], np.uint64))),
        ("y", b"no array"),
    ],
    ids=["one class", "table", "no characters", "one id", "numbers", "64 bits", "text"],
)
def test_odd_labels_classes_and_ids_are_refused(tmp_path: Path, name: str, value: bytes) -> None:
    refused(npz(tmp_path / "x.npz", X=npy(GREY), **{name: value}), "expected|not a readable|does not fit")


def test_other_members_of_an_npz_are_no_arrays(tmp_path: Path) -> None:
    path = npz(tmp_path / "x.npz", X=npy(GREY))
    with zipfile.ZipFile(path, "a") as out:
        out.writestr("y", b"raw bytes")
    assert load_source(path).labels.tolist() == [-1] * 4


def test_hdf5_rows_that_were_never_written_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("X", (1000, 9000, 9000), np.uint8, chunks=(1, 90, 90))
    refused(tmp_path / "x.h5", "claims shape")


# Images


def test_a_damaged_png_is_refused_even_where_it_can_be_decoded() -> None:
    smooth = np.asarray(Image.fromarray(np.tile(GREY[..., None], 3)[0]).resize((60, 60)))
    data = encoded(smooth)
    start = data.index(b"IDAT") + 4
    for at in range(start, len(data) - 16, max(1, len(data) // 200)):
        with pytest.raises(ImageError):
            decode(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :], "x")
    with pytest.raises(ImageError, match="truncated"):
        decode(data[:-12], "x")


@pytest.mark.parametrize(("value", "says"), [(-1, "between -1 and"), (65536, "and 65536"), (2**31 - 1, "2147483647")])
def test_pixels_of_more_than_16_bits_are_refused_and_not_clipped(value: int, says: str) -> None:
    with pytest.raises(ImageError, match=says):
        decode(encoded(np.array([[0, value]], np.int32), "TIFF"), "x")


def test_what_pillow_remarks_is_no_noise_on_the_command_line(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    damaged = encoded(GREY[0], "TIFF", exif=exif)
    (tmp_path / "in" / "a").mkdir(parents=True)
    (tmp_path / "in" / "a" / "1.tif").write_bytes(damaged[:-9] + b"\xff\xff" + damaged[-7:])
    (tmp_path / "in" / "a" / "2.jpg").write_bytes(encoded(GREY[0], "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"))
    head = struct.pack(">IIBBBBB", 9_500, 9_500, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    (tmp_path / "in" / "a" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + encoded(GREY[0])[33:])
    (tmp_path / "in" / "a" / "4.png").write_bytes(encoded(GREY[0]))
    command = ["-m", "featx.cli.main", "extract", "in", "-b", "lenet5", "--weights", "random:0", "-l", "pool2:avg"]
    command += ["--on-error", "skip", "--json", "--quiet"]
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert done.stderr == ""
