"""What the columns of a list of images mean: their separator, their names, their order where nothing names them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import PurePosixPath

from featx.data.decoding import is_image_name
from featx.data.split_names import split_of
from featx.errors import SourceError, first_few

COLUMNS: dict[str, tuple[str, ...]] = {
    "path": (
        *("filename", "file", "image", "image_path", "file_name", "filepath", "file_path", "image_name", "img_path"),
        *("url", "image_url", "uri"),
    ),
    "label": ("class", "category", "target", "class_name", "label_name"),
    "split": ("set", "subset", "partition"),
}
"""The columns that are read, in the order of a list without a header, and what else they may be called.

Where several are there, the first name wins over the others, and two of the others are one too many."""

SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons"}
"""Between values, in the order that they are tried in."""

_DIGITS = 18
"""Of an index at most; Python refuses to read numbers of thousands."""

EXAMPLE = "its first line should be path,label or path,label,split"


class Lines:
    """A list's rows, read as they are asked for.

    Parameters
    ----------
    text : str
        Of the whole list.
    where : str
        What to call the list in an error.
    separator : str
        One of `SEPARATORS`.
    """

    def __init__(self, text: str, where: str, separator: str) -> None:
        self.text, self.where, self.separator = text, where, separator

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """Give the line that each row ends in and its values; rows without any value are left out.

        Raises
        ------
        SourceError
            For what is no CSV.
        """
        text = io.StringIO(self.text, newline="")
        reader = csv.reader(text, delimiter=self.separator, skipinitialspace=True, strict=True)
        try:
            for cells in reader:
                values = [cell.strip() for cell in cells]
                if any(values):
                    yield reader.line_num, values
        except csv.Error as exc:
            raise line_error(self.where, reader.line_num, f"it is not CSV: {exc}", "check its quotes") from exc

    def first(self) -> list[list[str]]:
        """Return the values of the first two rows, as far as there are any."""
        return [values for _, values in islice(self, 2)]


def separated(text: str, where: str) -> Lines:
    """Return a list's rows by the separator with which its columns are understood; by commas where there is none."""
    for separator in SEPARATORS:
        lines = Lines(text, where, separator)
        try:
            first = lines.first()
        except SourceError:
            continue
        if first and (_has_header(first) or _paths_column(first[0]) is not None):
            return lines
    return Lines(text, where, ",")


def columns_of(lines: Lines) -> tuple[dict[str, int], bool]:
    """Return the position of each known column, and whether the first row is a header.

    A first column without a name, and a first column of numbers that count up in a list without a header, is the index
    that pandas writes, and left out; where no other column is called one of paths and it holds them, it is the paths.

    Raises
    ------
    SourceError
        For columns that are not understood.
    """
    first = lines.first()
    if not first:
        raise SourceError(f"list {lines.where} names no images", EXAMPLE)
    if _has_header(first):
        return _named(first, lines), True
    start = _paths_column(first[0])
    if start is None or len(first[0]) > start + len(COLUMNS):
        raise line_error(lines.where, next(iter(lines))[0], _not_understood(first[0]), EXAMPLE)
    if start:
        _check_index(lines, len(first[0]))
    columns = {name: start + i for i, name in enumerate(islice(COLUMNS, len(first[0]) - start))}
    if "label" in columns:
        _check_labels(lines, columns["label"])
    return columns, False


def unread(lines: Lines, columns: Mapping[str, int]) -> list[str]:
    """Return the names of a header's columns that are not read, as they are compared; pandas' index has none."""
    names = enumerate(map(_key, lines.first()[0]))
    return [name for i, name in names if i not in columns.values() and not _is_index(name, i)]


def _named(first: Sequence[Sequence[str]], lines: Lines) -> dict[str, int]:
    names = [_key(name) for name in first[0]]
    found = {column: at for column in COLUMNS if (at := _position(column, names, lines.where)) is not None}
    found.setdefault("path", 0)
    # `split` itself must name splits in each row; what happens to be called set may be anything else.
    if "split" in found and names[found["split"]] != "split" and not _are_splits(lines, found["split"]):
        del found["split"]
    return found


def _position(column: str, names: Sequence[str], where: str) -> int | None:
    """Return the index of a column under one of its names; SourceError if several could be meant."""
    others = [name for name in names if name in COLUMNS[column]]
    meant = [column] * names.count(column) or others
    if len(meant) > 1 and len(set(meant)) == 1:
        raise SourceError(f"list {where} has two columns called {meant[0]}, expected one", "rename one of them")
    if len(meant) > 1:
        raise SourceError(
            f"list {where} has the columns {' and '.join(meant)}, expected one {column}", f"call one of them {column}"
        )
    return names.index(meant[0]) if meant else None


def _has_header(first: Sequence[Sequence[str]]) -> bool:
    names = [_key(name) for name in first[0]]
    if any(map(_is_image, first[0])):  # a class may be called path
        return False
    if any(name == "path" or name in COLUMNS["path"] for name in names):
        return True
    # The paths were the index of a table in pandas, which names it only if told to.
    return _is_index(names[0], 0) and len(first) > 1 and _is_image(first[1][0])


def _paths_column(cells: Sequence[str]) -> int | None:
    """Return where the paths stand in a list without a header: first, or behind pandas' index."""
    if _is_image(cells[0]):
        return 0
    return 1 if len(cells) > 1 and cells[0].isdecimal() and _is_image(cells[1]) else None


def _check_index(lines: Lines, width: int) -> None:
    """Raise SourceError where numbers before the paths do not count up as pandas' index does: they may be labels."""
    before = -1
    for number, values in lines:
        is_number = values[0].isdecimal() and len(values[0]) <= _DIGITS
        if not is_number or int(values[0]) <= before:
            found = f"it begins with {first_few([repr(values[0])[:40]])}" + (f" after {before}" if before >= 0 else "")
            what = f"{found}, expected a path, or pandas' index, which increases from row to row"
            order = ",".join(("label", "path", "split")[:width])
            raise line_error(lines.where, number, what, f"{EXAMPLE}, in the order of its columns, here perhaps {order}")
        before = int(values[0])


def _check_labels(lines: Lines, at: int) -> None:
    """Raise SourceError where all labels of a list without a header are names of splits: they would become classes."""
    found: dict[str, None] = {}
    for _, values in lines:
        if len(values) > at and values[at]:
            if split_of(values[at]) is None:
                return
            found[values[at]] = None
    if found:
        named = first_few(list(found))
        what = f"without a header the value after a path is its label, and all labels here are splits: {named}"
        raise line_error(lines.where, next(iter(lines))[0], what, f"{EXAMPLE}; or path,split, or label,path,split")


def _are_splits(lines: Lines, at: int) -> bool:
    rows = islice(lines, 1, None)
    return all(len(values) > at and split_of(values[at]) is not None for _, values in rows)


def _key(name: str) -> str:
    return "_".join(name.lower().replace("-", " ").split())


def _is_index(key: str, at: int) -> bool:
    return at == 0 and (not key or key.startswith("unnamed:"))


def _is_image(cell: str) -> bool:
    return is_image_name(PurePosixPath(cell.replace("\\", "/")).name)


def _not_understood(cells: Sequence[str]) -> str:
    expected = ", ".join(("path", *COLUMNS["path"][:4]))
    return (
        f"it is neither a header with a column of paths ({expected}) nor a row whose first value is an image's path; "
        f"it begins with {first_few([repr(cell)[:40] for cell in cells])}"
    )


def line_error(where: str, number: int, what: str, hint: str) -> SourceError:
    """Return the error for one line of a list."""
    return SourceError(f"list {where}, line {number}: {what}", hint)
