"""What a server or its library raises: whether it may pass, and how it is told without a URL's secrets."""

from __future__ import annotations

import re
from dataclasses import dataclass

from featx.core.urls import redacted

_LIBRARIES = ("aiohttp", "aiobotocore", "botocore", "gcsfs", "google", "fsspec", "s3fs", "requests", "urllib3")
_MAY_PASS = (408, 425, 429)
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "TokenRetrievalError")
_MISSPELT = ("InvalidURL", "InvalidUrlClientError", "NonHttpUrlClientError", "ParamValidationError")


class TruncatedError(Exception):
    """Fewer bytes came than the server had announced, or than the object has."""


class LeapError(Exception):
    """A redirect or an address that a server must not lead to."""


@dataclass(frozen=True)
class Failure:
    """What became of a request.

    Attributes
    ----------
    kind : str
        ``absent`` (there is no such object), ``refused`` (it may not be read), ``truncated``, ``unreachable`` (no
        answer, or that of a server in trouble), ``no credentials``.
    text : str
        In words, without secrets.
    passes : bool
        Whether it is worth another try.
    """

    kind: str
    text: str
    passes: bool


STANDING = {
    "absent": "there is no such object",
    "refused": "it may not be read",
    "truncated": "fewer bytes came than it has",
}
"""Failures that are an object's own, and how they are told with the features; of others, its server's, no image is to
blame."""


class RequestError(Exception):
    """A request that failed for good.

    Parameters
    ----------
    failure : Failure
        Why.
    tries : int
        How often it was tried.
    """

    def __init__(self, failure: Failure, tries: int) -> None:
        more = f", {tries} times" if tries > 1 else ""
        super().__init__(f"{failure.text}{more}")
        self.failure, self.kind = failure, failure.kind


def failure_of(exc: BaseException) -> Failure | None:
    """Return what an exception of a library means; None where it is none of a request, but a defect."""
    if isinstance(exc, TruncatedError):
        return Failure("truncated", str(exc), passes=True)
    if type(exc).__name__ == "ClientPayloadError":
        return Failure("truncated", "the connection ended before all of it had come", passes=True)
    if isinstance(exc, LeapError):
        return Failure("refused", str(exc), passes=False)
    if type(exc).__name__ in _NO_CREDENTIALS:
        return Failure("no credentials", "no credentials were found for it", passes=False)
    if (status := _status(exc)) is not None:
        return _of_status(status)
    if isinstance(exc, FileNotFoundError):
        return Failure("absent", "there is no such object", passes=False)
    if isinstance(exc, PermissionError):
        return Failure("refused", "it may not be read (403)", passes=False)
    if isinstance(exc, TimeoutError):
        return Failure("unreachable", "the server did not answer in time", passes=True)
    if isinstance(exc, OSError) or type(exc).__module__.partition(".")[0] in _LIBRARIES:
        return Failure("unreachable", _said(exc), passes=not _is_misspelt(exc))
    return None


def _status(exc: BaseException) -> int | None:
    """Return the status that a server answered with, where an exception or its cause has one."""
    for one in (exc, exc.__cause__):
        found = getattr(one, "status", None) or getattr(one, "code", None)
        response = getattr(one, "response", None)
        if isinstance(response, dict):  # botocore's
            found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if isinstance(found, str) and found.isdecimal():
            found = int(found)
        if isinstance(found, int) and 300 <= found < 600:
            return found
    return None


def _of_status(status: int) -> Failure:
    if status in (404, 410):
        return Failure("absent", f"there is no such object ({status})", passes=False)
    if status in (401, 403):
        return Failure("refused", f"it may not be read ({status})", passes=False)
    if status in _MAY_PASS or status >= 500:
        return Failure("unreachable", f"the server answers {status}", passes=True)
    return Failure("refused", f"the server answers {status}", passes=False)


def _is_misspelt(exc: BaseException) -> bool:
    return type(exc).__name__ in _MISSPELT


def _said(exc: BaseException) -> str:
    name = type(exc).__name__
    text = redacted(" ".join(str(exc).split()))[:160]
    return f"{re.sub(r'(Error|Exception)$', '', name) or name}: {text}" if text else name
