"""Bytes to pixels, and pixels to a network's input size; Pillow and numpy only."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from featx.core.specs import PreprocessSpec, Views
from featx.core.validation import BITS
from featx.data.depth import deep_colour, is_deep_colour, is_stretched, upper_eight, widen_planes
from featx.data.jpeg import plain_pixels
from featx.data.kinds import HEIC, JPEG, TGA_SUFFIXES, Kind, can_read, kind_of
from featx.data.litter import is_litter
from featx.data.refusals import refusal
from featx.data.remarks import Remarks
from featx.data.tiff import listening
from featx.errors import ImageError, first_few

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".webp", ".bmp", ".dib", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".avif", ".avifs", ".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"),
    *(".psd", ".ico", *TGA_SUFFIXES),
)
"""File names that count as images, whatever their case; see `image_suffixes`."""

HEIF_SUFFIXES = (".heic", ".heif", ".hif")

MAX_PIXELS = 89_478_485
"""Largest image that is decoded, in pixels: Pillow's own bound for decompression bombs."""

_INTERPOLATIONS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

_ONE_VIEW = (Views.crops, Views.scales)

_UNMARKED = "SPIDER"
"""The one format that Pillow tells by more than first bytes."""

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def image_suffixes() -> tuple[str, ...]:
    """Return the endings of names that count as images: HEIC's where pillow-heif is installed."""
    return SUFFIXES + HEIF_SUFFIXES if can_read(HEIC) else SUFFIXES


def is_image_name(name: str, suffixes: tuple[str, ...] = ()) -> bool:
    """Tell whether a relative name looks like an image's, leaving out what programs leave behind; see `is_litter`."""
    return name.lower().endswith(suffixes or image_suffixes()) and not any(map(is_litter, name.split("/")))


def decode(data: bytes, name: str, bits: int | None = None, remarks: Remarks | None = None) -> Pixels:
    """Decode one encoded image, whatever its name says it is.

    Parameters
    ----------
    data : bytes
        The file's content.
    name : str
        What to call it in an error.
    bits : int, optional
        How many bits of 16-bit samples count; else as the file says, or all.
    remarks : Remarks, optional
        Counts what is remarked of several images.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        RGB, turned upright by its EXIF orientation. Of an animation the first frame, of 16 bits the upper 8 of those
        that count; colours behind transparency as they are stored, colour profiles are not applied.

    Raises
    ------
    ImageError
        Naming the image, what it is and what is wrong with it.

    Warns
    -----
    FeatxWarning
        Of an image that comes out nearly black, and of what libtiff says of one that it decodes all the same.
    """
    kind = kind_of(data, name)
    if kind is JPEG and (plain := plain_pixels(data)) is not None:
        return plain
    remarks = remarks or Remarks()
    with listening() as lines:
        try:
            pixels = _decode(data, kind, bits, name, remarks)
        except (ImageError, MemoryError):  # an image that finds no memory is none to skip
            raise
        # Pillow's decoders raise whatever their parsers meet (OSError, SyntaxError, ...): each is a bad image.
        except Exception as exc:
            raise refusal(name, data, kind, exc, lines) from exc
    if lines:
        said = first_few(list(dict.fromkeys(lines)))
        remarks.say("libtiff", name, f"was decoded, but libtiff warned: {said[:300]}")
    return pixels


def _decode(data: bytes, kind: Kind | None, bits: int | None, name: str, remarks: Remarks) -> Pixels:
    with _opened(data, kind) as image:
        _check_pixels(image.size, name)
        if image.format == "PNG":  # decoding it leaves the checksums of its pixels unseen
            Image.open(io.BytesIO(data), formats=["PNG"]).verify()
        widen_planes(image, data)
        if is_stretched(image, data):
            bits = BITS[1]
        upright = ImageOps.exif_transpose(image)
        _check_pixels(upright.size, name)  # an icon may be larger than it says
        if upright.mode.startswith("I"):  # 16 bits a pixel: `convert` would clip at 255 instead of scaling
            grey = upper_eight(np.asarray(upright), data, bits, name, remarks)
            return np.asarray(Image.fromarray(grey).convert("RGB"))
        if is_deep_colour(image, data):
            return deep_colour(np.asarray(_to_rgb(upright)), image, data, bits, name, remarks)
        return np.asarray(_to_rgb(upright))


def _opened(data: bytes, kind: Kind | None) -> ImageFile.ImageFile:
    # Named, because Pillow would otherwise also hand untrusted bytes to parsers such as EPS's Ghostscript.
    format = _UNMARKED if kind is None else kind.format
    if format is None or (kind and not can_read(kind)):
        raise UnidentifiedImageError
    if format == HEIC.format:
        from pillow_heif import HeifImageFile  # an extra

        heif: ImageFile.ImageFile = HeifImageFile(io.BytesIO(data))  # type: ignore[no-untyped-call, unused-ignore]
        return heif
    return Image.open(io.BytesIO(data), formats=[format])


def _check_pixels(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"image {name}: {width} x {height} pixels, expected at most {MAX_PIXELS:,}",
            "shrink or remove it, or use --on-error skip",
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":  # `convert` would clip at 0 and 255, whatever the values mean
        raise ValueError("its pixels are floating-point numbers, expected 8 or 16 bits")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def held(image: Image.Image, name: str, bits: int | None = None, remarks: Remarks | None = None) -> Pixels:
    """Return a PIL image that a caller holds as `decode` returns a file's, upright; grey where it is.

    Parameters
    ----------
    image : Image
        As long as it was not read, its file is decoded where that may have 16 bits a sample: it says how many count.
    name, bits, remarks : str, int, Remarks
        As of `decode`.

    Returns
    -------
    ndarray of uint8, shape (H, W, 1) or (H, W, 3)

    Raises
    ------
    ImageError
        As `decode`.
    ValueError
        For values that are not 8 or 16 bits.
    """
    is_grey = image.mode in ("1", "L") or image.mode.startswith("I")
    data = _unread(image)
    if image.mode.startswith("I") or (data and is_deep_colour(image, data)):
        if data:
            pixels = decode(data, name, bits, remarks)
            return pixels[..., :1] if is_grey else pixels
        deep = np.asarray(ImageOps.exif_transpose(image))
        return upper_eight(deep, b"", bits, name, remarks or Remarks())[..., None]
    upright = ImageOps.exif_transpose(image)
    return np.asarray(upright.convert("L"))[..., None] if is_grey else np.asarray(_to_rgb(upright))


def _unread(image: Image.Image) -> bytes:
    """Return the file of an image whose pixels were not read yet; nothing where it is no longer at hand."""
    if not isinstance(image, ImageFile.ImageFile) or not image.tile or image.tell() or image.fp is None:
        return b""
    at = image.fp.tell()
    image.fp.seek(0)
    data: bytes = image.fp.read()
    image.fp.seek(at)
    return data


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
    if _is_prepared(image, spec):
        yield image
        return
    if spec.channels not in (1, 3):  # Pillow knows no such images: each channel is one, and alike to it
        alone = (_views(Image.fromarray(image[..., c]), spec, name) for c in range(image.shape[2]))
        yield from (np.concatenate(channels, axis=2) for channels in zip(*alone, strict=True))
        return
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    wanted = "L" if spec.channels == 1 else "RGB"
    yield from _views(picture if picture.mode == wanted else picture.convert(wanted), spec, name)


def _is_prepared(image: Pixels, spec: PreprocessSpec) -> bool:
    """Tell whether an image is its own only view: resizing and cropping would do no more than copy it."""
    if image.shape[2] != spec.channels or image.dtype != np.uint8 or (spec.views.crops, spec.views.scales) != _ONE_VIEW:
        return False
    height, width = image.shape[:2]
    if spec.crop is not None and not height == width == spec.crop:
        return False
    return spec.resize is None or (width * height <= MAX_PIXELS and _resized((width, height), spec) == (width, height))


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
            f"expected at most {MAX_PIXELS:,}",
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
