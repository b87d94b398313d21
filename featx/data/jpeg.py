"""JPEG files with nothing to tell but their pixels, decoded without opening them as Pillow opens every file.

`Image.open` costs a small JPEG more than its pixels do: Python reads each of its markers, only to find that there is no
orientation and no second picture; then Pillow's decoder reads them again. Where a glance at the markers tells as much,
the bytes are handed to that same decoder, called as `Image.open` calls it: the pixels are the same, whatever libjpeg
Pillow was built with. All other files, and all that it refuses, are left to `featx.data.decoding`.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from PIL import Image, ImageFile

_START, _END = b"\xff\xd8", b"\xff\xd9"
_SEGMENT, _SIZE = struct.Struct(">BBH"), struct.Struct(">BHHB")
_JFIF, _QUANTIZATION, _SCAN = 0xE0, 0xDB, 0xDA
_FRAMES = (0xC0, 0xC2)
"""Baseline and progressive."""

_UNREAD = (0xC4, 0xDD, 0xFE)
"""Huffman tables, restart intervals and comments: `Image.open` skips them."""

_MODES = {1: "L", 3: "RGB"}
"""What `Image.open` takes an image of so many components for."""

_JFIF_BYTES = 9
"""`Image.open` refuses a shorter one."""

_TABLE_BYTES = 65
"""A quantization table of 8 bits, and its number, below 16."""

MOST_PIXELS = 1 << 20
"""In a larger image the steps saved here count for nothing."""


def plain_pixels(data: bytes) -> np.ndarray[Any, np.dtype[np.uint8]] | None:
    """Decode a JPEG if it is a plain one.

    Parameters
    ----------
    data : bytes
        The file's content.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3), or None
        As `featx.data.decoding.decode` gives it; None if that has to say what becomes of the file.
    """
    found = _mode_and_size(data)
    if found is None:
        return None
    mode, size = found
    try:
        image = Image.frombytes(mode, size, data, "jpeg", mode, "")
    except (ValueError, OSError):  # cut off or damaged: `Image.open` says how
        return None
    return np.asarray(image if mode == "RGB" else image.convert("RGB"))


def _mode_and_size(data: bytes) -> tuple[str, tuple[int, int]] | None:
    """Return Pillow's mode and (width, height) of a plain JPEG; None for all others."""
    # A longer file goes to the decoder in pieces, and what it makes of a damaged one may depend on them.
    if len(data) > ImageFile.MAXBLOCK or not (data.startswith(_START) and data.endswith(_END)):
        return None
    at, frame = len(_START), None
    while at + _SEGMENT.size <= len(data):
        lead, marker, length = _SEGMENT.unpack_from(data, at)
        begin, at = at + _SEGMENT.size, at + 2 + length
        if lead != 0xFF or length < 2 or at > len(data):
            return None
        if marker == _SCAN:
            return frame
        if marker in _FRAMES and frame is None:
            frame = _frame(data[begin:at])
        elif marker not in _UNREAD and not _tells_nothing(marker, data[begin:at]):
            return None
    return None


def _tells_nothing(marker: int, content: bytes) -> bool:
    """Tell whether a segment that `Image.open` reads holds nothing that it would use or refuse."""
    if marker == _QUANTIZATION:
        return not len(content) % _TABLE_BYTES and max(content[::_TABLE_BYTES], default=0) < 16
    return marker == _JFIF and len(content) >= _JFIF_BYTES


def _frame(content: bytes) -> tuple[str, tuple[int, int]] | None:
    """Return the mode and size that a frame's header states; None if they are not those of a plain image."""
    if len(content) < _SIZE.size:
        return None
    bits, height, width, components = _SIZE.unpack_from(content)
    most = min(MOST_PIXELS, Image.MAX_IMAGE_PIXELS or MOST_PIXELS)
    if bits != 8 or components not in _MODES or len(content) != _SIZE.size + 3 * components:
        return None
    return (_MODES[components], (width, height)) if 0 < width * height <= most else None
