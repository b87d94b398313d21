"""Bytes to pixels, and pixels to a network's input size; Pillow and numpy only."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from featx.errors import ImageError
from featx.litter import is_litter
from featx.specs import PreprocessSpec

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
"""File names that count as images, whatever their case."""

# Named, because Pillow would otherwise also hand strangers' bytes to parsers such as EPS's Ghostscript.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
MAX_PIXELS = 89_478_485
"""Largest image that is decoded, in pixels: Pillow's own bound for decompression bombs."""

_INTERPOLATIONS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def is_image_name(name: str) -> bool:
    """Tell whether a relative name looks like an image's, leaving out what programs leave behind; see `is_litter`."""
    return name.lower().endswith(SUFFIXES) and not any(map(is_litter, name.split("/")))


def decode(data: bytes, name: str) -> Pixels:
    """Decode one encoded image.

    Parameters
    ----------
    data : bytes
        The file's content.
    name : str
        What to call it in an error.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        RGB, turned upright by its EXIF orientation. Of an animation the first frame, of 16 bits the upper 8; colours
        behind transparency as they are stored, colour profiles are not applied.

    Raises
    ------
    ImageError
        Naming the image and what is wrong with it.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ImageError(
                    f"image {name}: {width} x {height} pixels, at most {MAX_PIXELS:,} are decoded",
                    "shrink or remove it, or use --on-error skip",
                )
            if image.format == "PNG":  # decoding it leaves the checksums of its pixels unseen
                Image.open(io.BytesIO(data), formats=["PNG"]).verify()
            return np.asarray(_to_rgb(ImageOps.exif_transpose(image)))
    except (ImageError, MemoryError):  # an image that finds no memory is none to skip
        raise
    # Pillow's decoders raise whatever their parsers meet (OSError, SyntaxError, ...): each is a bad image.
    except Exception as exc:
        what = "is empty" if not data else f"cannot be decoded: {_one_line(exc)}"
        raise ImageError(f"image {name} {what}", "mend or remove it, or use --on-error skip") from exc


def _one_line(exc: Exception) -> str:
    if "cannot identify image file" in str(exc):
        return "it is in no known image format"
    return " ".join(str(exc).split())[:200] or type(exc).__name__


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel: `convert` would clip at 255 instead of scaling
        deep = np.asarray(image)
        low, high = deep.min(), deep.max()
        if low < 0 or high > 0xFFFF:
            raise ValueError(f"its pixels lie between {low} and {high}, expected 8 or 16 bits")
        return Image.fromarray((deep >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":  # `convert` would clip at 0 and 255, whatever the values mean
        raise ValueError("its pixels are floating-point numbers, expected 8 or 16 bits")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def rgb_of(image: Image.Image) -> Pixels:
    """Return a PIL image that a caller holds as `decode` returns a file's, upright RGB; ValueError for none."""
    pixels: Pixels = np.asarray(_to_rgb(ImageOps.exif_transpose(image)))
    return pixels


def prepare(image: Pixels, spec: PreprocessSpec, name: str) -> Pixels:
    """Resize and crop one image, and return its first view: the centre, at the first scale; see `prepare_views`."""
    return next(prepare_views(image, spec, name))


def prepare_views(image: Pixels, spec: PreprocessSpec, name: str) -> Iterator[Pixels]:
    """Resize and crop one image: by default as torchvision's ``ImageClassification`` preset does with a PIL image.

    Mirror images are left to the device: turning a tensor over costs less there.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, C)
        C of 1 or 3; other counts as the spec has them.
    spec : PreprocessSpec
        Sizes, interpolation and channels; mean and std are applied later, a batch at a time.
    name : str
        What to call it in an error.

    Yields
    ------
    ndarray of uint8, shape (crop, crop, spec.channels)
        Or (H, W, spec.channels) where the spec leaves the size alone. At each scale the centre, then the corners: top
        left, top right, bottom left, bottom right, where they are asked for.

    Raises
    ------
    ImageError
        Where the longer side would grow beyond what is decoded.
    """
    if spec.channels not in (1, 3):  # Pillow knows no such images: each channel is one, and alike to it
        alone = (_views(Image.fromarray(image[..., c]), spec, name) for c in range(image.shape[2]))
        yield from (np.concatenate(channels, axis=2) for channels in zip(*alone, strict=True))
        return
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    wanted = "L" if spec.channels == 1 else "RGB"
    yield from _views(picture if picture.mode == wanted else picture.convert(wanted), spec, name)


def _views(picture: Image.Image, spec: PreprocessSpec, name: str) -> Iterator[Pixels]:
    for scale in spec.views.scales:
        at = spec.at_scale(scale)
        resized = _resize(picture, at, name)
        for cut in [resized] if at.crop is None else _crops(resized, at.crop, at.views.crops):
            pixels = np.asarray(cut)
            yield pixels[..., None] if pixels.ndim == 2 else pixels


def view_sizes(spec: PreprocessSpec, size: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the height and width of each view that `prepare_views` gives; `size` where the spec sets none."""
    sides = [spec.at_scale(scale).crop for scale in spec.views.scales]
    return [size if px is None else (px, px) for px in sides for _ in range(spec.views.crops)]


def _resize(picture: Image.Image, spec: PreprocessSpec, name: str) -> Image.Image:
    if spec.resize is None:
        return picture
    width, height = _resized(picture.size, spec)
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"image {name}: {picture.width} x {picture.height} pixels become {width} x {height} when resized, "
            f"at most {MAX_PIXELS:,} are made",
            "remove it, or use --on-error skip",
        )
    return picture.resize((width, height), _INTERPOLATIONS[spec.interpolation])


def _resized(size: tuple[int, int], spec: PreprocessSpec) -> tuple[int, int]:
    """Return the width and height to resize to, before the centre is cut out or black is put around."""
    if spec.fit == "squash" and spec.crop is not None:
        return spec.crop, spec.crop
    if spec.fit == "pad" and spec.crop is not None:
        longer = max(size)
        width, height = (max(1, round(side * spec.crop / longer)) for side in size)
        return width, height
    assert spec.resize is not None
    return _shorter_side(size, spec.resize)


def _shorter_side(size: tuple[int, int], px: int) -> tuple[int, int]:
    width, height = size
    if width <= height:
        return px, max(1, int(px * height / width))
    return max(1, int(px * width / height)), px


def _crops(picture: Image.Image, px: int, crops: int) -> Iterator[Image.Image]:
    """Give the centre, and for five crops the corners."""
    yield _centre_crop(picture, px)
    if crops > 1:  # both sides are longer than px: `PreprocessSpec` sees to it
        right, bottom = picture.width - px, picture.height - px
        for left, top in ((0, 0), (right, 0), (0, bottom), (right, bottom)):
            yield picture.crop((left, top, left + px, top + px))


def _centre_crop(picture: Image.Image, px: int) -> Image.Image:
    # torchvision rounds half to even and pads with black where the picture is smaller than the crop.
    width, height = picture.size
    if width < px or height < px:
        left, top = max(0, (px - width) // 2), max(0, (px - height) // 2)
        right, bottom = max(0, (px - width + 1) // 2), max(0, (px - height + 1) // 2)
        picture = ImageOps.expand(picture, (left, top, right, bottom))
        width, height = picture.size
    top, left = round((height - px) / 2.0), round((width - px) / 2.0)
    return picture.crop((left, top, left + px, top + px))
