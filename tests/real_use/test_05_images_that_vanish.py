"""No file that somebody means as an image vanishes without a word."""

from __future__ import annotations

import importlib.util
import io
import json
import struct
import subprocess
import sys
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import featx
from PIL import Image, features

from featx.data.decoding import decode
from featx.data.sources import load_source, load_splits
from featx.errors import FeatxWarning, ImageError, SourceError

SMOOTH = np.asarray(Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)).resize((40, 32)))
LOSSLESS = {
    ".tga": ("TGA", {}),
    ".jp2": ("JPEG2000", {}),
    ".j2k": ("JPEG2000", {}),
    ".pnm": ("PPM", {}),
    ".dib": ("DIB", {}),
    ".ico": ("ICO", {"sizes": [(40, 32)]}),
    ".pcx": ("PCX", {}),
    ".sgi": ("SGI", {}),
    ".im": ("IM", {}),
    ".dds": ("DDS", {}),
    ".qoi": ("QOI", {}),
    ".cur": ("ICO", {"sizes": [(40, 32)]}),
    ".icns": ("ICNS", {}),
}
LOSSY = {".avif": ("AVIF", {"quality": 95}), ".mpo": ("MPO", {"quality": 98}), ".jfif": ("JPEG", {"quality": 98})}
HEIC_HEAD = struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"heic", 0, b"mif1", b"heic")
HAS_HEIF = importlib.util.find_spec("pillow_heif") is not None


def encoded(pixels: Any, kind: str, **how: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **how)
    return buffer.getvalue()


def put(root: Path, **files: bytes) -> Path:
    """Write files; two underlines in a name are a slash, one is a dot."""
    for name, data in files.items():
        path = root / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def png(seed: int) -> bytes:
    return encoded(np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8), "PNG")


@pytest.fixture
def no_heif(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where pillow-heif is not installed."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)


# What is read


@pytest.mark.parametrize("suffix", sorted(LOSSLESS))
def test_what_pillow_reads_is_a_row(tmp_path: Path, suffix: str) -> None:
    kind, how = LOSSLESS[suffix]
    square = np.asarray(Image.fromarray(SMOOTH).resize((32, 32)))
    pixels = square if suffix == ".icns" else SMOOTH
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / f"1{suffix}").write_bytes(encoded(pixels, kind, **how))
    source = load_source(tmp_path)
    assert list(source.ids) == [f"cat/1{suffix}"]
    found, label = source[0]
    assert label == 0
    if suffix == ".icns":  # its largest part is drawn larger
        assert found.shape[2] == 3
    else:
        np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize("suffix", sorted(LOSSY))
def test_lossy_kinds_are_rows(tmp_path: Path, suffix: str) -> None:
    kind, how = LOSSY[suffix]
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    put(tmp_path, cat__1_png=png(0))
    (tmp_path / "cat" / f"2{suffix}").write_bytes(encoded(SMOOTH, kind, **how))
    found = load_source(tmp_path)[1][0]
    assert np.abs(found.astype(int) - SMOOTH).max() <= 30


@pytest.mark.skipif(not HAS_HEIF, reason="needs pillow-heif")
def test_heic_is_read_upright_through_the_extra(tmp_path: Path) -> None:
    from pillow_heif import from_pillow

    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    from_pillow(Image.fromarray(SMOOTH)).save(buffer, quality=-1, chroma=444, exif=exif.tobytes())
    put(tmp_path, cat__1_heic=buffer.getvalue())
    found = load_source(tmp_path)[0][0]
    assert found.shape == (40, 32, 3)
    assert np.abs(found.astype(int) - np.rot90(SMOOTH, -1)).max() <= 4


def test_pillow_heif_is_loaded_for_heic_alone(tmp_path: Path) -> None:
    put(tmp_path, cat__1_png=png(0), cat__2_avif=png(1))
    code = (
        "import sys; from featx.data.sources import load_source; s = load_source('.'); s[0]; s[1]; "
        "print('pillow_heif' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("suffix", [".zip", ".tar", ""])
@pytest.mark.parametrize("name", ["1", "1.dat", "1.jpg_large", "1.JPG.1"])
def test_an_image_is_told_by_its_first_bytes_and_not_by_its_name(tmp_path: Path, name: str, suffix: str) -> None:
    files = {f"cat/{name}": encoded(SMOOTH, "PNG"), "dog/2.jpg": encoded(SMOOTH, "PNG"), "dog/a.dat": b"\1\2\3" * 99}
    place = tmp_path / f"x{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as out:
            for member, data in files.items():
                out.writestr(member, data)
    elif suffix == ".tar":
        with tarfile.open(place, "w") as archive:
            for member, data in files.items():
                info = tarfile.TarInfo(member)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    else:
        for member, data in files.items():
            (place / member).parent.mkdir(parents=True, exist_ok=True)
            (place / member).write_bytes(data)
    with pytest.warns(FeatxWarning, match=r"1 other file left out \(\.dat 1\)"):
        source = load_source(place)
    assert list(source.ids) == [f"cat/{name}", "dog/2.jpg"]
    for i in range(2):
        np.testing.assert_array_equal(source[i][0], SMOOTH)


@pytest.mark.parametrize("name", ["1.png~", "1.png.bak", "1.png_original", "1.png.part", "1.cr2", "1.thm"])
def test_copies_previews_and_unfinished_files_are_no_second_rows(tmp_path: Path, name: str) -> None:
    put(tmp_path, cat__1_png=png(0))
    (tmp_path / "cat" / name).write_bytes(encoded(SMOOTH, "TIFF"))
    with pytest.warns(FeatxWarning, match="1 other file left out"):
        assert list(load_source(tmp_path).ids) == ["cat/1.png"]


# What is left out


def test_other_files_are_counted_by_their_endings(tmp_path: Path, no_heif: None) -> None:
    more = {f"cat__{i}_heic": HEIC_HEAD for i in range(10)} | {f"cat__{i}_txt": b"text" for i in range(8)}
    put(tmp_path, cat__a_png=png(0), cat__Thumbs_db=b"x", _DS=b"", **more)
    (tmp_path / ".DS").rename(tmp_path / ".DS_Store")
    with pytest.warns(FeatxWarning) as caught:
        load_splits(tmp_path)
    (told,) = [str(w.message) for w in caught]
    assert "18 other files left out (.heic 10, .txt 8)" in told
    assert "pip install 'featx[heic]'" in told


def test_where_all_is_read_nothing_is_said(tmp_path: Path) -> None:
    put(tmp_path, cat__1_png=png(0), cat__2_PNG=png(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_source(tmp_path)) == 2


def test_the_command_counts_them_in_its_note_and_document(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    put(photos, cat__1_png=png(0), cat__2_png=png(1), cat__a_txt=b"a", dog__1_png=png(2), cat__b_dcm=b"b" * 200)
    command = ("extract", photos, "-b", "lenet5", "--weights", "random:0", "-l", "pool2:avg", "--json")
    done, quiet = featx(*command), featx(*command, "--quiet")
    assert done.exit_code == quiet.exit_code == 0
    assert "2 other files left out (.dcm 1, .txt 1)" in done.stderr
    assert quiet.stderr == ""
    for result in (done, quiet):
        assert json.loads(result.stdout)["left_out"] == {".dcm": 1, ".txt": 1}


@pytest.mark.parametrize("prefix", ["", "train/", "pets/", "pets/train/"])
@pytest.mark.parametrize("lost", [("a.jxl",), ("a.dcm", "b.txt"), ("notes.txt",)])
def test_a_class_folder_without_readable_images_is_named(tmp_path: Path, prefix: str, lost: tuple[str, ...]) -> None:
    for name in ("cat/1.png", "dog/1.png"):
        path = tmp_path / prefix / name
        path.parent.mkdir(parents=True)
        path.write_bytes(png(0))
    (tmp_path / prefix / "fox").mkdir()
    for name in lost:
        (tmp_path / prefix / "fox" / name).write_bytes(b"\xff\x0a" + bytes(200))
    with pytest.raises(SourceError, match=rf"class folder .*fox .*{lost[0].rpartition('.')[2]}") as caught:
        load_splits(tmp_path)
    assert caught.value.hint


def test_an_empty_class_folder_is_named_unless_another_split_fills_it(tmp_path: Path) -> None:
    put(tmp_path, train__cat__1_png=png(0), train__dog__1_png=png(1), test__cat__1_png=png(2))
    (tmp_path / "test" / "dog").mkdir()
    assert load_splits(tmp_path)["test"].classes == ("cat", "dog")
    (tmp_path / "train" / "fox").mkdir()
    with pytest.raises(SourceError, match=r"class folder .*fox \(empty\)"):
        load_splits(tmp_path)


def test_the_only_other_class_is_not_lost_to_the_wrapping(tmp_path: Path, no_heif: None) -> None:
    put(tmp_path, cat__deep__1_png=png(0), cat__deeper__1_png=png(1), dog__1_heic=HEIC_HEAD)
    with pytest.raises(SourceError, match=r"class folder .*dog .*\.heic 1") as caught:
        load_splits(tmp_path)
    assert "featx[heic]" in caught.value.hint


def test_a_folder_of_nothing_readable_says_what_it_holds(tmp_path: Path, no_heif: None) -> None:
    put(tmp_path, cat__1_heic=HEIC_HEAD, cat__2_heic=HEIC_HEAD, cat__3_txt=b"a")
    with pytest.raises(SourceError, match=r"holds no images \(3 other files: \.heic 2, \.txt 1\)") as caught:
        load_splits(tmp_path)
    assert "featx[heic]" in caught.value.hint


# Refusals


def tiff(bits: int, kind: int = 1) -> bytes:
    """A TIFF of so many bits a sample, little-endian, 4 x 4 grey pixels."""
    size = 4 * 4 * bits // 8
    values = [
        (256, 4),
        (257, 4),
        (258, bits),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, 4),
        (279, size),
        (339, kind),
    ]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values)
    return b"II*\0" + struct.pack("<I", 8 + size) + bytes(size) + struct.pack("<H", len(values)) + entries + bytes(4)


JPEG = encoded(SMOOTH, "JPEG")
SOF = JPEG.index(b"\xff\xc0")
REFUSED = {
    "a HEIC file": HEIC_HEAD + bytes(99),
    "a TIFF of 32 bits per sample": tiff(32, 3),
    "a TIFF of 64 bits per sample": tiff(64),
    "a JPEG-LS": JPEG[:SOF] + b"\xff\xf7" + JPEG[SOF + 2 :],
    "a lossless JPEG": JPEG[:SOF] + b"\xff\xc3" + JPEG[SOF + 2 :],
    "a JPEG of 12 bits per sample": JPEG[: SOF + 4] + b"\x0c" + JPEG[SOF + 5 :],
    "a JPEG XL": b"\xff\x0a" + bytes(99),
    "a DICOM file": bytes(128) + b"DICM" + bytes(99),
    "a PDF": b"%PDF-1.4\n%%EOF\n",
    "an SVG drawing": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "PostScript (EPS)": b"%!PS-Adobe-3.0 EPSF-3.0\nshowpage\n",
    "an HTML page": b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
    "plain text": b"I am no image\n",
    "a zip archive": b"PK\3\4" + bytes(99),
    "a video": struct.pack(">I4s4s", 16, b"ftyp", b"isom") + bytes(99),
    "an OpenEXR": b"v/1\1" + bytes(99),
    "a Photoshop file of 16 bits per channel": b"8BPS\0\1"
    + bytes(6)
    + struct.pack(">HIIHH", 3, 4, 4, 16, 3)
    + bytes(99),
    "a Windows metafile": b"\xd7\xcd\xc6\x9a\0\0" + bytes(99),
}


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_a_refusal_says_what_it_is_and_what_to_do(what: str, no_heif: None) -> None:
    with pytest.raises(ImageError, match=r"^image cat/7\.jpg ") as caught:
        decode(REFUSED[what], "cat/7.jpg")
    assert what in caught.value.message
    assert "\n" not in str(caught.value)
    assert "on_error='skip'" in caught.value.hint
    assert len(caught.value.hint) > len("or use on_error='skip'")


def test_postscript_is_never_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*args: object, **more: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr("subprocess.Popen", run)
    monkeypatch.setattr("os.system", run)
    for data in (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\xc5\xd0\xd3\xc6" + bytes(40)):
        for name in ("a.jpg", "a.eps", "a.tga"):
            with pytest.raises(ImageError, match="PostScript"):
                decode(data, name)


def test_formats_that_are_new_are_bounded_too() -> None:
    header = struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, 60_000, 60_000, 24, 0)
    with pytest.raises(ImageError, match="pixels"):
        decode(header + bytes(99), "bomb.tga")
    with pytest.raises(ImageError, match="pixels"):
        decode(b"qoif" + struct.pack(">IIBB", 60_000, 60_000, 3, 0) + bytes(99), "bomb.jpg")


@pytest.mark.parametrize("name", ["photo", "photo.dat"])
def test_predict_takes_an_image_by_its_bytes(tmp_path: Path, name: str) -> None:
    from featx.runs.predict import image_sources

    (tmp_path / name).write_bytes(png(0))
    (source,) = image_sources([str(tmp_path / name)])
    assert source[0][0].shape == (12, 12, 3)
