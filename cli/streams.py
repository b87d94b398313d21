"""Standard streams that are closed, full or of another encoding: none of them ends a command that did its work."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO

STDIN, STDOUT, STDERR = 0, 1, 2

NAMES = {STDOUT: "standard output", STDERR: "standard error"}


class Result(io.FileIO):
    """Standard output: what cannot be written is an error that names it."""

    def write(self, data: Any, /) -> int:
        """Write bytes; an OSError carries the stream's name."""
        try:
            return super().write(data)
        except OSError as exc:
            exc.filename = NAMES[STDOUT]
            raise


class Notes(io.FileIO):
    """Standard error, for notes and progress: if it is full, they are lost, and the work continues."""

    def write(self, data: Any, /) -> int:
        """Write bytes as far as that is possible; a reader that went away is still an error."""
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError:
            return len(memoryview(data))


def settle_streams() -> None:
    """Make the standard streams of this process fit for everything that is said on them.

    One that is closed becomes the null device: otherwise the next file that is opened takes its number, and what is
    said, by libraries too, is written into that file. Names that a stream's encoding lacks are spelled out.
    """
    for number in (STDIN, STDOUT, STDERR):
        _fill(number)
    sys.stdin = sys.stdin or open(STDIN, closefd=False)  # noqa: SIM115
    sys.stdout = _stream(sys.stdout, Result(STDOUT, "w", closefd=False))
    sys.stderr = _stream(sys.stderr, Notes(STDERR, "w", closefd=False))


def settle_notes() -> bool:
    """Flush standard error and tell whether its reader is still there; what is left goes nowhere if not."""
    try:
        sys.stderr.flush()
    except OSError:
        # The interpreter flushes once more at its end, and would answer with an exit code of its own.
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), sys.stderr.fileno())
        return False
    return True


def _fill(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        # The lowest number that is free is this one: those below were filled before.
        os.open(os.devnull, os.O_RDWR)
        os.set_inheritable(number, True)


def _stream(before: TextIO | None, raw: io.FileIO) -> TextIO:
    encoding = before.encoding if before is not None else None
    through = raw.fileno() == STDERR
    if before is not None:
        before.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=through or raw.isatty(),
        write_through=through,
    )
