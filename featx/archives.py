"""Image files in an archive, read in place: nothing is ever unpacked, so that no name in it can lead anywhere."""

from __future__ import annotations

import tarfile
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from featx.arrays import check_packing
from featx.cache.memo import Memo, file_stamp, is_settled
from featx.cache.schema import UNREADABLE
from featx.depth import DIGEST
from featx.errors import ImageError, SourceError
from featx.files import Hashes, changed, check_size, hash_all, read_at

Members = dict[str, list[int]]
"""Where each member lies: name -> ``[offset, size]`` in bytes, or ``[]`` where it is no ordinary file."""

_BLOCK = 512


class ArchiveFiles:
    """An archive's members; what it lists and their hashes are remembered under its stamp.

    A kind of archive gives `kind`, `_list` and `_get`.
    """

    kind: ClassVar[str]
    hint: ClassVar[str] = "copy or download it again"
    threads: ClassVar[int | None] = None

    def __init__(self, path: Path, memo: Memo | None = None) -> None:
        self.where = str(path)
        self._path = path
        self._memo = memo
        self._stamp = file_stamp(path)
        known = memo.get(f"{self.kind}-members", self._about) if memo else None
        self._members: Members | None = known["members"] if known else None
        self._known: dict[str, str] = known["hashes"] if known else {}

    def _list(self) -> Members:
        raise NotImplementedError

    def _get(self, name: str) -> bytes:
        raise NotImplementedError

    @property
    def _about(self) -> dict[str, Any]:
        return {"stamp": self._stamp, "digest": DIGEST}

    def _is_unchanged(self) -> bool:
        try:
            return file_stamp(self._path) == self._stamp
        except OSError:
            return False

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self._path, "memo": self._memo}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"], state["memo"])  # type: ignore[misc]

    def members(self) -> Members:
        """Return where each member lies; SourceError where the archive cannot be read."""
        if self._members is None:
            try:
                self._members = self._list()
            except SourceError:
                raise
            # zipfile and tarfile pass on whatever their parsers meet: struct.error, OverflowError, RecursionError, ...
            except Exception as exc:
                reason = " ".join(str(exc).split())[:200] or type(exc).__name__
                raise SourceError(f"archive {self.where} is no readable {self.kind}: {reason}", self.hint) from exc
        return self._members

    def names(self) -> list[str]:
        return sorted(self.members())

    def read(self, name: str) -> bytes:
        try:
            return self._get(name)
        except SourceError:
            raise
        # zipfile passes on what its decompressors raise, and RuntimeError for encrypted members.
        except Exception as exc:
            if not self._is_unchanged():  # not one bad image: nothing that was listed holds any more
                raise changed(f"archive {self.where}") from exc
            raise ImageError(
                f"image {name} in {self.where} cannot be read: {' '.join(str(exc).split())[:200]}",
                "make the archive again, or use --on-error skip",
            ) from exc

    def head(self, name: str, size: int) -> bytes:
        """Return a member's first bytes; none where they cannot be had."""
        try:
            return self._head(name, size)
        except Exception:  # as of `read`, which says why
            return b""

    def _head(self, name: str, size: int) -> bytes:
        return self._get(name)[:size]

    def hashes(self, names: Sequence[str]) -> Hashes:
        missing = [name for name in names if name not in self._known]
        if missing:
            found = hash_all(self, missing, self.threads)
            self._known.update((name, row.tobytes().hex()) for name, row in zip(missing, found, strict=True))
            readable = {name: digest for name, digest in self._known.items() if digest != UNREADABLE.hex()}
            if self._memo and is_settled(self._stamp) and self._is_unchanged():
                value = {"members": self.members(), "hashes": readable}
                self._memo.put(f"{self.kind}-members", self._about, value)
        digests = bytes.fromhex("".join(self._known[name] for name in names))
        return np.frombuffer(digests, np.uint8).reshape(-1, 32)


class ZipFiles(ArchiveFiles):
    """The members of a zip archive."""

    kind = "zip"
    threads = 1  # one open archive, which one thread reads at a time

    def __init__(self, path: Path, memo: Memo | None = None) -> None:
        super().__init__(path, memo)
        self._lock = threading.Lock()
        self._archive: zipfile.ZipFile | None = None

    def _open(self) -> zipfile.ZipFile:
        with self._lock:
            if self._archive is None:
                self._archive = zipfile.ZipFile(self._path)
            return self._archive

    def _list(self) -> Members:
        return {i.filename: [i.header_offset, i.file_size] for i in self._open().infolist() if not i.is_dir()}

    def _head(self, name: str, size: int) -> bytes:
        archive = self._open()
        info = archive.getinfo(name)
        check_packing(info)
        with archive.open(info) as member:
            return member.read(size)

    def _get(self, name: str) -> bytes:
        archive = self._open()
        info = archive.getinfo(name)
        check_size(name, info.file_size)
        check_packing(info)
        with archive.open(info) as member:
            # Without a number zipfile unpacks all there is first, however little the listing says that is.
            return member.read(info.file_size + 1)


class TarFiles(ArchiveFiles):
    """The members of an uncompressed tar archive, read by offset. Links inside are never followed."""

    kind = "tar"
    hint = "it must be an uncompressed tar; make or download it again"

    def _list(self) -> Members:
        found: Members = {}
        before = -1
        with self._path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for info in archive:
                if info.offset <= before:  # a negative size would lead Python's reader in a circle for ever
                    raise ValueError("its members overlap")
                before = info.offset
                archive.members = []  # type: ignore[attr-defined]  # or it keeps them all
                if not info.isdir():
                    plain = info.isreg() and not info.issparse()
                    found[_plain(info.name)] = [info.offset_data, info.size] if plain else []
            file.seek(archive.offset)
            # Python's reader stops without a word at a damaged header and where the file was cut off.
            if file.read(_BLOCK) != bytes(_BLOCK):
                raise ValueError("it is damaged or cut off")
        return found

    def _head(self, name: str, size: int) -> bytes:
        place = self.members().get(name)
        return read_at(self._path, self._stamp, place[0], min(size, place[1])) if place else b""

    def _get(self, name: str) -> bytes:
        place = self.members().get(name)
        if not place:
            raise ImageError(f"image {name} is no ordinary file in {self.where}", "links in it are not followed")
        offset, size = place
        check_size(name, size)
        data = read_at(self._path, self._stamp, offset, size)
        if len(data) < size:
            raise ImageError(f"image {name} in {self.where} is cut off", self.hint)
        return data


def _plain(name: str) -> str:
    # `tar cf x.tar .` writes ./cats/1.jpg
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name
