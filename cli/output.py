"""What a command prints: lines, tables, and the one JSON document."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

import click

from featx.cli.progress import show_progress
from featx.core.specs import Progress
from featx.errors import FeatxWarning, printable
from featx.reports import tables
from featx.reports.tables import Head

SKIPPED = 3
"""Exit code of a command that finished but left images out."""

NAMED = 10
"""So many skipped images are named; the rest is counted."""


NARROW, UNLIMITED = 80, 100_000
"""Width of a terminal that does not know its own, and of a line in a pipe."""

FIXED = ">!"
"""First character of a column's name that keeps its cells on one line; ``>`` also sets them to the right."""


def is_fancy(stream: TextIO) -> bool:
    """Say whether escape sequences are welcome: a terminal, and neither NO_COLOR nor TERM=dumb."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width_of(stream: TextIO) -> int:
    """Return how wide a line may be: COLUMNS, else the terminal's width, else without limit (a pipe)."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns) > 0:
        return int(columns)
    try:
        return os.get_terminal_size(stream.fileno()).columns or NARROW
    except (OSError, ValueError):
        return UNLIMITED


def to_json(document: object) -> str:
    """Return JSON as featx prints it: ASCII, indented, no NaN."""
    return json.dumps(document, indent=2, allow_nan=False)


class Output:
    """Where a command speaks.

    Results go to standard output; under ``--json`` their tables stand in the document alone, and what is said beside
    them goes to standard error, as notes and progress always do. Text may be untrusted (file names): it is
    escaped and never read as markup.

    Parameters
    ----------
    json : bool
        Standard output holds one JSON document and nothing else.
    quiet : bool
        No notes and no progress; under ``--json`` nothing but the document.

    Attributes
    ----------
    exit_code : int
        What the process returns when the command ends well.
    left_out : dict of str to int
        Files of the sources that are no images, by the ending of their names.
    kept : str
        What an interruption leaves behind, said to the user when one happens.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False) -> None:
        self.json = json
        self.quiet = quiet
        self.exit_code = 0
        self.left_out: dict[str, int] = {}
        self.kept = "nothing was written"

    def say(self, line: str = "") -> None:
        """Print one line of the result, for people."""
        self._say(printable(line))

    def _say(self, line: str) -> None:
        if not (self.json and self.quiet):
            click.echo(line, err=self.json)

    def note(self, line: str) -> None:
        """Print one line beside the result on standard error."""
        if not self.quiet:
            click.echo(printable(line), err=True)

    def leave_out(self, counts: Mapping[str, int], line: str) -> None:
        """Note what a source holds beside images; the document counts it."""
        for name, count in counts.items():
            self.left_out[name] = self.left_out.get(name, 0) + count
        self.note(line)

    @contextmanager
    def warnings(self) -> Iterator[None]:
        """Print the library's own warnings as notes, each time that they are raised; others as Python does."""
        with warnings.catch_warnings():
            warnings.simplefilter("always", FeatxWarning)
            usual = warnings.showwarning

            def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
                if issubclass(category, FeatxWarning):
                    self.note(f"warning: {message}")
                else:
                    usual(message, category, *place, **more)

            warnings.showwarning = show
            yield

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print rows under column names: ``>name`` is set to the right, ``!name`` to the left. Not under ``--json``.

        Where the line is limited (see `width_of`) cells of other columns are folded; nothing is cut away.
        """
        if self.json:
            return
        for line in table_lines(columns, rows, width_of(sys.stdout), is_fancy(sys.stdout)):
            self._say(line)

    def skipped(self, images: Sequence[Mapping[str, Any]], *, beside: bool = False) -> None:
        """Name the images (`id`, `reason`) that were left out; the command then exits with 3.

        They are part of the result, or notes `beside` it, where that is a table for other programs.
        """
        if not images:
            return
        self.exit_code = SKIPPED
        tell = self.note if beside else self.say
        for image in images[:NAMED]:
            tell(f"skipped {image['id']}: {image['reason']}")
        if len(images) > NAMED:
            tell(f"skipped {len(images)} images in total, of which {NAMED} are listed here; --json lists all")

    def result(self, document: Mapping[str, Any]) -> None:
        """Print the one JSON document, under ``--json`` only; call it once, at the end.

        NumPy values and paths are converted; NaN and infinity become null. ``left_out`` counts what a source
        holds beside images, where there is any.
        """
        if self.json:
            from featx.core.run_folder import jsonable

            more = {"left_out": self.left_out} if self.left_out else {}
            click.echo(to_json(jsonable({**document, **more})))

    def progress(self, unit: str = "images") -> AbstractContextManager[Progress]:
        """Open a progress display and return what is called with (stage, done, total)."""
        return show_progress(sys.stderr, fancy=is_fancy(sys.stderr), quiet=self.quiet, unit=unit)


@dataclass
class Session:
    """What the entry point must know of a call that failed, even while its options were being read."""

    json: bool = False
    debug: bool = False
    output: Output | None = None

    @property
    def wants_json(self) -> bool:
        """Whether a failure is told as JSON."""
        return self.output.json if self.output else self.json


def table_lines(columns: Sequence[str], rows: Iterable[Sequence[object]], width: int, fancy: bool) -> list[str]:
    """Return a table's lines as `featx.reports.tables` sets it, columns named as for `Output.table`."""
    heads = [
        Head(name.lstrip(FIXED), right=name.startswith(">"), folds=not name.startswith(tuple(FIXED)))
        for name in columns
    ]
    return tables.table_lines(heads, rows, width, fancy=fancy)
