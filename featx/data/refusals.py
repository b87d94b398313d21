"""Why an image is not decoded: what it is, what is wrong with it, and what to do."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence

from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import COMPRESSION_INFO

from featx.data.kinds import HEIC, JPEG_LS, Kind, can_read
from featx.data.tiff import BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC, SAMPLE_FORMAT, SAMPLES_PER_PIXEL, numbers
from featx.errors import ImageError

SKIP = "or use --on-error skip"
_MEND = "fix or remove it"
_HINTS = {
    r"unknown pixel mode|floating-point|pixels lie between": "save it with 8 or 16 bits per sample",
    r"planes of|upper eight": "save it with interleaved (contiguous) samples, as RGB",
    r"un(known|supported|implemented)": "convert it to PNG",
    r"(--bits)": "give more --bits",
}
"""By what the reason says."""


def refusal(name: str, data: bytes, kind: Kind | None, exc: Exception, lines: Sequence[str]) -> ImageError:
    """Return the error for an image that could not be decoded.

    Parameters
    ----------
    name : str
        The image's.
    data : bytes
        Its content.
    kind : Kind or None
        What that is.
    exc : Exception
        What the decoder raised.
    lines : sequence of str
        What libtiff said.
    """
    if not data:
        return ImageError(f"image {name} is empty", f"{_MEND}, {SKIP}")
    if kind is None:
        return ImageError(f"image {name} cannot be decoded: {_reason(exc, None, data)}", f"{_MEND}, {SKIP}")
    what = _DETAILS.get(kind.format or "", _plain)(kind, data)
    if what == JPEG_LS.what:
        kind = JPEG_LS
    if not can_read(kind):
        return ImageError(f"image {name} cannot be decoded: it is {what}, {_why_not(kind)}", f"{kind.hint}, {SKIP}")
    reason = "; libtiff: ".join([_reason(exc, kind, data), *lines[:1]])
    hint = next((hint for said, hint in _HINTS.items() if re.search(said, reason, re.I)), _MEND)
    return ImageError(f"image {name} ({what}) cannot be decoded: {reason}", f"{hint}, {SKIP}")


def _why_not(kind: Kind) -> str:
    if not kind.is_image:
        return "in no known image format"
    if kind.format is None:
        return "which featx does not read"
    return "which needs pillow-heif" if kind.format == HEIC.format else "which the installed Pillow does not read"


def _reason(exc: Exception, kind: Kind | None, data: bytes) -> str:
    if isinstance(exc, UnidentifiedImageError):
        if kind is None or kind.format not in Image.OPEN:
            return "it is in no known image format"
        try:  # Image.open keeps to itself why a plugin did not want it
            Image.OPEN[kind.format][0](io.BytesIO(data), "")
        except Exception as inner:  # plugins raise whatever they meet
            exc = inner
    text = " ".join(str(exc).split())[:200]
    if text == "not identified by this driver":
        return "it has no pixels"
    if text and isinstance(exc, (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)):
        return text
    return f"it is damaged, or of a kind unknown to Pillow ({' '.join([type(exc).__name__, text]).strip()})"


def _plain(kind: Kind, data: bytes) -> str:
    return kind.what


def _jpeg(kind: Kind, data: bytes) -> str:
    """Say which JPEG: libjpeg decodes those of 8 bits that are neither lossless nor JPEG-LS."""
    at = 2
    while data[at : at + 1] == b"\xff" and at + 5 <= len(data):
        marker = data[at + 1]
        if marker == 0xF7:
            return JPEG_LS.what
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            lossless = "a lossless JPEG" if marker in (0xC3, 0xC7, 0xCB, 0xCF) else kind.what
            return lossless if data[at + 4] == 8 else f"{lossless} of {data[at + 4]} bits per sample"
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big") if marker != 0xFF else 1
    return kind.what


def _tiff(kind: Kind, data: bytes) -> str:
    if data[128:132] == b"DICM":
        return "a DICOM file that starts like a TIFF"
    depths, formats, samples, packing, colours = numbers(
        data, BITS_PER_SAMPLE, SAMPLE_FORMAT, SAMPLES_PER_PIXEL, COMPRESSION, PHOTOMETRIC
    )
    said = [" of " + " and ".join(f"{depth:g}" for depth in sorted(set(depths))) + " bits per sample"] * bool(depths)
    said += [_SAMPLES[number] for number in sorted(set(formats)) if number in _SAMPLES]
    said += [f", {count:g} samples per pixel" for count in samples if count not in (1, 3, 4)]
    said += [f", compression {number:g}" for number in packing if number not in COMPRESSION_INFO]
    said += [f", colour space {number:g}" for number in colours if number not in _COLOURS]
    return kind.what + "".join(said)


_SAMPLES: Mapping[float, str] = {2: ", signed", 3: ", floating point", 5: ", complex", 6: ", complex floating point"}
_COLOURS = (0, 1, 2, 3, 5, 6, 8)


def _psd(kind: Kind, data: bytes) -> str:
    depth = int.from_bytes(data[22:24], "big")
    return kind.what if depth in (1, 8) else f"{kind.what} of {depth} bits per channel"


_DETAILS: Mapping[str, Callable[[Kind, bytes], str]] = {"JPEG": _jpeg, "TIFF": _tiff, "PSD": _psd}
