"""Everything featx raises on purpose: what was found, what was expected, and what mends it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def decoded(text: str) -> str:
    """Return a name as UTF-8 spells it, where the locale's encoding left its bytes undecoded; others as they are."""
    if text.isascii():
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError:
        return text


def legible(text: str) -> str:
    """Return text that every program can read as UTF-8: `decoded`, and what is no text is spelled out."""
    return decoded(text).encode("utf-8", "backslashreplace").decode("utf-8")


def printable(text: object) -> str:
    """Return one line whose control characters, direction marks and undecodable bytes are spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in decoded(str(text)))


class FeatxError(Exception):
    """Base of all errors raised by featx.

    Parameters
    ----------
    message : str
        One line: what was found and what was expected. Names in it may come from strangers: what cannot be printed
        is spelled out.
    hint : str, optional
        The command, option or file that mends it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = printable(message)
        self.hint = printable(hint)
        super().__init__(self.message, self.hint)

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class OptionError(FeatxError, ValueError):
    """An option, name or number that featx cannot work with; the command line's exit code 2."""


class SourceError(FeatxError):
    """Images or labels that cannot be had: a missing folder, an unknown layout, a broken archive."""


class ImageError(SourceError):
    """One image that cannot be decoded; names it.

    Parameters
    ----------
    message, hint : str
        As of every error.
    reason : str, optional
        The message without the place where the image lies: what is kept of it beside an image's features, which
        outlive a move. The message itself where it names no place.
    """

    def __init__(self, message: str, hint: str = "", *, reason: str = "") -> None:
        super().__init__(message, hint)
        self.reason = printable(reason) or self.message


class WeightsError(FeatxError):
    """Weights that are missing, damaged, unsafe or made for another network."""


class FeatureError(FeatxError):
    """Activations that cannot be used: NaN or infinite."""


class StoreError(FeatxError):
    """A store or run folder that cannot be read or written."""


class CorruptStoreError(StoreError):
    """Stored bytes that are not the bytes that were written; exit code 4."""


class DiskFullError(StoreError):
    """No room left where featx writes; exit code 5."""


class OutOfMemoryError(FeatxError):
    """Memory, the device's or the machine's, ran out; exit code 6."""


class FeatxWarning(UserWarning):
    """What the user should know while the work goes on; the command line prints it as a note."""


def first_few(names: Sequence[str], n: int = 3) -> str:
    """Return ``a, b, c and 4 more``."""
    return ", ".join(names[:n]) + (f" and {len(names) - n} more" if len(names) > n else "")


def nearest(name: str, choices: Iterable[str], n: int = 3) -> str:
    """Return ``did you mean a, b?`` for a mistyped name, or an empty string where nothing is near."""
    near = difflib.get_close_matches(name, list(choices), n=n, cutoff=0.5)
    return f"did you mean {', '.join(near)}?" if near else ""
