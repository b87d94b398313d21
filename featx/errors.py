"""Everything featx raises on purpose: what was found, what was expected, and what fixes it."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, get_args

_PYTHON_NAMES = {"layer": "layers", "home": "store", "b": "backbone", "l": "layers"}
"""Options whose parameter in Python is called otherwise."""

_words = {"auto", "cpu", "cuda", "linear", "mlp", "flat-linear"}
"""Plain words that are options' values: these, and all closed choices, by `choices`."""

_VALUE = r"[^\s`'\"(),;]*[^\s`'\"(),;.:]"
_OPTION = re.compile(
    rf"`[^`]*`|(?<![^\s(])(?:--(?P<no>no-)?(?P<name>C|[a-z][a-z0-9-]*)(?![\w/-]|\.\w)|-(?P<short>[bl])(?= ))"
    rf"(?:[ =](?P<value>{_VALUE}(?:,[0-9.]+)*))?"
)


class _Voice:
    """How errors are told; the process's own."""

    speaks_options = False


def choices(kind: Any) -> tuple[Any, ...]:
    """Return the values of a Literal, in its order: what the run-time checks and the command line offer."""
    values = get_args(kind)
    _words.update(value for value in values if isinstance(value, str))
    return values


@contextlib.contextmanager
def speaking_options() -> Iterator[None]:
    """Let errors and warnings speak the command line's options (``--size 32``) instead of Python's (``size=32``).

    For the whole process, not only this thread: images are decoded in others.
    """
    before, _Voice.speaks_options = _Voice.speaks_options, True
    try:
        yield
    finally:
        _Voice.speaks_options = before


def either(command: str, python: str) -> str:
    """Return what to say on the command line, or in Python: where the two differ in more than an option's spelling."""
    return command if _Voice.speaks_options else python


def spoken(text: object) -> str:
    """Return a text with its options as they are written here: ``--size 32``, or ``size=32`` in Python.

    Texts are written with the command line's options. Text in backticks is a command to be typed, and is kept.

    Examples
    --------
    >>> spoken("give a larger --batch-size, or --on-error skip")
    "give a larger batch_size=..., or on_error='skip'"
    """
    return str(text) if _Voice.speaks_options else _OPTION.sub(_as_keyword, str(text))


def _as_keyword(found: re.Match[str]) -> str:
    option = found["name"] or found["short"]
    if option is None:  # a command
        return found[0]
    name = _PYTHON_NAMES.get(option, option).replace("-", "_")
    value = found["value"] or ""
    if not found["no"] and _is_value(value):
        return f"{name}={_literal(value)}"
    keyword = f"{name}={'False' if found['no'] else '...'}"
    return f"{keyword} {value}" if value else keyword


def _literal(value: str) -> str:
    numbers = re.fullmatch(r"-?[0-9.]+(e-?[0-9]+)?(,-?[0-9.]+)*", value)
    if numbers is None:
        return repr(value)
    return f"({value.replace(',', ', ')})" if "," in value else value


def _is_value(word: str) -> bool:
    """Tell a value from a word of the sentence that continues after an option."""
    return word in _words or re.search(r"[0-9:/.]", word) is not None or word.isupper()


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
        One line: what was found and what was expected. Names in it may be untrusted: characters that cannot be printed
        are escaped.
    hint : str, optional
        The command, option or file that fixes it. Options are written as on the command line, ``--size 32``, and
        shown so there; in Python they become ``size=32``.

    Examples
    --------
    >>> from featx import LayerSpec
    >>> try:
    ...     LayerSpec.parse("layer3:mean")
    ... except FeatxError as error:
    ...     print(error.hint)
    for example layer3:avg
    """

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = printable(spoken(message))
        self.hint = printable(spoken(hint))
        super().__init__(self.message, self.hint)

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class OptionError(FeatxError, ValueError):
    """An invalid option, name or number; exit code 2 on the command line."""


class SourceError(FeatxError):
    """Images or labels that cannot be read: a missing folder, an unknown layout, a broken archive."""


class ImageError(SourceError):
    """One image that cannot be decoded; names it.

    Parameters
    ----------
    message, hint : str
        As for every error.
    reason : str, optional
        The message without the image's location, as it is stored with the features, which outlive a move. By default
        the message itself.
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
    """Stored bytes that differ from what was written; exit code 4."""


class DiskFullError(StoreError):
    """No space left where featx writes; exit code 5."""


class WorkerError(FeatxError):
    """A worker that cannot do its part of the work: lost, of other versions, or with other data."""


class OutOfMemoryError(FeatxError):
    """Out of memory, on the device or the machine; exit code 6."""


class FeatxWarning(UserWarning):
    """What the user should know while work continues; the command line prints it as a note."""

    def __str__(self) -> str:
        return spoken(super().__str__())


def first_few(names: Sequence[str], n: int = 3) -> str:
    """Return ``a, b, c and 4 more``."""
    return ", ".join(names[:n]) + (f" and {len(names) - n} more" if len(names) > n else "")


def suggest(name: str, choices: Iterable[str], n: int = 3) -> str:
    """Return ``did you mean a, b?`` for a mistyped name, or an empty string where nothing is near."""
    near = difflib.get_close_matches(name, list(choices), n=n, cutoff=0.5)
    return f"did you mean {', '.join(near)}?" if near else ""
