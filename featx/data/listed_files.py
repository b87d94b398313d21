"""The files that a list or a manifest names: below a folder of this machine, and at URLs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Protocol

import numpy as np

from featx.cache.memo import Memo
from featx.core.urls import is_url, safe_url
from featx.data.depth import content_digest
from featx.data.files import Files, Hashes
from featx.data.remote.reading import unknown_scheme
from featx.data.remote.url_files import UrlFiles
from featx.errors import ImageError


class Base(Protocol):
    """What the paths of a list are relative to.

    Attributes
    ----------
    name : str
        What to call it in an error.
    """

    name: str

    def name_of(self, path: str) -> str | None:
        """Return a path relative to it, the row's id; None for one that could lead out of it."""

    def refusal(self, url: str) -> str:
        """Return why a URL in the list must not be followed, '' if it may be."""


def place_of(path: str, base: Base) -> tuple[str, str]:
    """Return what `ListedFiles` calls a path or URL of a list, and its id: relative, or without secrets.

    Raises
    ------
    ValueError
        For one that is empty, could lead out of the list's folder, or must not be followed.
    """
    if is_url(path):
        if refused := unknown_scheme(path) or base.refusal(path):
            raise ValueError(f"its URL is refused: {refused}")
        return path, safe_url(path)
    name = base.name_of(path) if PurePosixPath(path).parts else "."
    if name is None:
        raise ValueError(f"its path is {path!r:.200}, expected one inside {base.name}")
    if name == ".":
        raise ValueError("it has no path, expected that of an image")
    return name, name


class ListedFiles:
    """Files by their paths below a folder, or by their URLs.

    Parameters
    ----------
    where : str
        What to call the list in an error.
    memo : Memo, optional
        Remembers content hashes.
    folder : Files
        What its relative paths lie below: a folder, or a prefix.
    stated : mapping of str to bytes, optional
        The SHA-256 of some files' bytes, by name, as the list says: they need not be read to know their key.
    urls : bool
        Whether it names any.
    """

    def __init__(
        self,
        where: str,
        memo: Memo | None,
        folder: Files,
        stated: Mapping[str, bytes] | None = None,
        *,
        urls: bool,
    ) -> None:
        self.where = where
        self._folder, self._urls = folder, UrlFiles(where, memo) if urls else None
        self._stated = dict(stated or {})
        self.in_flight = max(folder.in_flight, self._urls.in_flight if self._urls else 0)

    def names(self) -> list[str]:
        """Return nothing: files are read by the names that the list gives."""
        return []

    def _of(self, name: str) -> Files:
        return self._urls if self._urls is not None and is_url(name) else self._folder

    def read(self, name: str) -> bytes:
        """Return one file's content; ImageError where it cannot be had, or is not what the list says."""
        data = self._of(name).read(name)
        if (stated := self._stated.get(name)) is not None:
            self._check(safe_url(name) if is_url(name) else name, data, stated)
        return data

    def _check(self, called: str, data: bytes, stated: bytes) -> None:
        found = hashlib.sha256(data).digest()
        if found != stated:
            what = f"image {called} has the SHA-256 {found.hex()[:16]}..., expected {stated.hex()[:16]}..."
            raise ImageError(f"{what} as {self.where} says", "fetch the image or write the manifest again", reason=what)
        if content_digest(data) != stated:
            what = f"image {called} says how its 16 bits per sample are used, which is part of its key"
            raise ImageError(what, f"leave sha256 empty in its row of {self.where}", reason=what)

    def hashes(self, names: Sequence[str]) -> Hashes:
        """Return what the list says, and the SHA-256 of the content of all others, uint8 (n, 32)."""
        found = np.zeros((len(names), 32), np.uint8)
        groups: dict[bool, list[int]] = {False: [], True: []}
        for i, name in enumerate(names):
            if (stated := self._stated.get(name)) is not None:
                found[i] = np.frombuffer(stated, np.uint8)
            else:
                groups[is_url(name)].append(i)
        for rows in filter(None, groups.values()):
            found[rows] = self._of(names[rows[0]]).hashes([names[i] for i in rows])
        return found
