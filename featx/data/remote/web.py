"""Objects of web servers, by fsspec's session: what an answer says of itself is compared with what came."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from featx.core.urls import WEB
from featx.data.remote.failures import LeapError, TruncatedError
from featx.data.remote.objects import Info, NoRangesError, filesystem, stamp_of
from featx.data.remote.requests import Policy
from featx.errors import OptionError

_TOTAL = re.compile(r"bytes\s+(?:(\d+)-(\d+)|\*)/(\d+)")
_CHUNK = 1 << 18


class _StatusError(Exception):
    """An answer that is none of the object."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class WebObjects:
    """Objects of servers that list nothing.

    Parameters
    ----------
    scheme : str
        ``http`` or ``https``.
    how : Policy
        How servers are asked.
    """

    lists = False

    def __init__(self, scheme: str, how: Policy) -> None:
        self._fs = filesystem(scheme, get_client=_guarded_client, client_kwargs=_client_options(how))

    def info(self, url: str) -> Info:
        """Return what is known of an object, from an answer with its first byte: signed URLs allow no HEAD."""
        return self._run(url, {"Range": "bytes=0-0"}, 1, None)[1]

    def get(self, url: str, most: int, known: Info | None) -> tuple[bytes, Info]:
        """Return all of an object, of a larger one more than `most`, and what the answer says of it."""
        return self._run(url, {}, most, None)

    def part(self, url: str, offset: int, size: int) -> tuple[bytes, Info | None]:
        """Return `size` bytes from `offset` on, fewer where it ends, and what the answer says of the object."""
        return self._run(url, {"Range": f"bytes={offset}-{offset + size - 1}"}, size, offset)

    def find(self, url: str) -> dict[str, Info]:
        """Raise OptionError: there is no listing."""
        raise OptionError("http has no listing", "name an archive, a list or a Parquet manifest")

    def _run(self, url: str, headers: Mapping[str, str], most: int, offset: int | None) -> tuple[bytes, Info]:
        from fsspec.asyn import sync

        found: tuple[bytes, Info] = sync(self._fs.loop, self._ask, url, headers, most, offset)
        return found

    async def _ask(self, url: str, headers: Mapping[str, str], most: int, offset: int | None) -> tuple[bytes, Info]:
        session = await self._fs.set_session()
        options = dict(self._fs.kwargs)
        # Packed on the way it could not be compared with its length.
        asked = {**options.pop("headers", {}), "Accept-Encoding": "identity", **headers}
        async with session.get(self._fs.encode_url(url), headers=asked, **options) as answer:
            if answer.status == 416 and (found := _TOTAL.fullmatch(answer.headers.get("Content-Range", ""))):
                return b"", _info(int(found[3]), answer.headers)  # nothing lies there
            if answer.status not in (200, 206):
                raise _StatusError(answer.status)
            info = _info(_total(answer), answer.headers, ranges=answer.status == 206)
            if "Range" in headers and not info.ranges:
                if offset is not None:
                    raise NoRangesError
                return b"", info
            return await _body(answer, most, offset), info


async def _body(answer: Any, most: int, offset: int | None) -> bytes:
    """Return what comes, up to a piece more than `most` bytes; TruncatedError unless it is what was announced."""
    data = bytearray()
    async for chunk in answer.content.iter_chunked(_CHUNK):
        data += chunk
        if len(data) > most:
            return bytes(data)
    said = answer.content_length
    if said is not None and not answer.headers.get("Content-Encoding") and len(data) != said:
        raise TruncatedError(f"{len(data):,} of {said:,} bytes came")
    if offset is not None:
        found = _TOTAL.fullmatch(answer.headers.get("Content-Range", ""))
        if found is None or found[1] is None or int(found[1]) != offset:
            raise NoRangesError
        if len(data) != int(found[2]) - offset + 1:
            raise TruncatedError(f"{len(data):,} of {int(found[2]) - offset + 1:,} bytes came")
    return bytes(data)


def _total(answer: Any) -> int | None:
    if answer.status == 206:
        found = _TOTAL.fullmatch(answer.headers.get("Content-Range", ""))
        return int(found[3]) if found else None
    size: int | None = None if answer.headers.get("Content-Encoding") else answer.content_length
    return size


def _info(size: int | None, headers: Mapping[str, str], *, ranges: bool = True) -> Info:
    try:
        modified = parsedate_to_datetime(headers.get("Last-Modified", "")).timestamp()
    except ValueError:
        modified = None
    return Info(size, stamp_of(size, headers.get("ETag", ""), modified), ranges)


def _client_options(how: Policy) -> dict[str, Any]:
    try:
        import aiohttp
        from fsspec.config import conf
    except ImportError:  # of which `filesystem` tells
        return {}
    limits = aiohttp.ClientTimeout(total=None, sock_connect=how.silence, sock_read=how.silence)
    return {"timeout": limits, **conf.get("http", {}).get("client_kwargs", {})}


async def _guarded_client(**options: Any) -> Any:
    import aiohttp

    guard = aiohttp.TraceConfig()
    guard.on_request_redirect.append(_check_redirect)
    return aiohttp.ClientSession(**options, trace_configs=[guard])


async def _check_redirect(session: Any, context: Any, redirect: Any) -> None:
    import asyncio

    from yarl import URL

    target = redirect.url.join(URL(redirect.response.headers.get("Location") or "."))
    await asyncio.to_thread(check_leap, str(redirect.url), str(target))


def check_leap(origin: str, target: str) -> None:
    """Raise `LeapError` where what lies at `origin` must not lead to `target`.

    That is anything but a web server, and an address of this machine or network that a public server names: whoever
    wrote there may not choose what is asked for from within.
    """
    if urlsplit(target).scheme not in WEB:
        raise LeapError(f"it leads to {urlsplit(target).scheme[:20] or 'no'}://, expected http or https")
    here, there = (urlsplit(url).hostname or "" for url in (origin, target))
    inside = urlsplit(origin).scheme in WEB and not is_public(here)
    if here != there and not inside and not is_public(there):
        raise LeapError(f"{here} leads to {there}, an address of this machine or its network")


@lru_cache(maxsize=4096)
def is_public(host: str) -> bool:
    """Tell whether a host is one of the internet, wherever it is asked for; one that nobody knows counts as one."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
        return all(ipaddress.ip_address(str(address).partition("%")[0]).is_global for address in found)
    except (OSError, ValueError):
        return True
