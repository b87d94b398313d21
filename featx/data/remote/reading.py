"""What featx asks of remote objects: each request bounded, tried again, and failing without a URL's secrets."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from featx.core.urls import safe_url, scheme_of
from featx.data.remote.cloud import CloudObjects
from featx.data.remote.failures import RequestError
from featx.data.remote.objects import Info, Objects
from featx.data.remote.requests import Policy, Requests, policy
from featx.data.remote.web import WebObjects
from featx.errors import OptionError, SourceError

T = TypeVar("T")
A = TypeVar("A")

OBJECTS: dict[str, Callable[[str, Policy], Objects]] = {
    "s3": CloudObjects,
    "gs": CloudObjects,
    "gcs": CloudObjects,
    "http": WebObjects,
    "https": WebObjects,
}
"""What reads the objects of a scheme."""


class Remote:
    """All servers, as this process asks them: one bound for all, one client for each scheme."""

    def __init__(self, how: Policy) -> None:
        self.requests = Requests(how)
        self._objects: dict[str, Objects] = {}
        self._lock = threading.Lock()

    def of(self, url: str) -> Objects:
        """Return what reads an object; OptionError for another scheme, SourceError where a library is missing."""
        scheme = scheme_of(url)
        with self._lock:
            if scheme not in self._objects:
                check_scheme(url)
                self._objects[scheme] = OBJECTS[scheme](scheme, self.requests.policy)
            return self._objects[scheme]

    def info(self, url: str) -> Info:
        """Return what is known of an object; RequestError."""
        objects = self.of(url)
        return self.requests.try_all(lambda: objects.info(url))

    def get(self, url: str, most: int, known: Info | None = None) -> tuple[bytes, Info]:
        """Return all of an object, or more than `most` bytes of it, and what is known of it; RequestError."""
        objects = self.of(url)
        return self.requests.try_all(lambda: objects.get(url, most, known))

    def part(self, url: str, offset: int, size: int) -> tuple[bytes, Info | None]:
        """Return `size` bytes from `offset` on; RequestError, and NoRangesError."""
        objects = self.of(url)
        return self.requests.try_all(lambda: objects.part(url, offset, size))

    def find(self, url: str) -> dict[str, Info]:
        """Return all objects below a prefix; RequestError, and OptionError where there is no listing."""
        objects = self.of(url)
        return self.requests.try_all(lambda: objects.find(url))

    def map(self, call: Callable[[A], T], items: Iterable[A]) -> Iterator[T]:
        """Give what `call` does with each of some items, in their order."""
        return self.requests.map(call, items)


def check_scheme(url: str) -> None:
    """Raise OptionError for a scheme that is not read: ``file``, or fsspec's chains among them."""
    if found := unknown_scheme(url):
        raise OptionError(f"{safe_url(url)[:200]}: {found}", "name a file by its path, without a scheme")


def unknown_scheme(url: str) -> str:
    """Return what is wrong with a URL's scheme, '' if nothing is."""
    scheme = scheme_of(url)
    return "" if scheme in OBJECTS else f"its scheme is {scheme[:20]!r}, expected {', '.join(OBJECTS)}"


_lock = threading.Lock()
_shared: dict[tuple[int, Policy], Remote] = {}


def remote() -> Remote:
    """Return this process's; a forked one has its own connections."""
    key = os.getpid(), policy()
    with _lock:
        if key not in _shared:
            _shared[key] = Remote(key[1])
        return _shared[key]


def source_error(what: str, failed: RequestError) -> SourceError:
    """Return the error for a source, or for servers in trouble, that a failed request means.

    Parameters
    ----------
    what : str
        What was asked for, without secrets.
    failed : RequestError
        Why it is not there.
    """
    hints = {
        "absent": "check its name",
        "refused": "check the credentials that its library finds, or ask for a new signed URL",
        "no credentials": "set them as its library reads them (AWS_PROFILE, FSSPEC_S3_ANON=true, gcloud auth ...)",
        "truncated": "run it again; what is finished is kept",
        "unreachable": "run it again once the server answers; what is finished is kept",
    }
    return SourceError(f"{what} cannot be read: {failed}", hints[failed.kind])
