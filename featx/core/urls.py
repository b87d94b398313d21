"""Addresses of objects: which are URLs, how they are joined, and how they are written without their secrets."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import quote, urlsplit, urlunsplit

SCHEMES = ("s3", "gs", "gcs", "http", "https")
"""What a URL may begin with."""

WEB = ("http", "https")
"""Those of servers that list nothing."""

PLAIN_PARAMETERS = frozenset(
    (
        *("id", "file", "filename", "name", "path", "page", "w", "h", "width", "height", "size", "format", "version"),
        *("versionid", "v", "download", "index", "n", "i", "alt", "generation"),
    )
)
"""Parameters of a query that say which object it is. All others may be a signature or a token, and are never written.

A list of what is harmless, not of what is secret: every service calls its signature otherwise."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>\\]+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]+://")
_SQUEEZED = re.compile(r"([A-Za-z][A-Za-z0-9]*):/(?=[^/])")
_PARAMETER = re.compile(r"[?&;][\w.~%-]+=[^&;\s'\")]*")


def is_url(text: str) -> bool:
    """Tell a URL of any scheme from a path.

    >>> is_url("s3://bucket/pets"), is_url("pets.zip"), is_url("file:///etc/passwd")
    (True, False, True)
    """
    return _SCHEME.match(text) is not None


def scheme_of(url: str) -> str:
    """Return a URL's scheme in lower case."""
    return url.partition("://")[0].lower()


def squeezed_url(text: str) -> str:
    """Return the URL that `pathlib` made a path of (``s3:/bucket``), '' for any other text."""
    found = _SQUEEZED.match(text)
    if found is None or found[1].lower() not in SCHEMES:
        return ""
    return f"{found[1]}://{text[found.end() :]}"


def safe_url(url: str) -> str:
    """Return a URL without its secrets: no user, no password, and of its query what names the object; a path as it is.

    >>> safe_url("https://me:pw@host/x.jpg?id=7&X-Amz-Signature=abc")
    'https://host/x.jpg?id=7'
    """
    if not is_url(url):
        return url
    try:
        parts = urlsplit(url)
    except ValueError:  # a port or an address that is none
        return f"{scheme_of(url)}://..."
    query = "&".join(pair for pair in parts.query.split("&") if _is_plain(pair))
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


def redacted(text: str) -> str:
    """Return a text whose URLs, and what looks like a part of one, have no secrets any more."""
    held: list[str] = []

    def hold(found: re.Match[str]) -> str:
        held.append(safe_url(found[0]))
        return f"\0{len(held) - 1}\0"

    bare = _PARAMETER.sub("", _URL.sub(hold, text.replace("\0", "")))
    return re.sub(r"\0(\d+)\0", lambda found: held[int(found[1])], bare)


def url_path(url: str) -> str:
    """Return the path of a URL without its query: what tells a file's kind."""
    return urlsplit(url).path if scheme_of(url) in WEB else url.partition("://")[2].partition("?")[0]


def url_name(url: str) -> str:
    """Return the last part of a URL's path."""
    return posixpath.basename(url_path(url).rstrip("/"))


def url_suffix(url: str) -> str:
    """Return the ending of a URL's name, in lower case."""
    return posixpath.splitext(url_name(url))[1].lower()


def url_folder(url: str) -> str:
    """Return a URL without its name and its query, with a slash at the end."""
    bare = url.partition("?")[0] if "?" in url else url
    return bare.rpartition("/")[0] + "/"


def below(folder: str, name: str) -> str:
    """Return the URL of a relative name below a folder; names of web servers are percent-encoded."""
    return folder + (quote(name, safe="/") if scheme_of(folder) in WEB else name)


def _is_plain(pair: str) -> bool:
    name, equals, value = pair.partition("=")
    return bool(equals) and name.lower() in PLAIN_PARAMETERS and len(value) <= 200
