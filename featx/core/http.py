"""Files from the network: downloaded whole or not at all; a server that is silent is not waited for without end."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from featx.core.atomic import replacing, write_all
from featx.core.specs import Progress, no_progress

DOWNLOAD_SECONDS = 30.0
"""How long a silent server is waited for."""

_CHUNK = 1 << 20


class NetworkError(Exception):
    """What a server does not give; told from an OSError of the disk, which is written to in the same breath."""


def download(url: str, path: Path, algorithm: str, digest: str = "", progress: Progress = no_progress) -> None:
    """Write what a server sends to a file, which appears where its digest is the expected one.

    Parameters
    ----------
    url : str
        Where it is.
    path : Path
        The file, in a folder that is there.
    algorithm, digest : str
        ``md5`` or ``sha256``, and how the digest begins, hexadecimal; empty where nobody knows.
    progress : callable
        Called with (stage, MB done, MB in all).

    Raises
    ------
    NetworkError
        The server cannot be reached, ends early, or gives something else.
    DiskFullError, StoreError
        Where there is no room, or the folder cannot be written.
    """
    with replacing(path) as fd:
        found = _copy(url, fd, hashlib.new(algorithm, usedforsecurity=False), f"download {path.name}", progress)
        if not found.startswith(digest):
            raise NetworkError(f"what the server sent has {algorithm} {found}")


def reach(url: str) -> None:
    """Ask a server for the head of a file; OSError where nobody answers, whatever the answer."""
    try:
        _opened(url, "HEAD").close()
    except urllib.error.HTTPError as answer:
        answer.close()


def _opened(url: str, method: str = "GET") -> http.client.HTTPResponse:
    request = urllib.request.Request(url, method=method, headers={"User-Agent": "featx"})
    found: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=DOWNLOAD_SECONDS)
    return found


def _copy(url: str, fd: int, digest: hashlib._Hash, stage: str, progress: Progress) -> str:
    done = 0
    with _network_errors():
        response = _opened(url)
        total = int(response.headers.get("Content-Length") or 0)
    with response:
        while chunk := _read(response):
            write_all(fd, chunk)
            digest.update(chunk)
            done += len(chunk)
            progress(stage, done >> 20, max(total, done) >> 20)
    if done < total:
        raise NetworkError(f"the connection ended after {done:,} of {total:,} bytes")
    return digest.hexdigest()


def _read(response: http.client.HTTPResponse) -> bytes:
    with _network_errors():
        return response.read(_CHUNK)


@contextmanager
def _network_errors() -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError) as exc:
        raise NetworkError(str(exc) or type(exc).__name__) from exc
