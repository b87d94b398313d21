"""Whatever an image is stored as, it comes out upright, RGB and eight bits deep."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from orientations import UPRIGHT
from PIL import Image, ImageCms

from featx.data.decoding import decode
from featx.errors import ImageError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (16, 24, 3), np.uint8)
SMOOTH = np.asarray(Image.fromarray(COLOUR[:3, :4]).resize((64, 48), Image.Resampling.BICUBIC))


def encoded(image: Any, kind: str, **how: Any) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **how)
    return buffer.getvalue()


def png(pixels: Any, colour_type: int, depth: int, interlaced: bool = False) -> bytes:
    """Write a PNG by hand: Pillow writes no 16-bit colour and no interlacing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    starts = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    passes = [pixels[y::dy, x::dx] for y, x, dy, dx in starts] if interlaced else [pixels]
    lines = b"".join(b"\0" + line.tobytes() for part in passes if part.size for line in part)
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], depth, colour_type, 0, 0, interlaced)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("orientation", sorted(UPRIGHT))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_orientation_in_every_kind_is_turned_once(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    how = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    found = decode(encoded(SMOOTH, kind, exif=exif, **how), "x")
    expected = UPRIGHT[orientation](SMOOTH)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= (5 if kind == "JPEG" else 0)


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)], ids=["L", "RGB", "LA", "RGBA"])
def test_sixteen_bit_png_keeps_the_upper_eight(colour_type: int, channels: int) -> None:
    deep = RNG.integers(0, 1 << 16, (5, 7, channels)).astype(np.uint16)
    found = decode(png(deep.astype(">u2"), colour_type, 16), "x")
    upper = (deep >> 8)[..., :3] if channels > 2 else np.repeat((deep >> 8)[..., :1], 3, axis=2)
    np.testing.assert_array_equal(found, upper)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("depth", [8, 16])
def test_tiff_of_either_byte_order(order: str, depth: int) -> None:
    image = RNG.integers(0, 1 << depth, (5, 7)).astype(f"{order}u{depth // 8}")
    tags = [(256, 7), (257, 5), (258, depth), (259, 1), (262, 1), (273, 8), (277, 1), (278, 5), (279, image.nbytes)]
    pixels = image.tobytes() + b"\0" * (image.nbytes % 2)
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in tags)
    directory = struct.pack(order + "H", len(tags)) + entries + bytes(4)
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(pixels))
    expected = (image.astype(np.uint16) >> (depth - 8)).astype(np.uint8)
    np.testing.assert_array_equal(decode(start + pixels + directory, "x"), np.stack([expected] * 3, 2))


def test_an_interlaced_png_is_the_plain_one() -> None:
    np.testing.assert_array_equal(decode(png(COLOUR, 2, 8, interlaced=True), "x"), COLOUR)


def test_a_progressive_jpeg_is_the_plain_one() -> None:
    plain = decode(encoded(SMOOTH, "JPEG", quality=90), "x")
    np.testing.assert_array_equal(decode(encoded(SMOOTH, "JPEG", quality=90, progressive=True), "x"), plain)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_counts(kind: str) -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (40, 200)]
    how = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **how)
    with Image.open(io.BytesIO(data)) as image:
        assert image.n_frames == 2  # type: ignore[attr-defined]
    np.testing.assert_array_equal(decode(data, "x"), 40)


def test_an_animated_png_with_a_still_of_its_own_gives_the_still() -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (40, 90, 200)]
    data = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=True)
    np.testing.assert_array_equal(decode(data, "x"), 40)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_colours_behind_transparency_are_those_that_are_stored(kind: str) -> None:
    image = np.dstack([COLOUR, np.full((16, 24), 0, np.uint8)])
    image[8:, :, 3] = 128
    how = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(image, "RGBA"), kind, **how), "x"), COLOUR)


def test_a_transparent_gif_shows_the_colour_of_its_palette() -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    palette = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90]], np.uint8)
    image.putpalette(palette.tobytes())
    found = decode(encoded(image, "GIF", transparency=1), "x")
    np.testing.assert_array_equal(found, palette[np.asarray(image)])


def test_adobes_inverted_cmyk_is_white_where_there_is_no_ink() -> None:
    """Photoshop stores 255 for no ink and says so in a marker; both ways of writing must give white."""
    no_ink = encoded(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG", quality=100)
    assert b"Adobe" in no_ink
    assert decode(no_ink, "x").min() >= 250
    ink = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100)
    np.testing.assert_allclose(decode(ink, "x")[4, 4], (255, 0, 0), atol=6)


@pytest.mark.parametrize(("mode", "atol"), [("YCbCr", 4), ("CMYK", 1), ("RGBX", 0)])
def test_tiff_in_other_colour_spaces_comes_back(mode: str, atol: int) -> None:
    found = decode(encoded(Image.fromarray(SMOOTH).convert(mode), "TIFF"), "x")
    assert np.abs(found.astype(int) - SMOOTH).max() <= atol


def test_lab_is_turned_into_srgb() -> None:
    def lab(lightness: float, a: int, b: int) -> Any:
        values = bytes([round(lightness * 2.55), a & 0xFF, b & 0xFF]) * 64
        return decode(encoded(Image.frombytes("LAB", (8, 8), values), "TIFF"), "x")[4, 4].astype(int)

    assert np.ptp(lab(50, 0, 0)) <= 6
    assert abs(lab(50, 0, 0)[1] - 119) <= 4  # CIE lightness 50 is sRGB 119
    red = lab(53, 80, 67)
    assert red[0] > 200
    assert max(red[1], red[2]) < 90


def test_colour_profiles_are_not_applied() -> None:
    other = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    for profile in (other, b"no profile at all"):
        np.testing.assert_array_equal(decode(encoded(COLOUR, "PNG", icc_profile=profile), "x"), COLOUR)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("lost", [3, 20, 200])
def test_a_jpeg_that_lacks_its_end_is_refused(lost: int, progressive: bool) -> None:
    data = encoded(COLOUR, "JPEG", quality=95, progressive=progressive)
    with pytest.raises(ImageError, match=r"truncated|Truncated"):
        decode(data[:-lost], "x")


def test_bytes_after_the_end_do_not_count() -> None:
    for kind in ("PNG", "BMP", "GIF"):
        np.testing.assert_array_equal(decode(encoded(SMOOTH, kind) + b"more", "x"), decode(encoded(SMOOTH, kind), "x"))
