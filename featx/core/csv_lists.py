"""Lists of images that a user gives as CSV, from a spreadsheet or from `featx audit`."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from featx.core.paths import expanded
from featx.errors import OptionError, first_few

MOST_BYTES = 1 << 30


def read_list(path: str, flag: str, columns: Sequence[str], hint: str) -> list[dict[str, str]]:
    """Return a CSV's lines by their columns; a cell that a line lacks is empty.

    Parameters
    ----------
    path : str
        As it was given.
    flag : str
        The option that it was given to, for messages.
    columns : sequence of str
        Those that it must have.
    hint : str
        What makes such a list.

    Raises
    ------
    OptionError
        It cannot be read, is no CSV, or lacks a column.
    """
    where = expanded(path)
    try:
        if where.stat().st_size > MOST_BYTES:
            raise OptionError(f"{flag} {path} is larger than {MOST_BYTES >> 30} GiB, expected a list of ids", hint)
        text = where.read_bytes().decode("utf-8-sig")
    except OSError as exc:
        raise OptionError(f"{flag} {path} cannot be read: {exc.strerror}", hint) from exc
    except UnicodeDecodeError as exc:
        raise OptionError(f"{flag} {path} is not UTF-8 text", "save it again as CSV UTF-8") from exc
    first = text.partition("\n")[0]
    # A spreadsheet may have saved it with semicolons or tabs.
    separator = max(",;\t", key=first.count)
    try:
        lines = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        names = list(lines.fieldnames or [])
        lacks = [name for name in columns if name not in names]
        if lacks:
            known = first_few(names, 5) or "none"
            raise OptionError(f"{flag} {path} has no column {' or '.join(lacks)}, but {known}", hint)
        return [{name: line.get(name) or "" for name in names} for line in lines]
    except csv.Error as exc:
        raise OptionError(f"{flag} {path} is no CSV: {exc}", hint) from exc
