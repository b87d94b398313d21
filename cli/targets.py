"""Where a command is told to write a file: looked at before the work, not after it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from featx.errors import OptionError, StoreError

PICTURES = ("png", "svg", "pdf")
"""Kinds of pictures that featx draws, by the ending of their names."""


PICTURE_NAMES = ".png, .svg or .pdf"
OTHER_PICTURES = (".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".eps", ".ps")


def check_target(path: Path, source: str, example: str = "features.h5") -> None:
    """Raise OptionError unless a file can be written at `path`: known before the work, not after it."""
    folder = path.absolute().parent
    if path.is_dir():
        raise OptionError(f"--output {path} is a folder, expected a file", f"for example {path / example}")
    if not folder.is_dir():
        raise OptionError(f"the folder of --output {path} does not exist", f"make {folder} first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OptionError(f"the folder of --output {path} cannot be written to", "choose another folder")
    if path.exists() and os.path.exists(source) and os.path.samefile(path, source):
        raise OptionError(f"--output {path} is the source itself", "choose another file")


def check_report(path: Path, flag: str, example: str) -> None:
    """Raise StoreError unless what is shown of runs can be written at `path`, which `flag` named."""
    folder = path.absolute().parent
    if path.is_dir():
        raise StoreError(f"{flag} {path} is a folder, expected a file", f"for example {path / example}")
    if not folder.is_dir():
        raise StoreError(
            f"{flag} {path}: there is no folder {folder}", f"make it first: mkdir -p {shlex.quote(str(folder))}"
        )
    writable = os.access(path if path.exists() and not path.is_file() else folder, os.W_OK)
    if not writable:
        raise StoreError(f"{flag} {path}: the folder {folder} cannot be written to", "choose another folder")


def is_device(path: Path) -> bool:
    """Tell whether a path is something that is written into and never replaced, such as a pipe."""
    return path.exists() and not path.is_file() and not path.is_dir()


def picture_kind(path: Path) -> str:
    """Return which kind of picture a file's name means, as its ending says; empty where it is no picture's.

    Raises
    ------
    OptionError
        It is that of a picture which featx does not draw.
    """
    kind = path.suffix.removeprefix(".").lower()
    if path.suffix.lower() in OTHER_PICTURES:
        raise OptionError(f"--output is {path.name}, expected a name ending in {PICTURE_NAMES}", "give another name")
    return kind if kind in PICTURES else ""
