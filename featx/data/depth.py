"""How many bits of a 16-bit sample count, and the eight of them that are kept."""

from __future__ import annotations

import hashlib
import io
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from featx.core.validation import BITS
from featx.data.remarks import Remarks
from featx.data.tiff import BITS_PER_SAMPLE, MAX_SAMPLE, PLANAR, S_MAX_SAMPLE, SAMPLE_FORMAT, numbers, tag_numbers

_PNG = b"\x89PNG\r\n\x1a\n"
_TAGS = (BITS_PER_SAMPLE, SAMPLE_FORMAT, S_MAX_SAMPLE, MAX_SAMPLE, PLANAR)
_PLANES = {
    b"II": {"I": "I;16", **{letter: letter + ";16L" for letter in "RGBA"}},
    b"MM": {"I": "I;16B", **{letter: letter + ";16B" for letter in "RGBA"}},
}
"""What Pillow calls a plane of 16 bits, by the byte order and by what it calls one of 8."""

DARK = 1 << 12
"""An image of 16 bits without a value from here on has 12 of them at most: of its upper eight, four are zero."""

DIGEST = 2
"""Version of `content_digest`: what was remembered of earlier ones is found out again."""


_DARK = (
    f"has more than 8 bits per sample, and no value reaches {DARK:,}: it comes out nearly black "
    "(--bits 12 if twelve bits are used)"
)


def content_digest(data: bytes) -> bytes:
    """Return what stands for an image's content in a key: the SHA-256 of its bytes.

    Where the bytes say that fewer bits count than a sample has, that is part of it, and so are planes of 16 bits:
    features that were computed when neither was looked at are other features.
    """
    bits, planes = _said(data)
    said = b"" if bits is None else b"featx: %d bits of 16\0" % bits
    return hashlib.sha256(said + b"featx: planes\0" * planes + data).digest()


def stated_bits(data: bytes) -> int | None:
    """Return how many bits of its 16-bit samples a PNG (sBIT) or TIFF (BitsPerSample, largest sample value) says count.

    None for all other images, and where all bits count or nothing is said.
    """
    return _said(data)[0]


def _said(data: bytes) -> tuple[int | None, bool]:
    """Return how many bits a file says count, and whether its samples, of more than 8 bits, lie in planes."""
    bits: int | None = None
    planes = False
    if data.startswith(_PNG):
        bits = _png_bits(data)
    elif data[:2] in (b"II", b"MM"):
        depths, kinds, largest, unsigned, layout = numbers(data, *_TAGS)
        bits = _tiff_bits(depths, kinds, largest or unsigned)
        planes = 2 in layout and max(depths, default=0) > BITS[0]
    return None if bits is None or not 0 < bits < BITS[1] else max(bits, BITS[0]), planes


def _png_bits(data: bytes) -> int | None:
    if data[12:16] != b"IHDR" or data[24:25] != b"\x10" or len(data) < 33:
        return None
    colours = 3 if data[25] & 2 else 1
    at = 33
    while at + 8 <= len(data) and (kind := data[at + 4 : at + 8]) not in (b"IDAT", b"IEND"):
        size = int.from_bytes(data[at : at + 4], "big")
        if kind == b"sBIT" and colours <= size <= 4:
            return max(data[at + 8 : at + 8 + colours], default=None)
        at += size + 12
    return None


def _tiff_bits(depths: tuple[float, ...], kinds: tuple[float, ...], largest_values: tuple[float, ...]) -> int | None:
    if any(kind != 1 for kind in kinds) or len(set(depths)) != 1:
        return None
    if depths[0] != BITS[1]:
        return int(depths[0]) if BITS[0] < depths[0] < BITS[1] else None
    largest = max(largest_values, default=0)
    return int(largest).bit_length() if 0 < largest < 1 << BITS[1] else None


def is_deep_colour(image: Image.Image, data: bytes) -> bool:
    """Tell whether Pillow gives 8 bits a sample of an image that has 16: PNG and TIFF in colour, and SGI."""
    if image.mode.startswith(("I", "F")):
        return False
    if image.format == "SGI":
        return data[3:4] == b"\2"
    if image.format == "PNG":
        return data[24:25] == b"\x10"
    return isinstance(image, TiffImageFile) and set(tag_numbers(image.tag_v2, BITS_PER_SAMPLE)) == {BITS[1]}


def _has_planes(image: Image.Image) -> bool:
    """Tell whether a TIFF keeps each of its samples, of more than 8 bits, in a plane of its own."""
    if not isinstance(image, TiffImageFile) or 2 not in tag_numbers(image.tag_v2, PLANAR):
        return False
    return max(tag_numbers(image.tag_v2, BITS_PER_SAMPLE), default=0) > BITS[0]


def widen_planes(image: ImageFile.ImageFile, data: bytes) -> None:
    """Tell Pillow that planes of a TIFF have 16 bits: it takes those that are not compressed for planes of 8."""
    if not _has_planes(image):
        return
    letters = _PLANES[data[:2]]
    for i, tile in enumerate(image.tile):
        if tile.codec_name == "raw" and isinstance(tile.args, tuple):
            whole = letters.get(str(tile.args[0]))
            if whole is None or set(numbers(data, BITS_PER_SAMPLE)[0]) != {BITS[1]}:
                raise ValueError("its samples are in planes of more than 8 bits, which Pillow does not read")
            image.tile[i] = tile._replace(args=(whole, *tile.args[1:]))


def is_stretched(image: ImageFile.ImageFile, data: bytes) -> bool:
    """Tell whether Pillow stretches samples of fewer bits to all 16, as their format tells it: PGM and JPEG 2000."""
    if image.format == "PPM" and image.tile:
        args = image.tile[0].args
        return isinstance(args, tuple) and args[-1] != 0xFFFF
    if image.format == "JPEG2000":
        at = data.find(b"\xff\x4f\xff\x51")
        return at >= 0 and data[at + 42 : at + 43] != b"" and (data[at + 42] & 0x7F) + 1 < BITS[1]
    return False


def upper_eight(
    deep: npt.NDArray[Any], data: bytes, bits: int | None, name: str, remarks: Remarks
) -> npt.NDArray[np.uint8]:
    """Return the upper eight of the bits that count.

    Parameters
    ----------
    deep : ndarray of integers
        Samples.
    data : bytes
        The file, which may say how many bits count.
    bits : int, optional
        How many do, whatever it says.
    name : str
        The image's, for a remark.
    remarks : Remarks
        Told of an image that comes out nearly black, and of one whose statement can be read in two ways.

    Raises
    ------
    ValueError
        Samples of more bits than can count.
    """
    low, high = int(deep.min()), int(deep.max())
    if low < 0 or high > 0xFFFF:
        raise ValueError(f"its pixels lie between {low} and {high}, expected 8 or 16 bits")
    if bits is None:
        bits = _counted(deep, high, data, name, remarks)
    if high >> bits:
        most = (1 << bits) - 1
        raise ValueError(f"it has the value {high:,}, and --bits {bits} allows at most {most:,}")
    return (deep >> (bits - BITS[0])).astype(np.uint8)


def _counted(deep: npt.NDArray[Any], high: int, data: bytes, name: str, remarks: Remarks) -> int:
    """Return how many bits count: as many as the file says, where no sample has more, else all; remark what is odd."""
    stated = stated_bits(data)
    # A PNG's samples are to be stretched to all 16 bits, whatever its sBIT: cameras rarely do so.
    bits = BITS[1] if stated is None or high >> stated else stated
    if remarks.differs("bits", bits):
        text = f"uses {bits} of its 16 bits, other images of this source use another number: --bits sets one for all"
        remarks.say("bits", name, text)
    if bits == BITS[1] and 0 < high < DARK:
        remarks.say("dark", name, _DARK)
    if bits < BITS[1] and data.startswith(_PNG) and high and not (deep & ((1 << (BITS[1] - bits)) - 1)).any():
        text = f"declares {bits} of its 16 bits as used, and is read so (--bits 16 if its values are already stretched)"
        remarks.say("stretched", name, text)
    return bits


def deep_colour(
    upper: npt.NDArray[np.uint8], image: Image.Image, data: bytes, bits: int | None, name: str, remarks: Remarks
) -> npt.NDArray[np.uint8]:
    """Return a 16-bit colour image in the upper eight of the bits that count; see `upper_eight`.

    Parameters
    ----------
    upper : ndarray of uint8, shape (H, W, 3)
        The upper bytes of all 16, which Pillow gives.
    image : Image
        Where they are from.
    """
    stated, high = stated_bits(data), int(upper.max())
    if bits == BITS[1] or (
        bits is None and (high >= DARK >> BITS[0] if stated is None else high >> (stated - BITS[0]))
    ):
        return upper
    lower = None if image.mode == "CMYK" else _low_bytes(data, str(image.format))
    if lower is None:
        if bits is None and stated is None:
            remarks.say("dark", name, _DARK)
            return upper
        raise ValueError("of its 16 bits per sample only the upper eight can be read, not those that are used")
    deep = upper[..., : lower.shape[2]].astype(np.uint16) << BITS[0] | lower
    return np.broadcast_to(upper_eight(deep, data, bits, name, remarks), upper.shape)


def _low_bytes(data: bytes, format: str) -> npt.NDArray[np.uint8] | None:
    """Return the lower byte of each sample of a 16-bit colour image, upright, shape (H, W, C).

    Pillow gives colours in 8 bits, and of 16 the upper ones: told that the bytes lie the other way round, it gives the
    lower ones. None for a layout where that cannot be told.
    """
    with Image.open(io.BytesIO(data), formats=[format]) as image:
        widen_planes(image, data)
        tiles = []
        for tile in image.tile:
            args = tile.args if isinstance(tile.args, tuple) else (tile.args,)
            turn = _TURNED.get(str(args[0]))
            if turn is None or (tile.codec_name == "libtiff" and _has_planes(image)):
                return None
            tiles.append(tile._replace(args=(turn, *args[1:]) if isinstance(tile.args, tuple) else turn))
        if any("I;32B" in tile for tile in tiles):  # grey and alpha as the two halves of a number
            image._mode = "I"
        image.tile = tiles
        low = np.asarray(ImageOps.exif_transpose(image))
    if low.ndim == 2:
        return ((low >> 16) & 0xFF).astype(np.uint8)[..., None]
    return low[..., :3]


_NATIVE = {"little": ";16B", "big": ";16L"}[sys.byteorder]
_TURNED = {
    "LA;16B": "I;32B",
    **{mode + ";16L": mode + ";16B" for mode in ("RGB", "RGBA", "RGBX", *"RGBA")},
    **{mode + ";16B": mode + ";16L" for mode in ("RGB", "RGBA", "RGBX", *"RGBA")},
    **{mode + ";16N": mode + _NATIVE for mode in ("RGB", "RGBA", "RGBX")},
}
