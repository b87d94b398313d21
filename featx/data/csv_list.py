"""A table in text that lists images, their labels and splits: ``path,label,split``."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath, PureWindowsPath

from featx.cache.memo import Memo
from featx.core.paths import expanded
from featx.core.urls import is_url, safe_url, url_folder
from featx.data.csv_columns import COLUMNS, EXAMPLE, SEPARATORS, Lines, columns_of, line_error, separated, unread
from featx.data.files import FolderFiles
from featx.data.folder_layout import Layout, Row, arrange
from featx.data.listed_files import Base, ListedFiles, place_of
from featx.data.remote.url_files import UrlBase, UrlFiles, whole_object
from featx.data.split_names import name_splits, split_of
from featx.errors import FeatxWarning, ImageError, OptionError, SourceError, first_few

ROOT = "--root DIR"


class Below:
    """The folder that the paths of a list lie below.

    Parameters
    ----------
    folder : Path
        The list's own, or another one.
    name : str
        What to call it in an error.
    """

    def __init__(self, folder: Path, name: str = "the list's folder") -> None:
        self.folder, self.name = folder, name
        self._real = os.path.realpath(folder)
        self._spellings = (os.path.abspath(folder), self._real)
        self._folders: dict[str, str] = {}

    def name_of(self, path: str) -> str | None:
        """Return a path relative to the folder, with single slashes; None for one that could lead out of it."""
        pure = PurePosixPath(path)
        if ".." in pure.parts or "\0" in path:
            return None
        if pure.is_absolute():
            return self._inside("/" + path.lstrip("/"))
        return None if PureWindowsPath(path).drive else str(pure)

    def refusal(self, url: str) -> str:
        """Return '': who has the list here may follow it."""
        return ""

    def _inside(self, path: str) -> str | None:
        for folder in self._spellings:
            if PurePosixPath(path).is_relative_to(folder):
                return str(PurePosixPath(path).relative_to(folder))
        # By way of a link outside, such as a home folder on another disk.
        above, _, name = str(PurePosixPath(path)).rpartition("/")
        if above not in self._folders:
            self._folders[above] = os.path.realpath(above or "/")
        real = PurePosixPath(self._folders[above], name)
        return str(real.relative_to(self._real)) if real.is_relative_to(self._real) else None


def open_list(
    path: Path, memo: Memo | None = None, root: str | os.PathLike[str] | None = None
) -> tuple[ListedFiles, Layout]:
    """Read a list and return the files that it names, and its rows by split.

    Paths are relative to the list's folder or to `root`, or absolute and below it; or they are URLs. Values are
    separated by commas, semicolons or tabs. A header names the columns in any order (see
    `featx.data.csv_columns.COLUMNS`; others are ignored); without one they are path, label, split, as many as there
    are. Spaces around a value do not count, an empty label is none, an image may stand in several rows.

    Parameters
    ----------
    path : Path
        The list.
    memo : Memo, optional
        Remembers content hashes.
    root : str or path, optional
        Another folder than the list's own; nothing outside of it is read.

    Raises
    ------
    OptionError
        `root` is no folder.
    SourceError
        Naming the line: for another encoding than UTF-8, broken quotes, an unknown split, a path that
        leads out of the folder. Where none of the files is there.

    Warns
    -----
    FeatxWarning
        There are no labels, and columns that are not read.
    """
    below = Below(path.parent) if root is None else Below(_folder(root), os.fspath(root))
    try:
        text = _decoded(path.read_bytes(), str(path))
    except OSError as exc:
        raise SourceError(f"list {path} cannot be read: {exc.strerror}", "check its permissions") from exc
    layout = read_list(text, str(path), below)
    files = FolderFiles(below.folder, memo)
    _check_any_there(files, layout, path, below)
    return ListedFiles(str(path), memo, files, urls=_has_urls(layout)), layout


def open_remote_list(url: str, memo: Memo | None = None) -> tuple[ListedFiles, Layout]:
    """Read a list at a URL, as `open_list`; its paths are relative to its own URL, and none is that of a local file."""
    where = safe_url(url)
    layout = read_list(_decoded(whole_object(url), where), where, UrlBase(url))
    return ListedFiles(where, memo, UrlFiles(where, memo, url_folder(url)), urls=_has_urls(layout)), layout


def _folder(root: str | os.PathLike[str]) -> Path:
    folder = expanded(root)
    if not os.fspath(root) or not os.path.isdir(folder):
        raise OptionError(
            f"root {os.fspath(root)!r} is not a folder, expected the base of a list's paths", "check its name"
        )
    return folder


def read_list(text: str, where: str, below: Base | None = None) -> Layout:
    """Understand a list's text; see `open_list`."""
    lines = separated(text, where)
    columns, has_header = columns_of(lines)
    table = _Table(lines, columns, below or Below(Path(where).parent))
    splits: dict[str, list[Row]] = {}
    for number, cells in islice(lines, int(has_header), None):
        split, row = table.row(number, cells)
        splits.setdefault(split, []).append(row)
    if not splits:
        raise SourceError(f"list {where} names no images", EXAMPLE)
    if has_header:
        _tell_of_columns(lines, columns)
    named = name_splits(splits, f"list {where}") if "split" in columns else {"all": "all"}
    return arrange({named[spelt]: rows for spelt, rows in splits.items()})


def _tell_of_columns(lines: Lines, columns: Mapping[str, int]) -> None:
    """Say which columns are not read where one of them may hold what is missing."""
    names = unread(lines, columns)
    missing = [column for column in ("label", "split") if column not in columns]
    if names and ("label" in missing or any(name in COLUMNS["split"] for name in names)):
        text = f"list {lines.where} has no column {' or '.join(missing)}; not read: {first_few(names, 10)}"
        warnings.warn(text, FeatxWarning, stacklevel=4)


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        number = exc.object[: exc.start].count(b"\n") + 1
        raise line_error(where, number, "it is not UTF-8 text", "save the list again as CSV UTF-8") from exc


class _Table:
    """A list whose columns are known."""

    def __init__(self, lines: Lines, columns: Mapping[str, int], below: Base) -> None:
        self.lines, self.columns, self.below = lines, columns, below
        self.width = len(lines.first()[0])

    def row(self, number: int, cells: Sequence[str]) -> tuple[str, Row]:
        """Return a row's split, as it is spelt, and the row."""
        if len(cells) != self.width:
            hint = f"quote {SEPARATORS[self.lines.separator]} in values"
            raise self._error(number, f"it has {len(cells)} columns, expected {self.width}", hint)
        values = {name: cells[i] for name, i in self.columns.items()}
        name, called = self._place(values["path"], number)
        split = values.get("split", "").lower()
        if "split" in values and split_of(split) is None:
            found = repr(values["split"])[:80]
            raise self._error(number, f"its split is {found}, expected train, val or test", "give one in each row")
        return split or "all", Row(name, called, values.get("label") or None)

    def _place(self, path: str, number: int) -> tuple[str, str]:
        """Return what the files call a path, and its id; SourceError for one that could lead out of the folder."""
        try:
            return place_of(path, self.below)
        except ValueError as exc:
            if is_url(path):
                hint = "remove the line, or download the image"
            else:
                hint = self._other_root(path) if PurePosixPath(path).parts else "remove the line"
            raise self._error(number, str(exc), hint) from exc

    def _other_root(self, path: str) -> str:
        """Return a hint that names the folder which all absolute paths lie below."""
        if isinstance(self.below, UrlBase):
            return "a list at a URL names what lies below it, or URLs; for local files, copy it next to them"
        if ".." in PurePosixPath(path).parts or not path.startswith("/"):
            return f"write paths without .. and drives; {ROOT} names another folder"
        rows = (cells for _, cells in self.lines if len(cells) == self.width)
        folders = {os.path.dirname(at) for cells in rows if (at := cells[self.columns["path"]]).startswith("/")}
        return f"give the folder that contains them all, perhaps --root {os.path.commonpath(folders)}"

    def _error(self, number: int, what: str, hint: str) -> SourceError:
        return line_error(self.lines.where, number, what, hint)


def _check_any_there(files: FolderFiles, layout: Layout, path: Path, below: Below) -> None:
    """Raise SourceError where a list names not a single file that is there; of some, reading says which."""
    names = list(dict.fromkeys(row.name for rows in layout.splits.values() for row in rows))
    if _has_urls(layout):  # asked for one by one, when they are read
        return
    if any(_is_there(files, name) for name in names):
        return
    found = "the one file" if len(names) == 1 else f"all of the {len(names):,} files"
    raise SourceError(f"{found} that list {path} names cannot be found: {first_few(names)}", _where(names[0], below))


def _has_urls(layout: Layout) -> bool:
    return any(is_url(row.name) for rows in layout.splits.values() for row in rows)


def _is_there(files: FolderFiles, name: str) -> bool:
    try:
        return os.path.exists(files.path(name))
    except ImageError:  # behind a link that leads out: there, and refused when it is read
        return True


def _where(name: str, below: Below) -> str:
    """Return a hint where files could be that are not below the folder they should be in."""
    real = Path(os.path.realpath(below.folder))
    for folder in (Path(), *real.parents):
        if os.path.exists(folder / name):
            return f"add --root {folder}, where they can be found"
    if "\\" in name and os.path.exists(real / name.replace("\\", "/")):
        return r"write / instead of \ between folders"
    return f"its paths are relative to {below.folder.absolute()}; {ROOT} names another folder"
