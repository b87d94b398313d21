"""Single objects as files: those below a prefix, and those that a list or manifest names by their URLs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath

import numpy as np
import numpy.typing as npt

from featx.cache.memo import Memo
from featx.cache.schema import is_unreadable, unreadable
from featx.core.file_stamps import is_settled
from featx.core.urls import WEB, below, is_url, safe_url, scheme_of, url_folder
from featx.data.depth import DIGEST, content_digest
from featx.data.files import MAX_FILE_BYTES, Hashes, check_size
from featx.data.hash_table import FileTable, Stamps, tags
from featx.data.remote.failures import STANDING, LeapError, RequestError
from featx.data.remote.objects import Info
from featx.data.remote.reading import remote, source_error
from featx.data.remote.web import check_leap
from featx.errors import ImageError, SourceError


class UrlFiles:
    """Objects by their URLs, or by their names below a prefix.

    A hash is remembered under the object's name, size and ETag, so that a second look reads no image: it asks for a
    listing, or for what is known of each object.

    Parameters
    ----------
    where : str
        What to call the place in an error, without secrets.
    memo : Memo, optional
        Remembers content hashes.
    base : str
        The prefix that names lie below, with a slash at its end; '' where names are URLs.
    listed : mapping of str to Info, optional
        What a listing said of the objects, by name.
    """

    def __init__(
        self, where: str, memo: Memo | None = None, base: str = "", listed: Mapping[str, Info] | None = None
    ) -> None:
        self.where, self._memo, self._base, self._listed = where, memo, base, dict(listed or {})
        self.in_flight = remote().requests.policy.in_flight

    @classmethod
    def below(cls, url: str, memo: Memo | None) -> UrlFiles:
        """List what lies below a prefix.

        Raises
        ------
        SourceError
            Nothing lies there, or it may not be listed.
        """
        base = url.rstrip("/") + "/"
        where = safe_url(url)
        try:
            listed = remote().find(base)
        except RequestError as exc:
            failed = exc
        else:
            if not listed:
                raise SourceError(f"there is nothing below {where}", "check its name")
            return cls(where, memo, base, listed)
        raise source_error(where, failed)

    def names(self) -> list[str]:
        """Return the names of all objects that were listed, sorted."""
        return sorted(self._listed)

    def info(self, name: str) -> Info | None:
        """Return what the listing said of an object."""
        return self._listed.get(name)

    def url(self, name: str) -> str:
        """Return where an object is."""
        return name if is_url(name) else below(self._base, name)

    def read(self, name: str) -> bytes:
        """Return an object's content; ImageError where it cannot be had, SourceError where its server cannot."""
        return self._read(name)[0]

    def _read(self, name: str) -> tuple[bytes, list[int]]:
        called = safe_url(name)
        try:
            data, info = remote().get(self.url(name), MAX_FILE_BYTES, self.info(name))
        except RequestError as exc:
            failed = exc
        else:
            check_size(called, max(len(data), info.size or 0))
            return data, info.stamp
        if failed.kind not in STANDING:
            raise source_error(f"image {called} of {self.where}", failed)
        what = f"image {called} cannot be read: "
        hint = "check the object, or use --on-error skip"
        raise ImageError(f"{what}{failed}; it is one of {self.where}", hint, reason=what + STANDING[failed.kind])

    def head(self, name: str, size: int) -> bytes:
        """Return an object's first bytes; none where they cannot be had."""
        try:
            return remote().part(self.url(name), 0, size)[0][:size]
        except Exception:  # reading says why
            return b""

    def hashes(self, names: Sequence[str]) -> Hashes:
        """Return the SHA-256 of each object's content, uint8 (n, 32); what is remembered is not read."""
        # Of the URLs as they are shown: a signature is another one tomorrow.
        about = {"base": safe_url(self._base), "digest": DIGEST}
        known = FileTable.from_bytes(self._memo.get_bytes("objects", about) if self._memo else None)
        seen = tags([safe_url(name) for name in names])
        stamps = self._stamps(names, np.isin(seen, known.tags))
        found, missing = known.look_up(seen, stamps)
        read = remote().map(self._digest, (names[i] for i in missing))
        for i, (digest, stamp) in zip(missing.tolist(), read, strict=True):
            found[i], stamps[i] = np.frombuffer(digest, np.uint8), stamp
        if self._memo:
            keep = [
                i for i in missing.tolist() if is_settled(stamps[i].tolist()) and not is_unreadable(found[i][None])[0]
            ]
            new = known.updated(FileTable(seen[keep], stamps[keep], found[keep]), None)
            if new is not known:
                self._memo.put_bytes("objects", about, new.to_bytes())
        return found

    def _stamps(self, names: Sequence[str], may_be_known: npt.NDArray[np.bool_]) -> Stamps:
        """Return the stamps of objects of which something is remembered; of all others, zeros."""
        stamps = np.zeros((len(names), 4), np.uint64)
        at = np.flatnonzero(may_be_known).tolist()
        for i, stamp in zip(at, remote().map(self._stamp, (names[i] for i in at)), strict=True):
            stamps[i] = stamp
        return stamps

    def _stamp(self, name: str) -> list[int]:
        if info := self.info(name):
            return info.stamp
        try:
            return remote().info(self.url(name)).stamp
        except RequestError:  # reading says why
            return [0, 0, 0, 0]

    def _digest(self, name: str) -> tuple[bytes, list[int]]:
        try:
            data, stamp = self._read(name)
            return content_digest(data), stamp
        except ImageError as exc:
            return unreadable(exc.reason), [0, 0, 0, (1 << 63) - 1]


class UrlBase:
    """The folder of a remote list or manifest, which its relative paths lie below.

    Parameters
    ----------
    url : str
        Of the list.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.name = f"{safe_url(url_folder(url))}, or a URL"

    def name_of(self, path: str) -> str | None:
        """Return a path relative to the folder; None for one that could lead out of it, or to a local file."""
        pure = PurePosixPath(path)
        if ".." in pure.parts or pure.is_absolute() or "\0" in path or PureWindowsPath(path).drive:
            return None
        return str(pure)

    def refusal(self, url: str) -> str:
        """Return why a URL must not be followed from here, '' if it may be."""
        if scheme_of(url) not in WEB:
            return ""
        try:
            check_leap(self._url, url)
        except LeapError as exc:
            return str(exc)
        return ""


def whole_object(url: str) -> bytes:
    """Return a text's or list's bytes; SourceError where it cannot be read, or is no size for one."""
    try:
        data, _ = remote().get(url, MAX_FILE_BYTES)
    except RequestError as exc:
        failed = exc
    else:
        if len(data) > MAX_FILE_BYTES:
            raise SourceError(
                f"{safe_url(url)} has more than {MAX_FILE_BYTES:,} bytes, too many for a list", "split it"
            )
        return data
    raise source_error(safe_url(url), failed)
