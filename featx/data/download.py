"""Published files of data sets: downloaded whole or not at all, and never used before their digest was checked."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from featx.cache.memo import Memo
from featx.core.atomic import make_folder
from featx.core.http import NetworkError, download
from featx.core.specs import Progress, no_progress
from featx.data.unpacked import check_contents, md5_of, note_contents
from featx.errors import SourceError, StoreError


@dataclass(frozen=True)
class Remote:
    """One published file.

    Attributes
    ----------
    urls : tuple of str
        Mirrors, the best first; all end in the file's name.
    md5 : str
        As published, hexadecimal; empty where nobody publishes one.
    folder : str
        Where it belongs, relative to the data folder.
    unpacked : tuple of str
        What is taken out of the archive into `folder`; where it lies there already, the archive is not needed.
    inner : str
        An archive inside the archive that holds them.
    note : str
        Added to the hint where the file is missing.
    """

    urls: tuple[str, ...]
    md5: str
    folder: str = "."
    unpacked: tuple[str, ...] = ()
    inner: str = ""
    note: str = ""

    @property
    def name(self) -> str:
        """Return the file's name."""
        return self.urls[0].rpartition("/")[2]

    @property
    def digest(self) -> str:
        """Return what is known about the file's content, in words."""
        return f"md5 {self.md5}" if self.md5 else "no digest published"


def fetch_all(
    name: str, remotes: Sequence[Remote], root: Path, memo: Memo | None = None, progress: Progress = no_progress
) -> None:
    """See to it that a data set's files are there: checked, and unpacked where they are archives.

    Parameters
    ----------
    name : str
        The data set's, for errors.
    remotes : sequence of Remote
        Its files.
    root : Path
        The data folder.
    memo : Memo, optional
        Remembers which files have been checked.
    progress : callable
        Called with (file name, MB done, MB in all).

    Raises
    ------
    SourceError
        Naming the file, its digest and its folder: where it can be neither found nor downloaded, or is not
        the published one; and a file that changed since it was unpacked.
    DiskFullError, StoreError
        Where there is no room, or the folder cannot be written.
    """
    for remote in remotes:
        folder = Path(os.path.normpath(root / remote.folder))
        path = folder / remote.name
        if remote.unpacked and all((folder / made).exists() for made in remote.unpacked):
            check_contents(name, folder, _note(path), memo)
            continue
        try:
            if not path.is_file():
                make_folder(folder)
                _download(name, remote, path, progress)
            _check(name, remote, path, memo)
            if remote.unpacked:
                _unpack(name, remote, path)
        except StoreError as exc:
            raise type(exc)(exc.message, "make room, or point FEATX_DATA elsewhere") from exc


def all_here(remotes: Sequence[Remote], root: Path) -> bool:
    """Tell whether `fetch_all` would find a data set's files, and download none."""
    folders = [(remote, Path(os.path.normpath(root / remote.folder))) for remote in remotes]
    return all(
        (folder / remote.name).is_file()
        or (bool(remote.unpacked) and all((folder / made).exists() for made in remote.unpacked))
        for remote, folder in folders
    )


def _download(name: str, remote: Remote, path: Path, progress: Progress) -> None:
    reasons = []
    for url in remote.urls:
        try:
            return download(url, path, "md5", remote.md5, progress)
        except NetworkError as exc:
            reasons.append(" ".join(str(exc).split())[:120])
    raise SourceError(
        f"data set {name} needs {remote.name} ({remote.digest}), which is not in {path.parent} and could not be "
        f"downloaded: {'; '.join(dict.fromkeys(reasons))}",
        f"put {remote.urls[0]} into that folder{remote.note}",
    )


def _check(name: str, remote: Remote, path: Path, memo: Memo | None) -> None:
    if not remote.md5:
        return
    try:
        found = md5_of(path, memo)
    except OSError as exc:
        raise SourceError(f"{path} of data set {name} cannot be read: {exc.strerror}", "check the file") from exc
    if found != remote.md5:
        raise SourceError(
            f"{path} is not the {remote.name} of data set {name}: its md5 is {found}, expected {remote.md5}",
            f"delete it to have it downloaded, or put {remote.urls[0]} in its place",
        )


def _unpack(name: str, remote: Remote, path: Path) -> None:
    """Take the wanted folders out of a checked archive; each appears whole or not at all."""
    folder = path.parent
    try:
        with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=folder, ignore_cleanup_errors=True) as temporary:
            _extract(path, temporary)
            if remote.inner:
                _extract(Path(temporary, remote.inner), temporary)
            note_contents(Path(temporary), remote.unpacked, _note(path))
            for made in remote.unpacked:
                target = folder / made
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    with suppress(FileExistsError):  # another process was faster
                        os.rename(Path(temporary, made), target)
    except FileNotFoundError as exc:
        raise SourceError(
            f"{path} of data set {name} lacks {', '.join(remote.unpacked)}", "delete and download it again"
        ) from exc
    except OSError as exc:
        raise SourceError(f"{path} of data set {name} cannot be unpacked: {exc.strerror or exc}", "make room") from exc
    # tarfile and zipfile pass on whatever their parsers meet.
    except Exception as exc:
        reason = " ".join(str(exc).split())[:120] or type(exc).__name__
        raise SourceError(f"{path} of data set {name} cannot be unpacked: {reason}", "delete it") from exc


def _note(path: Path) -> Path:
    """Return where it is noted what was taken out of an archive."""
    return path.with_name(f"{path.name}.contents.json")


def _extract(path: Path, folder: str) -> None:
    # 'data' refuses members that lead outside, links among them; the reader of zip archives passes them over.
    if PurePosixPath(path.name).suffix == ".zip":
        shutil.unpack_archive(path, folder)
    else:
        shutil.unpack_archive(path, folder, filter="data")
