"""Runs of commands that are made once for a module's tests, each of which has copies of its own."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from command import document
from own_networks import OWN


class RunsOnce:
    """A home in which each kind of run is made when it is first asked for.

    Parameters
    ----------
    folder : Path
        Where the commands are given, with a user's own networks in it.
    commands : mapping of str to sequence of str
        By kind, the words behind ``featx``.
    """

    def __init__(self, folder: Path, commands: Mapping[str, Sequence[str]]) -> None:
        self._folder, self._commands = folder, commands
        self._documents: dict[str, Any] = {}
        (folder / "own.py").write_text(OWN)

    def into(self, home: Path, kind: str) -> Any:
        """Copy the folder of a run into a home, and return what its command said."""
        if kind not in self._documents:
            with contextlib.chdir(self._folder):
                self._documents[kind] = document(*self._commands[kind], "--home", self._folder / "home")
        run = self._documents[kind]["run"]
        shutil.copytree(self._folder / "home" / "runs" / run, home / "runs" / run)
        return self._documents[kind]
