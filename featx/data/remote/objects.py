"""What objects behind URLs can be asked for, and what tells their versions apart."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

from featx.core.urls import redacted
from featx.errors import SourceError

EXTRA = "pip install 'featx[remote]'"

_NEVER = (1 << 63) - 1
_PAST = (1 << 60) - 1


@dataclass(frozen=True)
class Info:
    """What is known of an object without reading it.

    Attributes
    ----------
    size : int or None
        In bytes; None where the server does not say.
    stamp : list of int
        Four numbers that stand where a file's size, inode and times do (`featx.core.file_stamps`): a later version of
        the object has others.
    ranges : bool
        Whether a part of it can be asked for.
    """

    size: int | None
    stamp: list[int]
    ranges: bool = True


class Objects(Protocol):
    """The objects that a scheme leads to; every method may raise whatever its library does, and is asked once."""

    lists: bool
    """Whether what lies below a prefix can be found."""

    def info(self, url: str) -> Info:
        """Return what is known of an object."""

    def get(self, url: str, most: int, known: Info | None) -> tuple[bytes, Info]:
        """Return all of an object and what is known of it; of a larger one than `most` nothing, or more than that.

        What a listing said of it is `known`, so that it need not be asked for.
        """

    def part(self, url: str, offset: int, size: int) -> tuple[bytes, Info | None]:
        """Return `size` bytes from `offset` on, and what the answer says of the object; NoRangesError."""

    def find(self, url: str) -> dict[str, Info]:
        """Return all objects below a prefix that ends with a slash, by their names after it."""


class NoRangesError(Exception):
    """A server gives objects as a whole only."""


def stamp_of(size: int | None, tag: str, modified: float | None) -> list[int]:
    """Return the four numbers that stand for an object's version.

    Parameters
    ----------
    size : int or None
        In bytes.
    tag : str
        Its ETag, generation or checksum, all that there are; '' where there is none.
    modified : float, optional
        Seconds since 1970, which count where there is no tag.

    Returns
    -------
    list of int
        Whole numbers below 2^63. Where a file's times stand there is a hash of the tag, which as a time lies in the
        past, so that it counts as settled; the time of change where that is all there is; and a time that never comes
        where nothing tells versions apart, so that nothing is remembered of such an object.
    """
    n = -1 if size is None else size
    if tag:
        digest = hashlib.sha256(tag.encode("utf-8", "surrogatepass")).digest()
        numbers = [int.from_bytes(digest[8 * k : 8 * k + 8], "big") for k in range(3)]
        return [n & _NEVER, numbers[0] >> 1, numbers[1] & _PAST, numbers[2] & _PAST]
    when = _NEVER if modified is None or n < 0 else min(max(int(modified * 1e9), 0), _NEVER)
    return [n & _NEVER, 0, when, when]


def filesystem(scheme: str, **options: Any) -> Any:
    """Return fsspec's file system of a scheme, of this process and of nobody else.

    Raises
    ------
    SourceError
        Its library is missing, or does not like the user's configuration.
    """
    try:
        import fsspec

        return fsspec.filesystem(scheme, skip_instance_cache=True, use_listings_cache=False, **options)
    except ImportError:
        problem = SourceError(f"{scheme}:// needs fsspec and its libraries, which are not all installed", EXTRA)
    except Exception as exc:  # of the user's configuration and credentials
        said = redacted(" ".join(f"{type(exc).__name__}: {exc}".split()))[:200]
        problem = SourceError(f"{scheme}:// cannot be opened: {said}", "see fsspec's documentation of this scheme")
    raise problem
