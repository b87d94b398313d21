"""Where featx keeps features, runs and remembered hashes, and where downloaded data sets lie."""

from __future__ import annotations

import os
import re
from pathlib import Path

import platformdirs


def home_folder(home: str | os.PathLike[str] | None = None) -> Path:
    """Return the absolute home folder: the argument, else ``FEATX_HOME``, else the user's cache folder.

    Nothing is created here.
    """
    if home is None:
        home = os.environ.get("FEATX_HOME") or platformdirs.user_cache_dir("featx")
    return Path(home).expanduser().absolute()


def data_folder() -> Path:
    """Return the absolute folder of data sets that have names: ``FEATX_DATA``, else ``data`` in the home folder.

    It is laid out as the folder that torchvision's classes call `root`, so that one serves both.
    """
    named = os.environ.get("FEATX_DATA")
    return expanded(named).absolute() if named else home_folder() / "data"


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with a leading ``~`` or ``~user`` spelled out; one that names nobody is returned unchanged."""
    try:
        return Path(path).expanduser()
    except (RuntimeError, ValueError):  # no such user, or no text that the system could look for
        return Path(path)


def recorded_path(text: str) -> str:
    """Return a path as this system spells it, that a record spells as `featx.errors.legible` does."""
    spelled = re.sub(r"\\udc([89a-f][0-9a-f])", lambda found: chr(0xDC00 + int(found[1], 16)), text)
    if os.path.lexists(os.fsdecode(_bytes_of(text))):
        spelled = text
    return os.fsdecode(_bytes_of(spelled))


def _bytes_of(path: str) -> bytes:
    try:
        return os.fsencode(path)
    except UnicodeEncodeError:  # a locale of another encoding: names on the disk are UTF-8
        return path.encode("utf-8", "surrogateescape")
