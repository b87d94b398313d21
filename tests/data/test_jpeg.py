"""JPEGs that are decoded without opening them: the pixels that `Image.open` gives, and nothing that it would refuse."""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

import featx.data.decoding
from featx.data.decoding import decode
from featx.data.jpeg import MOST_PIXELS, plain_pixels
from featx.errors import ImageError

SAMPLINGS = ("4:4:4", "4:2:2", "4:2:0", "4:1:1")


def picture(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Soft shapes under noise: every coefficient is something, and chroma is."""
    draw = np.random.default_rng(seed)
    bands = len(Image.new(mode, (1, 1)).getbands())
    coarse = draw.integers(0, 256, (3, 4, bands), np.uint8)
    soft = [Image.fromarray(coarse[..., i]).resize((width, height)) for i in range(bands)]
    rough = np.stack([np.asarray(band) for band in soft], axis=2).astype(int) + draw.integers(
        -20, 20, (height, width, 1)
    )
    pixels = rough.clip(0, 255).astype(np.uint8)
    return Image.merge(mode, [Image.fromarray(pixels[..., i]) for i in range(bands)])


def jpeg(image: Image.Image, **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **how)
    return buffer.getvalue()


SMALL = jpeg(picture(13, 9), quality=60)
PROGRESSIVE = jpeg(picture(21, 17), quality=60, progressive=True, restart_marker_blocks=2)


def opened(data: bytes) -> np.ndarray[Any, Any] | None:
    """Decode the long way, by Pillow alone; None if it refuses or warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
                return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except Exception:  # as `decode` has it: Pillow raises whatever its parsers meet
            return None


def agree(data: bytes) -> bool:
    """Assert that a file decoded without opening it is what opening it gives; tell whether it was."""
    found = plain_pixels(data)
    if found is not None:
        np.testing.assert_array_equal(found, opened(data), strict=True)
    return found is not None


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (8, 8), (17, 16), (32, 32), (64, 64), (65, 33), (224, 224)])
@pytest.mark.parametrize("quality", [1, 30, 75, 95, 100])
def test_plain_files_have_the_pixels_that_opening_them_gives(
    sampling: str, size: tuple[int, int], quality: int
) -> None:
    for how in ({}, {"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 3}, {"comment": b"by hand"}):
        data = jpeg(picture(*size), quality=quality, subsampling=sampling, **how)
        assert agree(data) == (len(data) <= ImageFile.MAXBLOCK)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 80),
    st.integers(1, 80),
    st.integers(1, 100),
    st.sampled_from(SAMPLINGS),
    st.booleans(),
    st.booleans(),
)
def test_plain_files_agree_at_any_size_and_quality(
    width: int, height: int, quality: int, sampling: str, progressive: bool, grey: bool
) -> None:
    image = picture(width, height, "L" if grey else "RGB", quality)
    assert agree(jpeg(image, quality=quality, progressive=progressive, **({} if grey else {"subsampling": sampling})))


def exif(orientation: int) -> Image.Exif:
    about = Image.Exif()
    about[0x0112] = orientation
    return about


def with_segment(marker: int, content: bytes, data: bytes = SMALL) -> bytes:
    """Put a segment in front of all others but the start."""
    return data[:2] + bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content + data[2:]


def several() -> bytes:
    buffer = io.BytesIO()
    picture(8, 8).save(buffer, "MPO", save_all=True, append_images=[picture(8, 8, seed=1)])
    return buffer.getvalue()


TELLING = {
    **{f"orientation {i}": jpeg(picture(9, 5), exif=exif(i)) for i in range(1, 9)},
    "CMYK": jpeg(picture(16, 16, "CMYK")),
    "a colour profile": jpeg(picture(16, 16), icc_profile=b"profile"),
    "several pictures": several(),
    "XMP": jpeg(picture(8, 8), xmp=b'<x:xmpmeta tiff:Orientation="6"/>'),
    "red, green and blue": jpeg(picture(16, 16), keep_rgb=True),
    "Adobe's colours": with_segment(0xEE, b"Adobe\0\x64\0\0\0\0\0"),
    "a short JFIF": with_segment(0xE0, b"JFIF\0"),
    "bytes after its end": SMALL + b"\0",
    "a byte before a marker": SMALL[:2] + b"\xff" + SMALL[2:],
    "12 bits": SMALL.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
    "extended": SMALL.replace(b"\xff\xc0", b"\xff\xc1"),
    "two frames": SMALL.replace(
        b"\xff\xc0\0\x11", b"\xff\xc0\0\x11" + SMALL[SMALL.index(b"\xff\xc0") :][4:19] + b"\xff\xc0\0\x11"
    ),
    "no width": SMALL.replace(b"\xff\xc0\0\x11\x08\0\x09\0\x0d", b"\xff\xc0\0\x11\x08\0\x09\0\0"),
    "a table of 16 bits": with_segment(0xDB, bytes([0x10]) + bytes([1]) * 128),
    "half a table": with_segment(0xDB, bytes(33)),
    "nothing": b"",
    "its start and end": b"\xff\xd8\xff\xd9",
}


@pytest.mark.parametrize("what", TELLING)
def test_files_that_tell_more_are_opened(what: str) -> None:
    assert plain_pixels(TELLING[what]) is None


def test_large_and_long_files_are_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    assert plain_pixels(jpeg(Image.new("L", (MOST_PIXELS // 64, 64)))) is not None
    assert plain_pixels(jpeg(Image.new("L", (MOST_PIXELS // 64, 65)))) is None
    assert plain_pixels(with_segment(0xFE, bytes(ImageFile.MAXBLOCK - 4 - len(SMALL)))) is not None
    assert plain_pixels(with_segment(0xFE, bytes(ImageFile.MAXBLOCK - 3 - len(SMALL)))) is None
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 13 * 9 - 1)
    assert plain_pixels(SMALL) is None


@pytest.mark.parametrize("whole", [SMALL, PROGRESSIVE], ids=["baseline", "progressive"])
def test_a_file_cut_off_anywhere_is_refused_as_ever(whole: bytes) -> None:
    for length in range(len(whole)):
        for cut in (whole[:length], whole[:length] + b"\xff\xd9"):
            agree(cut)
        with pytest.raises(ImageError):
            decode(whole[:length], "x.jpg")


@pytest.mark.parametrize("whole", [SMALL, PROGRESSIVE], ids=["baseline", "progressive"])
def test_damage_is_decoded_or_refused_as_ever(whole: bytes) -> None:
    """Bytes replaced, left out and put in; what is accepted must be what opening the file gives."""
    draw = np.random.default_rng(0)
    accepted = 0
    for _ in range(3000):
        data = bytearray(whole)
        for at in draw.integers(2, len(data) - 2, draw.integers(1, 4)).tolist():
            what = draw.integers(0, 256, draw.integers(0, 3), np.uint8).tobytes()
            data[at : at + int(draw.integers(0, 3))] = what
        accepted += agree(bytes(data))
    assert 500 < accepted < 2900  # much of it damages pixels alone


def test_decode_says_what_it_said_of_files_that_are_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(1)
    damaged = [bytearray(SMALL) for _ in range(300)]
    for data in damaged:
        data[int(draw.integers(2, len(data)))] ^= int(draw.integers(1, 256))

    def outcomes() -> list[Any]:
        found: list[Any] = []
        for data in damaged:
            try:
                found.append(decode(bytes(data), "x.jpg").tolist())
            except ImageError as exc:
                found.append(str(exc))
        return found

    quick = outcomes()
    monkeypatch.setattr(featx.data.decoding, "plain_pixels", lambda data: None)
    assert quick == outcomes()
    assert {type(outcome) for outcome in quick} == {list, str}


def test_a_box_that_begins_as_a_jpeg_is_none() -> None:
    """A video by its fifth to eighth byte, whatever stands around them."""
    data = b"\xff\xd8\xff\xfeftyp" + bytes(0x6674 - 4) + SMALL[2:]
    assert agree(data)
    with pytest.raises(ImageError, match="video"):
        decode(data, "x.jpg")


@pytest.mark.parametrize("name", ["cifar10.zip", "tiny-imagenet-200.zip"])
def test_real_photographs_agree(name: str, shared_data: Path) -> None:
    if not (shared_data / name).exists():
        pytest.skip(f"NO REAL DATA: {name} is not in {shared_data}")
    with zipfile.ZipFile(shared_data / name) as archive:
        names = [name for name in archive.namelist() if name.lower().endswith((".jpg", ".jpeg"))]
        files = [archive.read(name) for name in names[:: len(names) // 500]]
    assert sum(map(agree, files)) > 0.95 * len(files)
