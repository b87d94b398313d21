"""Lines of CSV that a spreadsheet may open: untrusted names are text there, never a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

from featx.errors import printable

FORMULA = ("=", "+", "-", "@")
"""What a cell begins with that spreadsheets compute; an apostrophe before it makes them show it."""


def csv_line(cells: Iterable[Any]) -> str:
    """Return one line: numbers in full, None empty, words escaped, an apostrophe before those that look like a formula.

    Examples
    --------
    >>> print(csv_line([0.25, None, "=1+1", "a,b"]).strip())
    0.25,,'=1+1,"a,b"
    """
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(map(_cell, cells))
    return line.getvalue()


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    return cell_text(value)


def cell_text(value: Any) -> str:
    """Return a word as `csv_line` writes it."""
    text = printable(value)
    return f"'{text}" if text.lstrip().startswith(FORMULA) else text
