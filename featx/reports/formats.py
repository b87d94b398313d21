"""The formats of reports: runs side by side, and one run's confusion matrix, for terminals and for documents.

A new format is a class here and its line in `FORMATS`. In Markdown and LaTeX, what is the same for all runs
is shown above the table. A table wider than a page continues below itself, its rows numbered; one with selected columns
keeps them as given.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from featx.core.csv_cells import csv_line
from featx.reports.check import Check, check_lines, check_text, marked
from featx.reports.columns import MEASURED, Column, Row, chosen, filled, images_columns, with_intervals
from featx.reports.confusion import Confusion, fits, said_of
from featx.reports.rows import TEXT_WIDTH, by_name, line_text, to_text, wrapped
from featx.reports.tables import GAP, LATEX, MARKDOWN, Cells, escaped, latex_table, markdown_table, text_table

if TYPE_CHECKING:
    from featx.core.run_folder import Run
    from featx.reports.told import Told

NUMBER = "#"
"""Head of the column that numbers the rows of a table in several pieces."""

RUN = "run"

Columns = Mapping[str, Column]


@dataclass(frozen=True)
class Page:
    """How wide a table may be.

    Parameters
    ----------
    width : float
        Characters per line.
    gap : float
        Width beside each cell, in characters.
    """

    width: float
    gap: float

    def pieces(self, columns: Columns, rows: Sequence[Row]) -> list[dict[str, Column]]:
        """Cut columns into tables that fit, each with one column at least; numbered where there are several."""
        widths = {name: self._wide(name, column, rows) for name, column in columns.items()}
        if sum(widths.values()) <= self.width:
            return [dict(columns)]
        if RUN in columns:  # the longest, and the least told by: last
            columns = {**{name: column for name, column in columns.items() if name != RUN}, RUN: columns[RUN]}
        number = self._wide(NUMBER, _numbers(rows), rows)
        pieces: list[dict[str, Column]] = []
        room = 0.0
        for name, column in columns.items():
            if widths[name] > room or not pieces:
                pieces.append({NUMBER: _numbers(rows)})
                room = self.width - number
            pieces[-1][name] = column
            room -= widths[name]
        return pieces

    def _wide(self, name: str, column: Column, rows: Sequence[Row]) -> float:
        return max(len(name), *(len(column.text(row)) for row in rows)) + self.gap


MARKDOWN_PAGE = Page(109, 3)
LATEX_PAGE = Page(66, 2.4)
"""Of the class article: 345 pt, letters of 5 pt on the average, 12 pt between two columns."""

_OPTION = re.compile(r"--[A-Za-z][a-z-]*")

TEXT_PAGE = Page(TEXT_WIDTH + GAP, GAP)


def to_markdown(rows: Sequence[Row], names: Sequence[str] | None = None, checks: Sequence[Check] = ()) -> str:
    """Return rows as Markdown; `names` are the columns, else those that tell anything, with the checks below."""
    rows = by_name(marked(rows, checks))
    if names is not None:
        return markdown_table(*_cells(chosen(names, rows), rows))
    above, columns = _parted(filled(rows), rows, (RUN,))
    said = [escaped(line, MARKDOWN) + "\n" for line in _said(above, rows)]
    tables = [markdown_table(*_cells(piece, rows)) for piece in MARKDOWN_PAGE.pieces(columns, rows)]
    below = [_filled(escaped(check_text(check), MARKDOWN), first="- ", more="  ") for check in checks]
    return "\n".join([*(["".join(said)] if said else []), *tables, *(["".join(below)] if below else [])])


def to_latex(rows: Sequence[Row], names: Sequence[str] | None = None, checks: Sequence[Check] = ()) -> str:
    """Return rows as LaTeX tabulars of the package booktabs, the checks below; runs are named in comments."""
    rows = by_name(marked(rows, checks))
    if names is not None:
        return latex_table(*_cells(chosen(names, rows), rows))
    above, columns = _parted({n: c for n, c in filled(rows).items() if n != RUN}, rows, ())
    lines = [escaped(line, LATEX) for line in _said(above, rows)]
    said = ["\n".join([r"\noindent", *lines, r"\par\medskip", ""])] if lines else []
    runs = [f"% {line_text(row.get(RUN))}" for row in rows]
    pieces = LATEX_PAGE.pieces(columns, rows)
    tables = [latex_table(*_cells(piece, rows), [] if i else runs) for i, piece in enumerate(pieces)]
    words = [_OPTION.sub(_whole, escaped(check_text(check), LATEX)) for check in checks]
    below = [_filled(rf"\noindent {line}\par") for line in words]
    return "".join(said) + "\\par\\medskip\n".join(tables) + "".join(["\\par\\medskip\n", *below] if below else [])


def _whole(option: re.Match[str]) -> str:
    """Keep an option on one line, and its hyphens from becoming a dash."""
    return rf"\mbox{{{option[0].replace('--', '-{}-')}}}"


def to_csv(rows: Sequence[Row], names: Sequence[str] | None = None) -> str:
    """Return rows as CSV, its numbers and paths in full; a score over seeds is followed by its interval."""
    columns = with_intervals(filled(rows) if names is None else chosen(names, rows), rows)
    body = [csv_line(_value(column, row) for column in columns.values()) for row in rows]
    return "".join([csv_line(columns), *body])


def to_columns(rows: Sequence[Row], names: Sequence[str]) -> str:
    """Return chosen columns as lines of at most 80 characters, where each cell is no longer than that."""
    rows = by_name(rows)
    pieces = TEXT_PAGE.pieces(chosen(names, rows), rows)
    return "\n".join(text_table(*_cells(piece, rows)) for piece in pieces)


def values(rows: Sequence[Row], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the values of chosen columns, by name, and of a score over seeds its interval too."""
    columns = with_intervals(chosen(names, rows), rows)
    return [{name: column.read(row) for name, column in columns.items()} for row in rows]


def _text_table(table: Cells) -> str:
    return text_table(*table)


def _filled(text: str, first: str = "", more: str = "") -> str:
    """Return a text as lines of a page; long words stay whole, since they may be cut within an escape."""
    wrap = textwrap.TextWrapper(TEXT_WIDTH, first, more, break_long_words=False, break_on_hyphens=False)
    return wrap.fill(text) + "\n"


def _value(column: Column, row: Row) -> Any:
    value = column.read(row)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else line_text(value)


def _parted(columns: Columns, rows: Sequence[Row], kept: Sequence[str]) -> tuple[dict[str, Column], dict[str, Column]]:
    """Return the columns that say the same of every run, and the others, or all where none would be left."""
    same = {
        name: column
        for name, column in columns.items()
        if name not in (*MEASURED, *kept) and len({column.text(row) for row in rows}) == 1
    }
    others = {name: column for name, column in columns.items() if name not in same}
    return (same, others) if others else ({}, dict(columns))


def _said(columns: Columns, rows: Sequence[Row]) -> Iterator[str]:
    """Give the lines that say what all runs share; none begins with a value, which could look like a list's mark."""
    line = "Of this run:" if len(rows) == 1 else f"Same for all {len(rows)}:"
    for i, (name, column) in enumerate(columns.items()):
        item = f"{name} {column.text(rows[0])}{';' if i + 1 < len(columns) else '.'}"
        if len(line) + 1 + len(item) > TEXT_WIDTH:
            yield line
            line = item
        else:
            line += f" {item}"
    if columns:
        yield line


def _numbers(rows: Sequence[Row]) -> Column:
    at = {id(row): i + 1 for i, row in enumerate(rows)}
    return Column(lambda row: at[id(row)])


def _cells(columns: Columns, rows: Sequence[Row]) -> Cells:
    words = [column.words for column in columns.values()]
    return list(columns), [[column.text(row) for column in columns.values()] for row in rows], words


class Format(Protocol):
    """How reports are written."""

    def runs(self, rows: Sequence[Row], names: Sequence[str] | None, checks: Sequence[Check] = ()) -> str:
        """Return rows side by side; `names` are the columns, else those that the format chooses.

        Below them stands what is doubtful, `checks`, but where the format is for programs, or columns are named.
        """

    def confusion(self, found: Confusion) -> str:
        """Return a confusion matrix and recall by class."""

    def told(self, found: Told) -> str:
        """Return an answer about rows, such as which of them differ."""


@runtime_checkable
class Whole(Format, Protocol):
    """A format that shows more of runs than their rows."""

    def whole(self, runs: Sequence[Run], home: Path, names: Sequence[str] | None, *, images: bool) -> str:
        """Return a report of runs, those without a record among them, which it names; `names` are its columns.

        With `images`, its table has intervals over the test images, too.
        """


class Text:
    """Lines of at most 80 characters, where names are no longer than that."""

    def runs(self, rows: Sequence[Row], names: Sequence[str] | None, checks: Sequence[Check] = ()) -> str:
        """See `Format`."""
        if names is not None:
            return to_columns(rows, names)
        below = check_lines(checks)
        images = images_columns(rows)
        intervals = f"\n{to_columns(rows, [RUN, *images])}" if images else ""
        return to_text(marked(rows, checks)) + intervals + "".join(f"{line}\n" for line in ["", *below] if below)

    def confusion(self, found: Confusion) -> str:
        """See `Format`; a matrix that is too wide is left out, which is said."""
        matrix = f"The matrix of {len(found.classes)} classes is wider than a page; use --format csv, --json or\n"
        matrix = text_table(*found.matrix()) if fits(found.matrix()) else f"{matrix}-o FILE.png.\n"
        explained = f"Confusion matrix, true class down, predicted class across:\n{matrix}"
        return "\n".join([said_of(found) + "\n", explained, text_table(*found.by_class())])

    def told(self, found: Told) -> str:
        """See `Format`."""
        said = "".join(f"{part}\n" for line in found.lines() for part in wrapped(line, more="  "))
        return "\n".join([*map(_text_table, found.tables()), said])


class Markdown:
    """Tables in Markdown."""

    def runs(self, rows: Sequence[Row], names: Sequence[str] | None, checks: Sequence[Check] = ()) -> str:
        """See `Format`."""
        return to_markdown(rows, names, checks)

    def confusion(self, found: Confusion) -> str:
        """See `Format`."""
        return f"{markdown_table(*found.by_class())}\n{markdown_table(*found.matrix())}"

    def told(self, found: Told) -> str:
        """See `Format`."""
        said = "".join(_filled(escaped(line, MARKDOWN), first="- ", more="  ") for line in found.lines())
        return "\n".join([*(markdown_table(*table) for table in found.tables()), said])


class Latex:
    """Tabulars of the package booktabs."""

    def runs(self, rows: Sequence[Row], names: Sequence[str] | None, checks: Sequence[Check] = ()) -> str:
        """See `Format`."""
        return to_latex(rows, names, checks)

    def confusion(self, found: Confusion) -> str:
        """See `Format`."""
        return f"{latex_table(*found.by_class())}\\par\\medskip\n{latex_table(*found.matrix())}"

    def told(self, found: Told) -> str:
        """See `Format`."""
        words = [_OPTION.sub(_whole, escaped(line, LATEX)) for line in found.lines()]
        said = "".join(_filled(rf"\noindent {line}\par") for line in words)
        return "\\par\\medskip\n".join([*(latex_table(*table) for table in found.tables()), said])


class Csv:
    """A line a run, or a class, numbers in full."""

    def runs(self, rows: Sequence[Row], names: Sequence[str] | None, checks: Sequence[Check] = ()) -> str:
        """See `Format`."""
        return to_csv(rows, names)

    def confusion(self, found: Confusion) -> str:
        """See `Format`."""
        heads = ["class", "rows", "recall", "precision", *found.classes]
        lines = zip(found.classes, found.rows, found.recall, found.precision, found.counts, strict=True)
        return "".join([csv_line(heads), *(csv_line([*about, *counts]) for *about, counts in lines)])

    def told(self, found: Told) -> str:
        """See `Format`."""
        return found.csv()


class Html:
    """One self-contained file for a browser, as a `Whole`; of rows alone the table, its answer and figures of cost."""

    def runs(self, rows: Sequence[Row], names: Sequence[str] | None, checks: Sequence[Check] = ()) -> str:
        """See `Format`."""
        from featx.reports.html.page import table_page  # figures, scipy

        return table_page(rows, names, checks)

    def whole(self, runs: Sequence[Run], home: Path, names: Sequence[str] | None, *, images: bool) -> str:
        """See `Whole`."""
        from featx.reports.html.page import page

        return page(runs, home=home, columns=names, images=images)

    def confusion(self, found: Confusion) -> str:
        """See `Format`."""
        from featx.reports.html.page import confusion_page

        return confusion_page(found)

    def told(self, found: Told) -> str:
        """See `Format`."""
        from featx.reports.html.page import told_page

        return told_page(found)


FORMATS: dict[str, Format] = {"text": Text(), "md": Markdown(), "latex": Latex(), "csv": Csv(), "html": Html()}
"""By what ``--format`` calls them."""
