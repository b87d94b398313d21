"""Where featx keeps features, runs and remembered hashes."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def home_folder(home: str | os.PathLike[str] | None = None) -> Path:
    """Return the absolute home folder: the argument, else ``FEATX_HOME``, else the user's cache folder.

    Nothing is created here.
    """
    if home is None:
        home = os.environ.get("FEATX_HOME") or platformdirs.user_cache_dir("featx")
    return Path(home).expanduser().absolute()
