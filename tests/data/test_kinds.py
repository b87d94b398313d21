"""What a file is, its first bytes say, whatever it is called."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featx.data.kinds import AVIF, HEAD_BYTES, HEIC, HEIF, HTML, LFS, SVG, TEXT, TGA, XML, ZEROS, can_read, kind_of

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
MODES = {"XBM": "1", "MSP": "1", "GIF": "P"}
WRITTEN = (
    *("AVIF", "BMP", "DDS", "DIB", "GIF", "ICNS", "ICO", "JPEG", "JPEG2000", "MSP", "PCX"),
    *("PNG", "PPM", "QOI", "SGI", "TGA", "TIFF", "WEBP", "XBM"),
)


def written(format: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(PIXELS).convert(MODES.get(format, "RGB")).save(out, format)
    return out.getvalue()


def boxed(major: bytes, *compatible: bytes) -> bytes:
    brands = major + bytes(4) + b"".join(compatible)
    return struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands + b"\0\0\0\x08mdat" + bytes(40)


@pytest.mark.parametrize("format", WRITTEN)
def test_what_pillow_writes_is_known_by_its_format(format: str) -> None:
    data = written(format)
    name = "x.tga" if format == "TGA" else "x.jpg"
    for part in (data, data[:HEAD_BYTES]):
        kind = kind_of(part, name)
        assert kind is not None
        assert (kind.format, kind.is_image) == (format, True)
        assert can_read(kind)


def test_a_name_tells_a_tga_alone_and_only_where_the_bytes_leave_it_open() -> None:
    data = written("TGA")
    assert data[-18:-1] == b"TRUEVISION-XFILE."
    assert kind_of(data, "x.png") is TGA  # its last bytes say it
    assert kind_of(data[:-26], "x.TGA") is TGA
    assert kind_of(data[:-26], "x.png") is not TGA
    png = kind_of(written("PNG"), "x.tga")
    assert png is not None
    assert png.format == "PNG"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (boxed(b"avif"), AVIF),
        (boxed(b"heic"), HEIC),
        (boxed(b"mif1"), HEIF),
        (boxed(b"mif1", b"miaf", b"avif"), AVIF),  # the major brand is a general one
        (boxed(b"mif1", b"heic"), HEIC),
        (boxed(b"heix", b"mif1"), HEIC),
    ],
)
def test_boxes_are_told_by_their_brands(data: bytes, kind: Any) -> None:
    assert kind_of(data) is kind


@pytest.mark.parametrize("data", [boxed(b"isom", b"mp41"), boxed(b"qt  "), b"\xff\xff\xff\xffftypzzzz" + bytes(90)])
def test_other_boxes_are_videos(data: bytes) -> None:
    kind = kind_of(data, "cat.jpg")
    assert kind is not None
    assert (kind.what, kind.is_image) == ("a video (MP4, MOV)", False)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", None),
        (bytes(9000), ZEROS),
        (b"\xef\xbb\xbf \n<!DOCTYPE html><p>", HTML),
        (b"<?xml version='1.0'?>\n<svg width='3'/>", SVG),
        (b"<?xml version='1.0'?><cats/>", XML),
        (b"<meta><html>", HTML),
        ("Katzen, größer als Mäuse\n".encode(), TEXT),
        (b"version https://git-lfs.github.com/spec/v1\noid", LFS),
        (np.random.default_rng(1).bytes(5000), None),
        (b"text and then\0\0no more of it", None),
    ],
)
def test_text_and_nothing_are_told(data: bytes, kind: Any) -> None:
    assert kind_of(data) is kind


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\xff\xd8\xff\xf7" + bytes(20), "a JPEG-LS"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript (EPS)"),
        (b"PK\x03\x04" + bytes(30), "a zip archive"),
        (bytes(128) + b"DICM" + bytes(30), "a DICOM file"),
        (bytes(257) + b"ustar\x0000", "a tar archive"),
        (b"\x93NUMPY\x01\0", "a NumPy array"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    ],
)
def test_what_is_not_read_has_a_name_and_something_to_do(data: bytes, what: str) -> None:
    kind = kind_of(data, "x.png")
    assert kind is not None
    assert kind.what == what
    assert kind.hint
    assert not can_read(kind)
