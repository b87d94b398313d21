"""What a file is, by its first bytes: whatever its name says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

HEAD_BYTES = 4096
"""So much of a file tells what it is."""

CONVERT = "convert it to PNG or JPEG"
_UPGRADE = f"pip install --upgrade pillow, or {CONVERT}"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file.

    Parameters
    ----------
    what : str
        In a sentence: ``a PNG``.
    format : str or None
        Pillow's name for what decodes it; None where nothing here does.
    hint : str
        What to do where nothing reads it.
    is_sure : bool
        Whether the first bytes alone tell an image, so that it need not be called one.
    is_image : bool
        Whether it is one at all, read or not.
    """

    what: str
    format: str | None = None
    hint: str = CONVERT
    is_sure: bool = False
    is_image: bool = True


def _image(what: str, format: str) -> Kind:
    return Kind(what, format, _UPGRADE, is_sure=True)


def _other(what: str, hint: str = "remove it") -> Kind:
    return Kind(what, hint=hint, is_image=False)


def _maybe(what: str, format: str) -> Kind:
    return Kind(what, format, _UPGRADE)


_RAW = "develop it to JPEG or to a 16-bit TIFF"
_DRAWING = "render it as PNG at the size you need"
_FRAMES = "extract its frames as images"
_UNPACK = "unpack it"
_DOWNLOAD = "download it again: a web page was saved instead of the image"
_HEIC = "pip install 'featx[heic]', or convert it to PNG or JPEG"

HEIC = Kind("a HEIC file", "HEIF", _HEIC, is_sure=True)
HEIF = Kind("a HEIF file", "HEIF", _HEIC, is_sure=True)
AVIF = _image("an AVIF", "AVIF")
JPEG = _image("a JPEG", "JPEG")
JPEG_LS = Kind("a JPEG-LS")
TGA = _maybe("a TGA", "TGA")
HTML = _other("an HTML page", _DOWNLOAD)
SVG = Kind("an SVG drawing", hint=_DRAWING)
XML = _other("XML text")
TEXT = _other("plain text")
LFS = _other("a Git LFS pointer and not the file itself", "git lfs pull")
ZEROS = _other("nothing but zeros", "copy or download it again")

# The first that fits counts. Formats that run other programs or open other files stand among those that are not read:
# EPS (Ghostscript), WMF and EMF (the system's), IPTC and FlashPix (whatever is inside).
SIGNATURES: Mapping[bytes, Kind] = {
    rb"\xff\xd8\xff\xf7": JPEG_LS,
    rb"\xff\xd8\xff": JPEG,
    rb"\x89PNG\r\n\x1a\n": _image("a PNG", "PNG"),
    rb"GIF8[79]a": _image("a GIF", "GIF"),
    rb"RIFF....WEBP": _image("a WebP", "WEBP"),
    rb"BM": _maybe("a BMP", "BMP"),
    rb"FUJIFILMCCD-RAW": Kind("a Fujifilm raw file (RAF)", hint=_RAW),
    rb"IIR[OS]|MMOR": Kind("an Olympus raw file (ORF)", hint=_RAW),
    rb"IIU\0": Kind("a Panasonic raw file (RW2)", hint=_RAW),
    rb"II\xbc": Kind("a JPEG XR"),
    rb"II\*\0|MM\0\*|MM\*\0|II\0\*|II\+\0|MM\0\+": _image("a TIFF", "TIFF"),
    rb"P7 332": _maybe("an XV thumbnail", "XVTHUMB"),
    rb"P[1-7]\s|P[Ff]\s|Pf4\s|PyP|PyRGBA|PyCMYK|P0CMYK": _maybe("a PNM", "PPM"),
    rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n": _image("a JPEG 2000", "JPEG2000"),
    rb"\xff\x0a|\0\0\0\x0cJXL ": Kind("a JPEG XL", hint="convert it: djxl IMAGE.jxl IMAGE.png"),
    rb"8BPS": _image("a Photoshop file", "PSD"),
    rb"gimp xcf": Kind("a GIMP file (XCF)", hint="export it as PNG"),
    rb"DDS ": _image("a DDS", "DDS"),
    rb"qoif": _image("a QOI", "QOI"),
    rb"icns": _image("an Apple icon (ICNS)", "ICNS"),
    rb"SIMPLE  =": _image("a FITS", "FITS"),
    rb"\0\0\x01\0": _maybe("an icon (ICO)", "ICO"),
    rb"\0\0\x02\0": _maybe("a cursor (CUR)", "CUR"),
    rb"\x01\xda": _maybe("an SGI image", "SGI"),
    rb"\x59\xa6\x6a\x95": _maybe("a Sun raster", "SUN"),
    rb"\x0a[\0\x02\x03\x05]": _maybe("a PCX", "PCX"),
    rb"\xb1h\xde:": _maybe("a DCX", "DCX"),
    rb"BLP[12]": _maybe("a BLP", "BLP"),
    rb"FTEX": _maybe("an FTEX", "FTEX"),
    rb"DanM|LinS": _maybe("a Microsoft Paint 1 image", "MSP"),
    rb"\x80\xe8\0\0": _maybe("a PIXAR image", "PIXAR"),
    rb"\0\0\0\0\0\0\0\x04": _maybe("a McIdas area", "MCIDAS"),
    rb"....[\x11\x12]\xaf": _maybe("a FLI animation", "FLI"),
    rb"\0\0\0.\0\0\0[\x01\x02]\0\0..\0\0..\0\0\0[\x01\x04]": _maybe("a GIMP brush", "GBR"),
    rb"/\* XPM \*/": _maybe("an XPM", "XPM"),
    rb"\s*#define\s": _maybe("an XBM", "XBM"),
    rb"Image type:": _maybe("an IM image", "IM"),
    rb"(?:\*[^\n]*\n)*(?:width|height) +\d": _maybe("an IMT", "IMT"),
    rb".{2048}PCD_": _maybe("a Photo CD", "PCD"),
    rb".{128}DICM": Kind("a DICOM file", hint="export its image as a PNG, with 16 bits if it has more than 8"),
    rb"v/1\x01": Kind("an OpenEXR", hint="tone-map it to PNG"),
    rb"#\?R(?:ADIANCE|GBE)": Kind("a Radiance HDR", hint="tone-map it to PNG"),
    rb"BPG\xfb": Kind("a BPG"),
    rb"FLIF": Kind("a FLIF"),
    rb"farbfeld": Kind("a farbfeld image"),
    rb"\x8a[MJ]NG\r\n\x1a\n": Kind("an MNG"),
    rb"%!PS|\xc5\xd0\xd3\xc6": Kind("PostScript (EPS)", hint=f"it is a program: {_DRAWING}"),
    rb"%PDF": Kind("a PDF", hint=_DRAWING),
    rb"\xd7\xcd\xc6\x9a\0\0|\x01\0\0\0.{36} EMF": Kind("a Windows metafile (WMF, EMF)", hint=_DRAWING),
    rb"\x1c[\x01\x02\x03]": _other("an IPTC record"),
    rb"BUFR": _other("BUFR weather data"),
    rb"GRIB": _other("GRIB weather data"),
    rb"\x89HDF\r\n\x1a\n": _other("an HDF5 file", "give it as the source: it may contain arrays of images"),
    rb"\x93NUMPY": _other("a NumPy array", "give it as the source: it may contain arrays of images"),
    rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": Kind("an OLE file (FlashPix, Office)"),
    rb"PK[\x03\x05]": _other("a zip archive", _UNPACK),
    rb"\x1f\x8b": _other("a gzip file", _UNPACK),
    rb"BZh": _other("a bzip2 file", _UNPACK),
    rb"\xfd7zXZ|7z\xbc\xaf|\x28\xb5\x2f\xfd|Rar!": _other("an archive", _UNPACK),
    rb"\0\0\x01[\xb3\xba]|\x1aE\xdf\xa3|RIFF....AVI |OggS": _other("a video", _FRAMES),
    rb".{257}ustar": _other("a tar archive", _UNPACK),
    rb"version https://git-lfs": LFS,
    rb"[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0": _maybe("a BMP without its file header (DIB)", "DIB"),
}

_BRANDS: Mapping[bytes, Kind] = {
    **dict.fromkeys((b"avif", b"avis"), AVIF),
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis"), HEIC),
    **dict.fromkeys((b"avci", b"avcs", b"mif1", b"mif2", b"msf1", b"j2ki"), HEIF),
    b"crx ": Kind("a Canon raw file (CR3)", hint=_RAW),
}
_VIDEO = _other("a video (MP4, MOV)", _FRAMES)
TGA_SUFFIXES = (".tga", ".icb", ".vda", ".vst")
_FOOTER = b"TRUEVISION-XFILE."
_PATTERNS = [(re.compile(pattern, re.S), kind) for pattern, kind in SIGNATURES.items()]


def kind_of(data: bytes, name: str = "") -> Kind | None:
    """Tell what a file is.

    Parameters
    ----------
    data : bytes
        Its content, or the first `HEAD_BYTES` of it.
    name : str
        What it is called: only a TGA, which has no bytes of its own, is told by it (or by its last bytes).

    Returns
    -------
    Kind or None
        None where it is nothing known.
    """
    if data[4:8] == b"ftyp":
        return _boxed(data)
    found = next((kind for pattern, kind in _PATTERNS if pattern.match(data)), None)
    if found is not None and (found.is_sure or found.format is None):
        return found
    if (data and name.lower().endswith(TGA_SUFFIXES)) or data[-18:-1] == _FOOTER:
        return TGA
    return found or (_said(data[:HEAD_BYTES]) if data else None)


def can_read(kind: Kind) -> bool:
    """Tell whether the installed Pillow decodes a kind; HEIC and its kin pillow-heif."""
    if kind.format == HEIC.format:
        return find_spec("pillow_heif") is not None
    return kind.format is not None and _NEEDS.get(kind.format, kind.format) not in _lacking()


_NEEDS = {"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}


@cache
def _lacking() -> frozenset[str]:
    from PIL import features

    return frozenset(_NEEDS.values()) - frozenset(features.get_supported())


def _boxed(data: bytes) -> Kind:
    """Tell AVIF, HEIC and videos apart: one box, whose brands say what follows; the major one may be a general one."""
    size = min(int.from_bytes(data[:4], "big"), HEAD_BYTES)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, size - 3, 4))]
    found = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
    return next((kind for kind in found if kind is not HEIF), found[0] if found else _VIDEO)


def _said(head: bytes) -> Kind | None:
    """Tell kinds of text, and files of which only zeros are left."""
    if not head.strip(b"\0"):
        return ZEROS
    text = head.decode("utf-8", "replace")
    if sum(not (c.isprintable() or c in "\t\r\n\f\ufeff") for c in text[:-4]) or "\ufffd" in text[:-4]:
        return None
    start = text.lstrip("\ufeff \t\r\n").lower()
    if start.startswith(("<!doctype html", "<html", "<head", "<body")):
        return HTML
    if start.startswith("<"):
        return SVG if "<svg" in start else HTML if "<html" in start else XML
    return TEXT
