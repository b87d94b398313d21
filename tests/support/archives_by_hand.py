"""Archives as other tools make them, built from bytes, so that the tools need not be there."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"


def zip_of(
    path: Path,
    files: Mapping[str, bytes],
    *,
    flags: int = 0,
    without: int = 0,
    method: int | None = None,
    system: int = 3,
    extra: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a zip whose members all have these flags (or are `without` some), this way of packing and this system."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.create_system = system
            info.extra = (extra or {}).get(name, b"")
            archive.writestr(info, content)
    data = bytearray(out.getvalue())
    for signature, at in ((LOCAL, 6), (CENTRAL, 8)):
        start = data.find(signature)
        while start >= 0:
            old, packed = struct.unpack_from("<HH", data, start + at)
            struct.pack_into("<HH", data, start + at, (old | flags) & ~without, packed if method is None else method)
            start = data.find(signature, start + 4)
    path.write_bytes(data)
    return path


def tar_bytes(members: Sequence[tuple[tarfile.TarInfo | str, bytes]], form: int = tarfile.GNU_FORMAT) -> bytes:
    """Return a tar; a name alone is an ordinary file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for member, content in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def hard_link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.LNKTYPE, target
    return info


def old_sparse(name: str, size: int, pieces: Sequence[tuple[int, bytes]]) -> bytes:
    """Return the blocks of a sparse member as GNU tar writes them: at most four pieces, in the header itself."""
    stored = b"".join(content for _, content in pieces)
    info = tarfile.TarInfo(name)
    info.type, info.size = tarfile.GNUTYPE_SPARSE, len(stored)
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    for i, (start, content) in enumerate(pieces):
        header[386 + 24 * i : 410 + 24 * i] = b"%011o\0%011o\0" % (start, len(content))
    header[483:495] = b"%011o\0" % size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + stored + bytes(-len(stored) % 512)


def pax_sparse(name: str, size: int, pieces: Sequence[tuple[int, bytes]]) -> bytes:
    """Return the blocks of a sparse member as `tar --format=pax --sparse` writes them: format 1.0."""
    table = "".join(f"{number}\n" for start, content in pieces for number in (start, len(content)))
    head = f"{len(pieces)}\n{table}".encode()
    stored = head + bytes(-len(head) % 512) + b"".join(content for _, content in pieces)
    info = tarfile.TarInfo(f"GNUSparseFile.1/{name}")
    info.size = len(stored)
    info.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": name,
        "GNU.sparse.realsize": str(size),
    }
    return info.tobuf(tarfile.PAX_FORMAT) + stored + bytes(-len(stored) % 512)
