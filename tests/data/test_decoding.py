"""Pixels as torchvision would have them, from whatever a file holds."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from orientations import UPRIGHT
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv
from torchvision.transforms._presets import ImageClassification

from featx.core.hashing import digest_of
from featx.core.specs import PreprocessSpec, Views
from featx.data.decoding import MAX_PIXELS, decode, is_image_name, prepare, prepare_views
from featx.errors import ImageError, OptionError


def noise(height: int, width: int, *channels: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, *channels), np.uint8)


def encoded(image: Image.Image, kind: str, **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


# prepare

SIZES = [(224, 224), (32, 32), (33, 47), (47, 33), (480, 641), (641, 480), (300, 20), (20, 300), (1, 1), (7, 5)]
SPECS = [(256, 224), (232, 224), (64, 64), (33, 31), (31, 33), (8, 20), (40, 1)]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("resize", "crop"), SPECS)
def test_prepare_gives_torchvisions_own_bytes(resize: int, crop: int, interpolation: str) -> None:
    for height, width in SIZES:
        image = noise(height, width, 3)
        picture = tv.resize(Image.fromarray(image), [resize], InterpolationMode(interpolation), antialias=True)
        expected = np.asarray(tv.center_crop(picture, [crop]))
        actual = prepare(image, PreprocessSpec(resize, crop, interpolation=interpolation), "x")
        np.testing.assert_array_equal(actual, expected, err_msg=f"{height} x {width}")


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 90), st.integers(1, 90), st.booleans())
def test_prepare_agrees_with_torchvision_at_any_size(
    height: int, width: int, resize: int, crop: int, cubic: bool
) -> None:
    image = noise(height, width, 3)
    mode = "bicubic" if cubic else "bilinear"
    picture = tv.resize(Image.fromarray(image), [resize], InterpolationMode(mode), antialias=True)
    actual = prepare(image, PreprocessSpec(resize, crop, interpolation=mode), "x")
    np.testing.assert_array_equal(actual, np.asarray(tv.center_crop(picture, [crop])))


def test_prepared_and_normalised_it_is_the_preset_itself() -> None:
    image = noise(97, 61, 3)
    spec = PreprocessSpec(40, 32)
    preset = ImageClassification(crop_size=32, resize_size=40, mean=spec.mean, std=spec.std)
    scaled = torch.from_numpy(prepare(image, spec, "x").copy()).permute(2, 0, 1).to(torch.float32) / 255
    actual = (scaled - torch.tensor(spec.mean)[:, None, None]) / torch.tensor(spec.std)[:, None, None]
    assert torch.equal(actual, preset(Image.fromarray(image)))


def test_without_sizes_the_image_stays_as_it_is() -> None:
    image = noise(5, 9, 3)
    np.testing.assert_array_equal(prepare(image, PreprocessSpec(None, None), "x"), image)


FIVE = {"mean": (0.0,) * 5, "std": (1.0,) * 5}
READY = {
    "its size": (32, 32, 3, PreprocessSpec(32, 32)),
    "no size": (5, 9, 3, PreprocessSpec(None, None)),
    "nothing to cut": (32, 32, 3, PreprocessSpec(None, 32)),
    "not square": (40, 32, 3, PreprocessSpec(32, None)),
    "grey": (32, 32, 1, PreprocessSpec(32, 32, 1, mean=(0.0,), std=(1.0,))),
    "five channels": (32, 32, 5, PreprocessSpec(32, 32, 5, **FIVE)),
    "squashed": (32, 32, 3, PreprocessSpec(36, 32, fit="squash")),
    "padded": (32, 32, 3, PreprocessSpec(36, 32, fit="pad")),
}
OTHER = {
    "larger": (33, 33, 3, PreprocessSpec(32, 32)),
    "a margin": (32, 32, 3, PreprocessSpec(36, 32)),
    "a side": (32, 33, 3, PreprocessSpec(32, 32)),
    "a margin to cut": (36, 36, 3, PreprocessSpec(36, 32)),
    "another scale": (32, 32, 3, PreprocessSpec(32, 32, views=Views(scales=(1.25,)))),
    "two scales": (32, 32, 3, PreprocessSpec(32, 32, views=Views(scales=(1, 1.25)))),
    "five crops": (32, 32, 3, PreprocessSpec(36, 32, views=Views(5))),
    "grey to colour": (32, 32, 1, PreprocessSpec(32, 32)),
}


@pytest.mark.parametrize("case", [*READY, *OTHER])
def test_an_image_that_is_as_wanted_is_passed_on(case: str) -> None:
    """And has the values that resizing and cropping would give it."""
    height, width, channels, spec = {**READY, **OTHER}[case]
    image = noise(height, width, channels)
    found = list(prepare_views(image, spec, "x"))
    assert [np.shares_memory(view, image) for view in found] == [case in READY] * len(found)
    if case in READY:
        alone = [Image.fromarray(image[..., c]) for c in range(channels)]
        size = (width, height) if spec.crop is None else (spec.crop, spec.crop)
        expected = np.stack([np.asarray(one.resize(size, Image.Resampling.BILINEAR)) for one in alone], axis=2)
        np.testing.assert_array_equal(found[0], expected, strict=True)


def test_grey_is_made_from_colour_and_colour_from_grey() -> None:
    grey_spec = PreprocessSpec(None, None, 1, mean=(0.0,), std=(1.0,))
    colour, grey = noise(6, 4, 3), noise(6, 4, 1)
    expected = np.asarray(Image.fromarray(colour).convert("L"))[..., None]
    np.testing.assert_array_equal(prepare(colour, grey_spec, "x"), expected)
    np.testing.assert_array_equal(prepare(grey, grey_spec, "x"), grey)
    np.testing.assert_array_equal(prepare(grey, PreprocessSpec(None, None), "x"), np.repeat(grey, 3, axis=2))


def test_a_grey_image_is_cropped_to_one_channel() -> None:
    spec = PreprocessSpec(12, 10, 1, mean=(0.0,), std=(1.0,))
    assert prepare(noise(8, 8, 1), spec, "x").shape == (10, 10, 1)
    assert prepare(noise(8, 8, 1), replace(spec, crop=None), "x").shape == (12, 12, 1)


def test_a_sliver_is_refused_before_it_grows_out_of_memory() -> None:
    with pytest.raises(ImageError, match=r"image sliver\.png: 1 x 20000 pixels become 256 x 5120000"):
        prepare(noise(20_000, 1, 3), PreprocessSpec(256, 224), "sliver.png")


def test_prepare_leaves_its_argument_alone() -> None:
    image = noise(20, 20, 3)
    before = image.copy()
    prepare(image, PreprocessSpec(10, 8), "x")
    np.testing.assert_array_equal(image, before)


# decode


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_colour_comes_back_exactly(kind: str) -> None:
    image = noise(11, 7, 3)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(image), kind), "x"), image)


@pytest.mark.parametrize("kind", ["JPEG", "GIF", "WEBP"])
def test_lossy_kinds_are_decoded(kind: str) -> None:
    pixels = decode(encoded(Image.fromarray(noise(11, 7, 3)), kind), "x")
    assert (pixels.shape, pixels.dtype) == ((11, 7, 3), np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_grey_comes_back_as_three_equal_channels(kind: str) -> None:
    image = noise(11, 7)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(image), kind), "x"), np.stack([image] * 3, 2))


def test_bilevel_is_black_and_white() -> None:
    image = noise(9, 9) > 127
    pixels = decode(encoded(Image.fromarray(image), "PNG"), "x")
    np.testing.assert_array_equal(pixels, np.stack([image * np.uint8(255)] * 3, 2))


def test_alpha_is_dropped_and_colours_kept() -> None:
    image = noise(9, 9, 4)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(image, "RGBA"), "PNG"), "x"), image[..., :3])


def test_grey_with_alpha_is_decoded() -> None:
    image = noise(9, 9, 2)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(image, "LA"), "PNG"), "x")[..., 1], image[..., 0])


@pytest.mark.parametrize("transparency", [None, 3, bytes(range(0, 250, 10))], ids=["none", "one", "table"])
@pytest.mark.filterwarnings("error::UserWarning")
def test_a_palette_is_looked_up(transparency: Any) -> None:
    palette = noise(1, 256, 3)[0]
    indices = noise(6, 6, seed=1)
    image = Image.fromarray(indices, "P")
    image.putpalette(palette.tobytes())
    how = {} if transparency is None else {"transparency": transparency}
    np.testing.assert_array_equal(decode(encoded(image, "PNG", **how), "x"), palette[indices])


def test_cmyk_becomes_the_rgb_that_pillow_makes_of_it() -> None:
    data = encoded(Image.fromarray(noise(8, 8, 4), "CMYK"), "JPEG", quality=100)
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "CMYK"
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(decode(data, "x"), expected)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_and_not_clipped(kind: str) -> None:
    deep = np.array([[0, 255, 256, 0x1234], [0x7FFF, 0x8000, 0xFF00, 0xFFFF]], np.uint16)
    pixels = decode(encoded(Image.fromarray(deep), kind), "x")
    np.testing.assert_array_equal(pixels[..., 0], [[0, 0, 1, 0x12], [0x7F, 0x80, 0xFF, 0xFF]])


def test_floating_point_pixels_are_refused_and_not_clipped() -> None:
    data = encoded(Image.fromarray(np.full((4, 4), 0.5, np.float32)), "TIFF")
    with pytest.raises(ImageError, match=r"image a\.tif .*floating-point"):
        decode(data, "a.tif")


@pytest.mark.parametrize("orientation", sorted(UPRIGHT))
def test_exif_orientations_are_turned_upright(orientation: int) -> None:
    stored = noise(6, 9, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(stored), "PNG", exif=exif)
    np.testing.assert_array_equal(decode(data, "x"), UPRIGHT[orientation](stored))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\x01"]
)
def test_damaged_exif_does_not_cost_the_image(exif: bytes) -> None:
    assert decode(encoded(Image.fromarray(noise(6, 9, 3)), "JPEG", exif=exif), "x").shape == (6, 9, 3)


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.fromarray(np.full((4, 4, 3), value, np.uint8)) for value in (0, 255)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert not decode(data, "x").any()


BROKEN = {
    "empty": b"",
    "text": b"this is no image, whatever its name says\n" * 9,
    "html": b"<!DOCTYPE html><html><body>404</body></html>",
    "zeros": bytes(4096),
    "signature": b"\x89PNG\r\n\x1a\n",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n",
    "pdf": b"%PDF-1.4\n%%EOF\n",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"/>',
}


@pytest.mark.parametrize("what", sorted(BROKEN))
def test_what_is_no_image_is_refused_by_name_in_one_line(what: str) -> None:
    with pytest.raises(ImageError, match=r"^image cats/7\.jpg ") as caught:
        decode(BROKEN[what], "cats/7.jpg")
    assert "\n" not in str(caught.value)
    assert "0x" not in str(caught.value), "an object's address helps nobody"
    assert caught.value.hint


def test_an_empty_file_is_called_empty() -> None:
    with pytest.raises(ImageError, match="is empty"):
        decode(b"", "x")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "PPM"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_image_is_refused_and_never_half_grey(kind: str, share: float) -> None:
    data = encoded(Image.fromarray(noise(64, 64, 3)), kind)
    with pytest.raises(ImageError, match="image half"):
        decode(data[: int(share * len(data))], "half")


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "BMP", "PPM"]),
    st.integers(0, 10**6),
    st.binary(min_size=1, max_size=8),
)
@pytest.mark.filterwarnings("ignore")
def test_damage_gives_an_image_or_an_image_error_and_nothing_else(kind: str, at: int, junk: bytes) -> None:
    data = bytearray(encoded(Image.fromarray(noise(16, 16, 3)), kind))
    at %= len(data)
    data[at : at + len(junk)] = junk
    try:
        pixels = decode(bytes(data), "x")
    except ImageError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3


def bomb(width: int, height: int) -> bytes:
    """A few bytes of PNG that promise an image of any size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_460, 13_000, 13_400, 60_000, 2**31 - 1])
def test_a_decompression_bomb_is_refused_before_it_goes_off(side: int) -> None:
    assert side * side > MAX_PIXELS
    with pytest.raises(ImageError, match=r"image bomb\.png.*pixels"):
        decode(bomb(side, side), "bomb.png")


# names


@pytest.mark.parametrize(
    "name", ["a.jpg", "a.JPEG", "A.JPG", "x/y/z.png", "x y/ü.TiFF", "a.b.webp", "a.gif", "a.bmp", "a.pgm", "a.jpe"]
)
def test_image_names(name: str) -> None:
    assert is_image_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "a.txt",
        "jpg",
        "a.jpg.txt",
        "a.jpg/",
        "Thumbs.db",
        "a.npz",
        "a.eps",
        "a.svg",
        "a.pdf",
        "__MACOSX/cats/._1.jpg",
        "x/__MACOSX/1.jpg",
        "cats/._1.jpg",
        ".ipynb_checkpoints/1-checkpoint.png",
    ],
)
def test_names_that_are_no_images(name: str) -> None:
    assert not is_image_name(name)


def framed(width: int, height: int) -> np.ndarray[Any, Any]:
    """A red image with a green left half."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = 255
    image[:, : width // 2] = (0, 255, 0)
    return image


def test_squash_keeps_all_of_the_image_whatever_its_shape() -> None:
    seen = prepare(framed(80, 20), PreprocessSpec(40, 32, fit="squash"), "x")
    assert seen.shape == (32, 32, 3)
    assert (seen[:, :14] == (0, 255, 0)).all()
    assert (seen[:, 18:] == (255, 0, 0)).all()


@pytest.mark.parametrize(("width", "height"), [(80, 20), (20, 80), (7, 3), (64, 64), (1, 500)])
def test_pad_keeps_all_of_the_image_and_its_shape(width: int, height: int) -> None:
    seen = prepare(np.full((height, width, 3), 255, np.uint8), PreprocessSpec(40, 32, fit="pad"), "x")
    assert seen.shape == (32, 32, 3)
    white = (seen == 255).all(axis=2)
    rows, columns = np.flatnonzero(white.any(1)), np.flatnonzero(white.any(0))
    longer = max(width, height)
    assert (len(rows), len(columns)) == (max(1, round(32 * height / longer)), max(1, round(32 * width / longer)))
    assert white[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert white.sum() == len(rows) * len(columns)
    for places in (rows, columns):  # in the middle, to a pixel
        assert abs(places[0] - (31 - places[-1])) <= 1


def test_none_leaves_the_size_alone() -> None:
    image = framed(9, 5)
    assert np.array_equal(prepare(image, PreprocessSpec(None, None, fit="none"), "x"), image)
    with pytest.raises(OptionError, match="size was given"):
        PreprocessSpec(32, 32, fit="none")


def test_every_way_to_fit_has_its_own_key() -> None:
    specs = [PreprocessSpec(32, 32, fit=fit) for fit in ("crop", "squash", "pad")]
    assert len({digest_of(asdict(spec)) for spec in specs}) == 3
