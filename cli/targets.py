"""Where a command is told to write a file: looked at before the work, not after it."""

from __future__ import annotations

import os
from pathlib import Path

from featx.errors import OptionError


def check_target(path: Path, source: str) -> None:
    """Raise OptionError unless a file can be written at `path`: known before the work, not after it."""
    folder = path.absolute().parent
    if path.is_dir():
        example = path / "features.h5"
        raise OptionError(f"--output {path} is a folder, expected a file", f"for example {example}")
    if not folder.is_dir():
        raise OptionError(f"the folder of --output {path} does not exist", f"make {folder} first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OptionError(f"the folder of --output {path} cannot be written to", "choose another folder")
    if path.exists() and os.path.exists(source) and os.path.samefile(path, source):
        raise OptionError(f"--output {path} is the source itself", "choose another file")
