"""Image files in an archive, read in place: nothing is ever unpacked, so that no name in it can lead anywhere."""

from __future__ import annotations

import threading
import warnings
import weakref
import zipfile
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np

from featx.cache.memo import Memo
from featx.cache.schema import is_unreadable
from featx.core.file_stamps import is_settled
from featx.data.blob import Blob, ReadAt, as_blob
from featx.data.depth import DIGEST, content_digest
from featx.data.files import MAX_FILE_BYTES, Hashes, changed, check_size, hash_all
from featx.data.listing import find_images
from featx.data.tar_members import assembled, plain_name, stored_bytes, tar_members
from featx.data.zip_members import check_readable, ends_of, member_names, plain_member
from featx.errors import FeatxWarning, ImageError, SourceError, first_few

Members = dict[str, list[int]]
"""Where each member is: name -> ``[offset, size]`` in bytes, or ``[]`` if it is not an ordinary file."""

_READER = 3
"""Rises when archives of some kind are listed otherwise: what was remembered before counts no more."""


class ArchiveFiles:
    """An archive's members; what it lists and their hashes are remembered under its stamp.

    A kind of archive gives `kind`, `_list` and `_get`.
    """

    kind: ClassVar[str]
    hint: ClassVar[str] = "copy or download it again"
    threads: ClassVar[int | None] = None

    def __init__(self, place: Path | Blob, memo: Memo | None = None) -> None:
        self._blob = as_blob(place)
        self.where = self._blob.where
        self.in_flight = self._blob.in_flight
        self._memo = memo
        self._stamp = self._blob.stamp
        known = memo.get(f"{self.kind}-members", self._about) if memo else None
        self._members: Members | None = known["members"] if known else None
        self._twice: list[str] = known["twice"] if known else []
        self._known: dict[str, str] = known["hashes"] if known else {}
        self._is_remembered = known is not None

    def _list(self) -> Members:
        """Return where each member is; names that occur more than once are put into `_twice`."""
        raise NotImplementedError

    def _get(self, name: str) -> bytes:
        raise NotImplementedError

    def _above(self, names: Collection[str]) -> str:
        """Return the ``../`` that all plain names begin with: where they lie to each other is all that counts.

        Raises
        ------
        SourceError
            Where only some lead out: two members could become one row, or a split a class.
        """
        outside = [name for name in names if name.split("/")[0] in ("", "..")]
        if not outside:
            return ""
        ups = {name.split("/").count("..") for name in names}
        if len(ups) == 1 and all(name.split("/")[-1] not in ("", "..") for name in outside):
            return "../" * ups.pop()
        furthest = max(outside, key=lambda name: name.count("../"))
        raise SourceError(
            f"archive {self.where} holds {first_few([furthest or '.'])}, which leads out of the others' folder; "
            "expected all members in one folder",
            "recreate it from the folder that contains them all, without .. in names",
        )

    @property
    def _about(self) -> dict[str, Any]:
        return {"stamp": self._stamp, "reader": _READER, "digest": DIGEST}

    def __getstate__(self) -> dict[str, Any]:
        return {"blob": self._blob, "memo": self._memo}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["blob"], state["memo"])  # type: ignore[misc]

    def members(self) -> Members:
        """Return where each member is; SourceError if the archive cannot be read."""
        if self._members is None:
            try:
                self._members = self._list()
            except SourceError:
                raise
            # zipfile and tarfile pass on whatever their parsers meet: struct.error, OverflowError, RecursionError, ...
            except Exception as exc:
                reason = " ".join(str(exc).split())[:200] or type(exc).__name__
                raise SourceError(f"archive {self.where} is not a readable {self.kind}: {reason}", self.hint) from exc
        return self._members

    def names(self) -> list[str]:
        """Return the members' names, sorted; warn if several images have the same name."""
        found = sorted(self.members())
        if twice := find_images(self._twice, self.head).images:
            text = f"archive {self.where} has several images with the same name, of which the last is used: "
            warnings.warn(text + first_few(twice), FeatxWarning, stacklevel=2)
        return found

    def read(self, name: str) -> bytes:
        """Return a member's content; ImageError where it cannot be had, SourceError where the archive changed."""
        try:
            return self._get(name)
        except SourceError:
            raise
        # zipfile passes on what its decompressors raise, and RuntimeError for encrypted members.
        except Exception as exc:
            if not self._blob.is_unchanged():  # not one bad image: nothing that was listed holds any more
                raise changed(f"archive {self.where}") from exc
            why = " ".join(str(exc).split())[:200] or type(exc).__name__
            raise ImageError(
                f"image {name} in {self.where} cannot be read: {why}",
                "recreate the archive (zip -r, without a password), or use --on-error skip",
                reason=f"image {name} cannot be read: {why}",
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
        """Return the SHA-256 of each image's content, uint8 (n, 32)."""
        missing = [name for name in names if name not in self._known]
        if missing:
            found = hash_all(self, missing, self.in_flight or self.threads)
            self._known.update((name, row.tobytes().hex()) for name, row in zip(missing, found, strict=True))
        if missing or not self._is_remembered:
            self._is_remembered = True
            if self._memo and is_settled(self._stamp) and self._blob.is_unchanged():
                value = {"members": self.members(), "twice": self._twice, "hashes": self._readable()}
                self._memo.put(f"{self.kind}-members", self._about, value)
        return self._digests(names)

    def _digests(self, names: Sequence[str]) -> Hashes:
        digests = bytes.fromhex("".join(self._known[name] for name in names))
        return np.frombuffer(digests, np.uint8).reshape(-1, 32)

    def _readable(self) -> dict[str, str]:
        names = list(self._known)
        bad = is_unreadable(self._digests(names))
        return {name: self._known[name] for name, is_bad in zip(names, bad.tolist(), strict=True) if not is_bad}


class ZipFiles(ArchiveFiles):
    """The members of a zip archive."""

    kind = "zip"
    threads = 1  # one open archive, which one thread reads at a time

    def __init__(self, place: Path | Blob, memo: Memo | None = None) -> None:
        super().__init__(place, memo)
        self._lock = threading.Lock()
        self._opened: tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]] | None = None
        self._ends: dict[int, int] = {}
        self._read_at: ReadAt | None = None

    def _open(self) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
        with self._lock:
            if self._opened is None:
                file = self._blob.open()
                weakref.finalize(self, file.close)  # zipfile closes only what it opened
                archive = zipfile.ZipFile(file)
                found: dict[str, zipfile.ZipInfo] = {}
                twice: dict[str, None] = {}
                infos = archive.infolist()
                spelt = zip(member_names(infos), infos, strict=True)
                files = [(plain_name(name), info) for name, info in spelt if not name.endswith("/")]
                above = self._above([name for name, _ in files])
                for name, info in files:
                    inside = name.removeprefix(above)
                    if inside in found:
                        twice[inside] = None
                    found[inside] = info
                self._ends, self._read_at = ends_of(archive), self._blob.reading(file)
                self._opened, self._twice = (archive, found), list(twice)
            return self._opened

    def _list(self) -> Members:
        infos = self._open()[1]
        return {name: [i.header_offset, i.file_size] for name, i in infos.items()}

    def _head(self, name: str, size: int) -> bytes:
        archive, infos = self._open()
        info = infos[name]
        check_readable(info)
        with archive.open(info) as member:
            return member.read(size)

    def _get(self, name: str) -> bytes:
        archive, infos = self._open()
        info = infos[name]
        check_size(name, info.file_size)
        check_readable(info)
        assert self._read_at is not None
        data = plain_member(self._read_at, info, self._ends[info.header_offset])
        if data is not None:
            return data
        with archive.open(info) as member:
            # Without a number zipfile unpacks all there is first, however little the listing says that is.
            return member.read(info.file_size + 1)


class TarFiles(ArchiveFiles):
    """The members of an uncompressed tar archive, read by offset; of links only hard ones, to what it holds itself."""

    kind = "tar"
    hint = "it must be an uncompressed tar; recreate or download it again"

    def _list(self) -> Members:
        with self._blob.open() as file:
            # Over a network all that lies between the headers comes anyway.
            found, twice = tar_members(file, partial(self._hash, file) if self.in_flight else None)
        above = self._above(found)
        self._known = {name.removeprefix(above): digest for name, digest in self._known.items()}
        self._twice = [name.removeprefix(above) for name in twice]
        return {name.removeprefix(above): place for name, place in found.items()}

    def _hash(self, file: IO[bytes], name: str, place: list[int]) -> None:
        self._known.pop(name, None)
        if len(place) == 2 and 0 <= place[1] <= MAX_FILE_BYTES:
            file.seek(place[0])
            data = file.read(place[1])
            if len(data) == place[1]:
                self._known[name] = content_digest(data).hex()

    def _head(self, name: str, size: int) -> bytes:
        place = self.members().get(name)
        if place and len(place) == 2:
            return self._blob.read(place[0], min(size, place[1]))
        return super()._head(name, size)  # in pieces, with holes between them

    def _get(self, name: str) -> bytes:
        place = self.members().get(name)
        if not place:
            raise ImageError(
                f"image {name} is no ordinary file in {self.where}",
                "only hard links are followed, to members that come before them",
                reason=f"image {name} is no ordinary file",
            )
        offset, size, *pieces = place
        wanted = stored_bytes(place)
        check_size(name, max(size, wanted))
        data = self._blob.read(offset, wanted)
        if len(data) < wanted:
            raise ImageError(f"image {name} in {self.where} is cut off", self.hint, reason=f"image {name} is cut off")
        return assembled(data, size, pieces) if pieces else data
