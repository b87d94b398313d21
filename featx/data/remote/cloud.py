"""Objects of stores that have a listing: S3's protocol by s3fs, Google's by gcsfs. Credentials are their business."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featx.data.remote.failures import TruncatedError
from featx.data.remote.objects import Info, filesystem, stamp_of
from featx.data.remote.requests import Policy

_TAGS = ("ETag", "etag", "generation", "md5Hash", "crc32c")


class CloudObjects:
    """Objects in buckets.

    Parameters
    ----------
    scheme : str
        ``s3``, ``gs`` or ``gcs``.
    how : Policy
        How servers are asked.
    """

    lists = True

    def __init__(self, scheme: str, how: Policy) -> None:
        self._fs = filesystem(scheme, **(_s3_options(how) if scheme == "s3" else {}))
        if scheme == "s3":
            # s3fs's own tries would multiply with ours: 30 requests to a server in trouble.
            self._fs.retries = 1
        # Else s3fs asks for the size of what is read whole.
        self._whole = {"max_concurrency": 1} if scheme == "s3" else {}

    def info(self, url: str) -> Info:
        """Return what is known of an object."""
        return _of_listing(self._fs.info(_path(url)))

    def get(self, url: str, most: int, known: Info | None) -> tuple[bytes, Info]:
        """Return all of an object and what is known of it, without asking if a listing said; of a large one nothing."""
        info = known or self.info(url)
        if info.size is not None and info.size > most:
            return b"", info
        data: bytes = self._fs.cat_file(_path(url), **self._whole)
        if info.size is not None and len(data) != info.size:
            raise TruncatedError(f"{len(data):,} of {info.size:,} bytes came")
        return data, info

    def part(self, url: str, offset: int, size: int) -> tuple[bytes, Info | None]:
        """Return `size` bytes from `offset` on; nothing is known from it."""
        return self._fs.cat_file(_path(url), start=offset, end=offset + size), None

    def find(self, url: str) -> dict[str, Info]:
        """Return all objects below a prefix, by their names after it; its library asks page by page."""
        folder = _path(url) + "/"
        found = self._fs.find(folder, detail=True)
        return {
            name.removeprefix(folder): _of_listing(about)
            for name, about in found.items()
            if about.get("type") == "file" and name.startswith(folder) and not name.endswith("/")
        }


def _path(url: str) -> str:
    return url.partition("://")[2].rpartition("@")[2].rstrip("/")


def _of_listing(about: Mapping[str, Any]) -> Info:
    if about.get("type") == "directory":
        raise FileNotFoundError("a folder")
    size = about.get("size")
    tags = [str(about[name]) for name in _TAGS if about.get(name)]
    return Info(size, stamp_of(size, "\0".join(tags), None))


def _s3_options(how: Policy) -> dict[str, Any]:
    try:
        from fsspec.config import conf
    except ImportError:  # of which `filesystem` tells
        return {}
    # botocore keeps ten connections unless told. What the user's own configuration of fsspec says comes first.
    ours = {"max_pool_connections": how.in_flight, "connect_timeout": how.silence, "read_timeout": how.silence}
    return {"config_kwargs": {**ours, **conf.get("s3", {}).get("config_kwargs", {})}}
