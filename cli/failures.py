"""From an exception to one line, a hint and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

import click
from click.exceptions import NoArgsIsHelpError, NoSuchOption

from featx.cli.output import Session, to_json
from featx.cli.streams import NAMES, STDOUT
from featx.errors import CorruptStoreError, DiskFullError, FeatxError, OptionError, OutOfMemoryError, printable

EXIT_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (OptionError, 2),
    (CorruptStoreError, 4),
    (DiskFullError, 5),
    (OutOfMemoryError, 6),
    (FeatxError, 1),
)
UNEQUAL = 7
"""Exit code of a repeated run that came out otherwise than the first."""

CLOSED_PIPE = 141
"""128 + SIGPIPE, as a program written in C would end."""

COMMON = ("--json", "--quiet", "--debug", "--home")


class Terminated(BaseException):
    """SIGTERM, raised as an exception so that everything is cleaned up on the way out."""


@dataclass(frozen=True)
class Failure:
    """What the user is told: `error`, `hint`, the exception's class and the exit code."""

    error: str
    hint: str
    kind: str
    code: int


def explain(exc: BaseException, session: Session) -> Failure:
    """Return what to say about an exception."""
    kind = type(exc).__name__
    if isinstance(exc, FeatxError):
        code = next(code for cls, code in EXIT_CODES if isinstance(exc, cls))
        return Failure(exc.message, exc.hint, kind, code)
    if isinstance(exc, click.ClickException):
        return Failure(_usage_message(exc), _usage_hint(exc), kind, exc.exit_code)
    if isinstance(exc, (KeyboardInterrupt, click.Abort)):
        return Failure("interrupted", _kept(session), "KeyboardInterrupt", 128 + signal.SIGINT)
    if isinstance(exc, Terminated):
        return Failure("terminated", _kept(session), kind, 128 + signal.SIGTERM)
    if _is_out_of_memory(exc):
        return Failure("out of memory", "try a smaller --batch-size, or --limit", kind, 6)
    if isinstance(exc, OSError) and exc.strerror:
        return _explain_os(exc)
    about = str(exc).strip().splitlines()
    said = f": {about[0]}" if about else ""
    return Failure(
        f"unexpected {kind}{said}", "this is a bug in featx: run again with --debug for the traceback", kind, 1
    )


def _explain_os(exc: OSError) -> Failure:
    where = f"{os.fsdecode(exc.filename)}: " if isinstance(exc.filename, (str, bytes)) else ""
    full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
    # Of a full standard output there is no more to say: whoever redirected it knows where it leads.
    elsewhere = full and exc.filename != NAMES[STDOUT]
    hint = "make room, or choose another place with --home or FEATX_HOME" if elsewhere else ""
    return Failure(f"{where}{exc.strerror}", hint, type(exc).__name__, 5 if full else 1)


def _is_out_of_memory(exc: BaseException) -> bool:
    # torch's own classes, told by name: torch need not be loaded to fail.
    return (
        isinstance(exc, MemoryError)
        or type(exc).__name__ == "OutOfMemoryError"
        or (isinstance(exc, RuntimeError) and "can't allocate memory" in str(exc))
    )


def _kept(session: Session) -> str:
    return session.output.kept if session.output else "nothing was written"


def _usage_message(exc: click.ClickException) -> str:
    # The bare message: suggestions go to the hint.
    text = exc.message if isinstance(exc, NoSuchOption) else exc.format_message()
    text = " ".join(text.split()).removesuffix(".")
    return text[:1].lower() + text[1:]


def _usage_hint(exc: click.ClickException) -> str:
    if not isinstance(exc, click.UsageError) or exc.ctx is None:
        return ""
    if isinstance(exc, NoSuchOption):
        if exc.option_name in COMMON:
            return f"{exc.option_name} goes after the command's name"
        if exc.possibilities:
            return f"did you mean {', '.join(exc.possibilities)}?"
    return getattr(exc, "hint", "") or f"`{exc.ctx.command_path} --help` lists its options"


def report(exc: BaseException, session: Session) -> int:
    """Tell the user about an exception and return the exit code."""
    if session.debug:
        traceback.print_exception(exc)
    if isinstance(exc, BrokenPipeError):
        return CLOSED_PIPE
    if isinstance(exc, NoArgsIsHelpError):
        click.echo(exc.format_message(), err=True)
        return exc.exit_code
    failure = explain(exc, session)
    error, hint = printable(failure.error), printable(failure.hint)
    if session.wants_json and _say_json({"error": error, "kind": failure.kind, "hint": hint}):
        return failure.code
    if isinstance(exc, (KeyboardInterrupt, click.Abort, Terminated)):
        lines = [f"{error}: {hint}"]
    else:
        lines = [f"error: {error}", *([f"hint: {hint}"] if hint else [])]
    with suppress(OSError):
        click.echo("\n".join(lines), err=True)
    return failure.code


def _say_json(document: dict[str, str]) -> bool:
    # Standard output may be what failed; False then.
    try:
        click.echo(to_json(document))
    except OSError:
        return False
    return True


def settle(code: int) -> int:
    """Flush standard output and return the exit code; a reader that went away makes no noise."""
    if sys.stdout is None:
        return code
    try:
        sys.stdout.flush()
    except OSError as exc:
        # The interpreter flushes once more at its end; let it flush into nothing.
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())
        if isinstance(exc, BrokenPipeError):
            return CLOSED_PIPE
        raise
    return code


def conclude(exc: BaseException, session: Session) -> int:
    """Report an exception, flush and return the exit code, even where nobody can be told."""
    code = report(exc, session)
    try:
        return settle(code)
    except OSError:
        return code


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Turn SIGTERM into `Terminated` in this process; children forked meanwhile die of it as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def handler(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise Terminated

    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
