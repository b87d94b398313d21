"""A CSV file that lists images, their labels and splits: ``path,label,split``."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath, PureWindowsPath

from featx.cache.memo import Memo
from featx.errors import SourceError
from featx.files import FolderFiles
from featx.images import is_image_name
from featx.layouts import Layout, Row, arrange
from featx.split_names import name_splits, split_of

COLUMNS = ("path", "label", "split")
"""The columns that are read; also their order in a list without a header."""

_EXAMPLE = "its first line should be path,label or path,label,split"


def open_list(path: Path, memo: Memo | None = None) -> tuple[FolderFiles, Layout]:
    """Read a list and return the files beside it, and its rows by split.

    Paths are relative to the list's folder. A header names the columns in any order (others are ignored);
    without one they are path, label, split, as many as there are. Spaces around a value do not count, an
    empty label is none, an image may stand in several rows.

    Raises
    ------
    SourceError
        Naming the line: for another encoding than UTF-8, broken quotes, an unknown split, a path that
        leads out of the folder.
    """
    try:
        text = _decoded(path.read_bytes(), str(path))
    except OSError as exc:
        raise SourceError(f"list {path} cannot be read: {exc.strerror}", "look at its permissions") from exc
    return FolderFiles(path.parent, memo), read_list(text, str(path))


def read_list(text: str, where: str) -> Layout:
    """Understand a list's text; see `open_list`."""
    lines = _lines(text, where)
    number, first = next(lines, (1, []))
    columns = _header(first, where)
    rows: Iterable[tuple[int, list[str]]] = lines
    if not columns:
        columns, rows = _no_header(first, where, number), chain([(number, first)], lines)
    splits: dict[str, list[Row]] = {}
    for number, cells in rows:
        if len(cells) != len(first):
            raise _error(where, number, f"it has {len(cells)} columns, expected {len(first)}", "quote commas in values")
        split, row = _row(cells, columns, where, number)
        splits.setdefault(split, []).append(row)
    if not splits:
        raise SourceError(f"list {where} names no images", _EXAMPLE)
    named = name_splits(splits, f"list {where}") if "split" in columns else {"all": "all"}
    return arrange({named[spelt]: rows for spelt, rows in splits.items()})


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        number = exc.object[: exc.start].count(b"\n") + 1
        raise _error(where, number, "it is no UTF-8 text", "save the list again as CSV UTF-8") from exc


def _lines(text: str, where: str) -> Iterator[tuple[int, list[str]]]:
    """Give each row's cells and the line it ends in; rows without any value are left out."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            values = [cell.strip() for cell in cells]
            if any(values):
                yield reader.line_num, values
    except csv.Error as exc:
        raise _error(where, reader.line_num, f"it is no CSV: {exc}", "look at its quotes") from exc


def _header(cells: Sequence[str], where: str) -> dict[str, int]:
    """Return the position of each known column, nothing where the row is no header."""
    names = [cell.lower() for cell in cells]
    if "path" not in names or is_image_name(names[0]):  # a class may be called path
        return {}
    twice = [name for name in COLUMNS if names.count(name) > 1]
    if twice:
        raise SourceError(f"list {where} has two columns called {twice[0]}, expected one", "rename one of them")
    return {name: names.index(name) for name in COLUMNS if name in names}


def _no_header(cells: Sequence[str], where: str, number: int) -> dict[str, int]:
    if not cells:
        raise SourceError(f"list {where} names no images", _EXAMPLE)
    if len(cells) > len(COLUMNS) or not is_image_name(cells[0].rpartition("/")[2]):
        raise _error(where, number, "it is neither a header with a column 'path' nor an image's path first", _EXAMPLE)
    return {name: i for i, name in enumerate(COLUMNS[: len(cells)])}


def _row(cells: Sequence[str], columns: dict[str, int], where: str, number: int) -> tuple[str, Row]:
    """Return a row's split, as it is spelt, and the row."""
    values = {name: cells[i] for name, i in columns.items()}
    name = _relative(values["path"], where, number)
    split = "all"
    if "split" in values:
        split = values["split"].lower()
        if split_of(split) is None:
            found = repr(values["split"])[:80]
            raise _error(where, number, f"its split is {found}, expected train, val or test", "name one in each row")
    return split, Row(name, name, values.get("label") or None)


def _relative(path: str, where: str, number: int) -> str:
    """Return the path with single slashes; SourceError for one that could lead out of the list's folder."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or PureWindowsPath(path).drive or ".." in pure.parts or "\0" in path:
        raise _error(
            where, number, f"its path is {path!r:.200}, expected one below the list's folder", "put the list higher up"
        )
    if not pure.parts:
        raise _error(where, number, "it has no path, expected an image's", "remove the line")
    return str(pure)


def _error(where: str, number: int, what: str, hint: str) -> SourceError:
    return SourceError(f"list {where}, line {number}: {what}", hint)
