"""What a zip's listing leaves to its reader: how names are spelt, and which members Python can unpack."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Sequence

from featx.data.blob import ReadAt

_ENCRYPTED, _STRONGLY, _UTF8 = 0x1, 0x40, 0x800
_AES = 99
"""Way of packing that says AES instead; the actual one is stored elsewhere."""

_UNICODE_PATH = 0x7075
"""Info-ZIP's extra field: the name in UTF-8, and the CRC-32 of the name that it stands for."""

_FAT = 0
"""System of a listing whose tools may write backslashes between folders."""

_FOLDERS = re.compile(r"([^\\/]+\\)+[^\\/]*")
"""A name with backslashes between its folders."""

_PATCHED = 0x20
_SIGNATURE = b"PK\x03\x04"
_LOCAL = struct.Struct("<4s2xH18x2H")
"""What stands before a member's bytes: the signature, flags, and the lengths of its name and of what is added to it."""

_SMALL = 1 << 20
"""Packed bytes that are read at one go: more would be believed of a damaged listing."""

_SPARE = 64
"""Bytes by which a name and what is added to it may be longer before a member than in the listing."""

PACKINGS = {
    1: "Shrink",
    6: "Implode",
    9: "Deflate64",
    10: "PKWARE's Implode",
    12: "bzip2",
    14: "LZMA",
    20: "Zstandard",
    93: "Zstandard",
    94: "MP3",
    95: "XZ",
    96: "JPEG",
    97: "WavPack",
    98: "PPMd",
}


def member_names(infos: Sequence[zipfile.ZipInfo]) -> list[str]:
    """Return each member's name as unzip spells it: folders end with a slash.

    Names without the flag of UTF-8 are UTF-8 where they can be, and code page 437 where not. Backslashes divide folders
    in names without slashes that come from DOS or Windows, and where all names of an archive are made so.
    """
    names = [_decoded(info) for info in infos]
    all_so = len(names) > 1 and all(map(_FOLDERS.fullmatch, names))
    return [
        name.replace("\\", "/") if all_so or ("/" not in name and info.create_system == _FAT) else name
        for info, name in zip(infos, names, strict=True)
    ]


def _decoded(info: zipfile.ZipInfo) -> str:
    name = info.filename
    if name.isascii() or info.flag_bits & _UTF8:
        return name
    try:
        raw = name.encode("cp437")  # as zipfile decoded it: nothing is lost
        return _unicode_path(info, raw) or raw.decode("utf-8")
    except UnicodeError:
        return name


def _unicode_path(info: zipfile.ZipInfo, raw: bytes) -> str:
    """Return the name in the extra field, or '' where there is none of this name."""
    extra = info.extra
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _UNICODE_PATH and len(field) > 5 and field[0] == 1:
            known = struct.unpack_from("<I", field, 1)[0] == zlib.crc32(raw)
            return field[5:].decode("utf-8").partition("\0")[0] if known else ""
    return ""


def check_readable(info: zipfile.ZipInfo) -> None:
    """Raise ValueError for a member that is encrypted, or packed in a way whose unpacking Python cannot bound."""
    if info.flag_bits & (_ENCRYPTED | _STRONGLY) or info.compress_type == _AES:
        how = "AES" if info.compress_type == _AES else "ZipCrypto"
        raise ValueError(f"it is encrypted ({'strongly' if info.flag_bits & _STRONGLY else how})")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        packing = PACKINGS.get(info.compress_type, f"way {info.compress_type}")
        raise ValueError(f"it is packed by {packing}, expected deflate or none")


def ends_of(archive: zipfile.ZipFile) -> dict[int, int]:
    """Return where each member must end at the latest: where the next begins, by where its own header lies."""
    starts = sorted(info.header_offset for info in archive.infolist())
    # Backwards: of two at one place, each overlaps the other.
    return dict(zip(reversed(starts), [archive.start_dir, *reversed(starts[1:])], strict=True)) if starts else {}


def plain_member(read_at: ReadAt, info: zipfile.ZipInfo, end: int) -> bytes | None:
    """Return a small member's content, read by its offset and checked as zipfile does, in a fraction of its time.

    Parameters
    ----------
    read_at : callable
        Gives so many bytes of the file that was listed, from an offset on.
    info : ZipInfo
        The member, which `check_readable` lets pass.
    end : int
        Where it must end at the latest.

    Returns
    -------
    bytes or None
        None for a member that is large, or in which anything is not as listed: zipfile says what.
    """
    if info.compress_size > _SMALL or info.flag_bits & _PATCHED:
        return None
    try:
        content = _unpacked(_packed(read_at, info, end), info)
    except (OSError, ValueError, OverflowError, struct.error, zlib.error):
        return None
    return content if len(content) == info.file_size and zlib.crc32(content) == info.CRC else None


def _packed(read_at: ReadAt, info: zipfile.ZipInfo, end: int) -> bytes:
    """Return a member's bytes as they are stored; ValueError or struct.error if what precedes them is not as listed."""
    about = _LOCAL.size + len(info.orig_filename) + len(info.extra) + _SPARE + info.compress_size
    data = read_at(about, info.header_offset)
    signature, flags, *lengths = _LOCAL.unpack_from(data)
    begin = _LOCAL.size + sum(lengths)
    stop = begin + info.compress_size
    if signature != _SIGNATURE or info.header_offset + stop > end:
        raise ValueError("it is not where it should be")
    if len(data) < stop:
        data = read_at(stop, info.header_offset)
    name = data[_LOCAL.size : _LOCAL.size + lengths[0]].decode("utf-8" if flags & _UTF8 else "cp437")
    if len(data) < stop or name != info.orig_filename:
        raise ValueError("it is not what it should be")
    return data[begin:stop]


def _unpacked(data: bytes, info: zipfile.ZipInfo) -> bytes:
    if info.compress_type == zipfile.ZIP_STORED:
        return data
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    content = unpacker.decompress(data, info.file_size + 1)
    if not unpacker.eof:
        raise ValueError("its end is missing")
    return content
