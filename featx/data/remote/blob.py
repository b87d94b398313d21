"""An object read in parts, by ranges where its server gives them, else copied once to this machine."""

from __future__ import annotations

import io
import os
import tempfile
import threading
import weakref
from typing import IO, Any

from featx.core.urls import safe_url, url_folder, url_name
from featx.data.blob import ReadAt
from featx.data.files import changed
from featx.data.remote.failures import RequestError
from featx.data.remote.objects import Info, NoRangesError
from featx.data.remote.reading import remote, source_error
from featx.errors import SourceError

WINDOW = 4 << 20
"""Bytes that are read at a time where an object is read from its beginning to its end."""

MAX_COPY = 4 << 30
"""Largest object that is copied because its server gives no parts of it."""

_BY_HAND = "download it, and name the file"


class RemoteBlob:
    """An object that is read in parts; SourceError where it is not there.

    Parameters
    ----------
    url : str
        Where it is.
    info : Info, optional
        What a listing said of it.
    """

    def __init__(self, url: str, info: Info | None = None) -> None:
        self.url = url
        self.where, self.name, self.folder = safe_url(url), url_name(url), safe_url(url_folder(url))
        self.in_flight = remote().requests.policy.in_flight
        try:
            found = info or remote().info(url)
        except RequestError as exc:
            failed = exc
        else:
            self._begin(found)
            return
        raise source_error(self.where, failed)

    def _begin(self, info: Info) -> None:
        if info.size is None:
            raise SourceError(f"{self.where} has no known size: its server does not say", _BY_HAND)
        self.size, self.stamp = info.size, info.stamp
        self._ranges = info.ranges
        self._lock = threading.Lock()
        self._copy: IO[bytes] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "info": Info(self.size, self.stamp, self._ranges)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["url"], state["info"])  # type: ignore[misc]

    def is_unchanged(self) -> bool:
        """Tell whether the object still is the one that has this stamp."""
        try:
            return remote().info(self.url).stamp == self.stamp
        except RequestError:
            return True  # of which reading tells

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on, fewer where it ends; SourceError where it changed."""
        size = max(0, min(size, self.size - offset))
        if size == 0:
            return b""
        if self._ranges:
            try:
                return self._part(offset, size)
            except NoRangesError:
                self._ranges = False
        return os.pread(self._copied().fileno(), size, offset)

    def _part(self, offset: int, size: int) -> bytes:
        try:
            data, info = remote().part(self.url, offset, size)
        except RequestError as exc:
            failed = exc
        else:
            if (info is not None and info.stamp != self.stamp) or len(data) != size:
                raise changed(self.where)
            return data
        raise source_error(self.where, failed)

    def _copied(self) -> IO[bytes]:
        with self._lock:
            if self._copy is None:
                if self.size > MAX_COPY:
                    raise SourceError(
                        f"{self.where} has {self.size:,} bytes, and its server gives no parts of it", _BY_HAND
                    )
                self._copy = self._fetched()
            return self._copy

    def _fetched(self) -> IO[bytes]:
        """Return a nameless file with all of it, which goes when nobody reads it any more."""
        try:
            data, info = remote().get(self.url, self.size)
        except RequestError as exc:
            failed = exc
        else:
            if info.stamp != self.stamp or len(data) != self.size:
                raise changed(self.where)
            copy = tempfile.TemporaryFile()  # noqa: SIM115 - read as long as anybody holds it
            weakref.finalize(self, copy.close)
            copy.write(data)
            copy.flush()
            return copy
        raise source_error(self.where, failed)

    def open(self) -> IO[bytes]:
        """Return it as a file to read, a window at a time."""
        return io.BufferedReader(_Stream(self), WINDOW)

    def reading(self, file: IO[bytes]) -> ReadAt:
        """Return what reads parts of what `open` returned."""
        return lambda size, offset: self.read(offset, size)


class _Stream(io.RawIOBase):
    """An object as a file without a buffer."""

    def __init__(self, blob: RemoteBlob) -> None:
        super().__init__()
        self._blob, self._at = blob, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._blob.size}[whence]
        if start + offset < 0:
            raise ValueError("before the beginning")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self._blob.read(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
