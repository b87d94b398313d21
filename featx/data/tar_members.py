"""Where the members of an uncompressed tar lie: also behind its first end, of hard links, and in pieces."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Sequence
from typing import IO, Any

Members = dict[str, list[int]]

_BLOCK = 512
_CHUNK = 1 << 20


Visit = Callable[[str, list[int]], None]
"""Is told of each member and its place while what was read last lies behind it."""


def tar_members(file: IO[bytes], visit: Visit | None = None) -> tuple[Members, list[str]]:
    """Return where each member lies, and the names that stand in it more than once, of which the last counts.

    A place is ``[offset, size]``, followed by each piece's start and length where the member is sparse, and ``[]``
    where it is no ordinary file. A hard link lies where the member does that it means. Archives that were joined by
    ``cat`` are read one after the other.

    Raises
    ------
    ValueError
        For an archive that is damaged or cut off: never a shorter listing.
    """
    found: Members = {}
    twice: dict[str, None] = {}
    start: int | None = 0
    while start is not None:
        file.seek(start)
        end = _read_one(file, found, twice, visit)
        start = _next_archive(file, end)
    return found, list(twice)


def _read_one(file: IO[bytes], found: Members, twice: dict[str, None], visit: Visit | None) -> int:
    """Add the members of the archive that begins here, and return where its end mark stands."""
    before = -1
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for info in archive:
            if info.offset <= before:  # a negative size would lead Python's reader in a circle for ever
                raise ValueError("its members overlap")
            before = info.offset
            archive.members = []  # type: ignore[attr-defined]  # or it keeps them all
            if not info.isdir():
                name = plain_name(info.name)
                if name in found:
                    twice[name] = None
                found[name] = _place(info, found)
                if visit:
                    visit(name, found[name])
        return int(archive.offset)


def _place(info: tarfile.TarInfo, found: Members) -> list[int]:
    if info.islnk():  # to what stood under that name when it was written
        return found.get(plain_name(info.linkname), [])
    if not info.isreg():
        return []
    sparse: Any = info.sparse  # pairs of start and length, whatever its stub says
    pieces = [] if sparse is None else [number for piece in sparse or [(0, 0)] for number in piece]
    return [info.offset_data, info.size, *pieces]


def _next_archive(file: IO[bytes], end: int) -> int | None:
    """Return where another archive begins behind this one's end mark; None where nothing but zeros follows."""
    file.seek(end)
    # Python's reader stops without a word at a damaged header and where the file was cut off.
    if file.read(_BLOCK) != bytes(_BLOCK):
        raise ValueError("it is damaged or cut off")
    at = file.tell()
    while chunk := file.read(_CHUNK):
        if rest := chunk.lstrip(b"\0"):
            at += (len(chunk) - len(rest)) // _BLOCK * _BLOCK
            _check_header(file, at)
            return at
        at += len(chunk)
    return None


def _check_header(file: IO[bytes], at: int) -> None:
    """Raise ValueError where what follows an archive's end is no other archive."""
    file.seek(at)
    try:
        tarfile.TarInfo.frombuf(file.read(_BLOCK), "utf-8", "surrogateescape")
    except tarfile.HeaderError as exc:
        raise ValueError(f"what follows its end at byte {at:,} is no other tar") from exc


def plain_name(name: str) -> str:
    """Return where a member lies below the top: without a slash first, empty parts and ``.``, each ``..`` gone up.

    Two dots are left where a name begins with them, or climbs above the top. Nothing is left of one that names the top.
    """
    parts: list[str] = []
    for part in name.split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def assembled(stored: bytes, size: int, pieces: Sequence[int]) -> bytes:
    """Return a sparse member's content of `size` bytes, zeros where no piece is.

    Raises
    ------
    ValueError
        For pieces that overlap, or lie outside.
    """
    data = bytearray(size)
    end = at = 0
    for start, length in zip(pieces[::2], pieces[1::2], strict=True):
        if length == 0:  # GNU tar's mark of where the file ends
            continue
        if length < 0 or start < end or start + length > size:
            raise ValueError("its pieces overlap or lie outside")
        end = start + length
        data[start:end] = stored[at : at + length]
        at += length
    return bytes(data)


def stored_bytes(place: Sequence[int]) -> int:
    """Return how many bytes of the archive a member takes."""
    return sum(place[3::2]) if len(place) > 2 else place[1]
