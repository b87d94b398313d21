"""Facts that cost time to find out again, and nothing else when they are lost."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from featx.core.atomic import make_folder, parse_json, read_bytes, write_bytes
from featx.core.hashing import canonical_json, digest_of
from featx.errors import OptionError, StoreError

MAX_MEMO_BYTES = 256 << 20
"""Larger memos are neither written nor read: what may grow beyond is kept as several."""


_KIND = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")
_HEAD, _MIDDLE, _TAIL = b'{"check":"', b'","memo":', b"}\n"
_CHECK = 32
_BODY = len(_HEAD) + 64 + len(_MIDDLE)


class Memo:
    """Remembered facts, one file each, below ``<home>/memo``.

    A damaged file counts as absent; a file that cannot be written is not remembered. Only speed is lost.

    Parameters
    ----------
    home : Path
        featx's home folder.
    """

    def __init__(self, home: Path) -> None:
        self.home = Path(home)
        self.folder = self.home / "memo"

    def get(self, kind: str, about: Mapping[str, Any]) -> Any | None:
        """Return what was remembered about `about` (JSON-able values), or None."""
        path = self._path(kind, about)
        try:
            data = read_bytes(path, MAX_MEMO_BYTES)
            body = data[_BODY : -len(_TAIL)]
            if data != _framed(body):
                return None
            memo = parse_json(path, body)
        except StoreError:
            return None
        # A file copied to another name is whole, and still no answer.
        if not isinstance(memo, dict) or memo.get("about") != digest_of(dict(about)):
            return None
        return memo.get("value")

    def put(self, kind: str, about: Mapping[str, Any], value: Any) -> None:
        """Remember a JSON-able `value` about `about`."""
        path = self._path(kind, about)
        data = _framed(canonical_json({"about": digest_of(dict(about)), "value": value}))
        if len(data) <= MAX_MEMO_BYTES:
            with suppress(StoreError):
                make_folder(self.folder)
                write_bytes(path, data)

    def get_bytes(self, kind: str, about: Mapping[str, Any]) -> bytes | None:
        """Return what `put_bytes` remembered about `about`, or None."""
        try:
            data = memoryview(read_bytes(self._path(kind, about, "bin"), MAX_MEMO_BYTES))
        except StoreError:
            return None
        value = data[_CHECK:]
        return bytes(value) if data[:_CHECK] == _check(about, value) else None

    def put_bytes(self, kind: str, about: Mapping[str, Any], value: bytes) -> None:
        """Remember bytes about `about`: tables of a million rows, for which JSON would need a gigabyte."""
        path = self._path(kind, about, "bin")
        if _CHECK + len(value) <= MAX_MEMO_BYTES:
            with suppress(StoreError):
                make_folder(self.folder)
                write_bytes(path, _check(about, value) + value)

    def has_bytes(self, kind: str, about: Mapping[str, Any]) -> bool:
        """Tell whether something was remembered about `about`, sound or not."""
        return self._path(kind, about, "bin").is_file()

    def forget(self, kind: str, about: Mapping[str, Any]) -> None:
        """Remove what `put_bytes` remembered about `about`, if anything."""
        with suppress(OSError):
            self._path(kind, about, "bin").unlink()

    def _path(self, kind: str, about: Mapping[str, Any], suffix: str = "json") -> Path:
        if not _KIND.fullmatch(kind):
            raise OptionError(f"memo kind {kind!r}, expected lower-case letters, digits and '-'")
        return self.folder / f"{kind}-{digest_of(dict(about))}.{suffix}"


def _check(about: Mapping[str, Any], value: bytes | memoryview) -> bytes:
    # Of both: a file copied to another name is whole, and still no answer.
    digest = hashlib.sha256(digest_of(dict(about)).encode())
    digest.update(value)
    return digest.digest()


def _framed(body: bytes) -> bytes:
    """Return JSON that holds `body` and its SHA-256 at fixed places: checked without parsing it twice."""
    return _HEAD + hashlib.sha256(body).hexdigest().encode() + _MIDDLE + body + _TAIL
