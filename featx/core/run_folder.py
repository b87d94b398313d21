"""A run's folder: the record of one fit, training or demo, and its model."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from featx.core import atomic
from featx.core.paths import home_folder
from featx.core.urls import redacted
from featx.errors import CorruptStoreError, OptionError, first_few, legible, suggest

RECORD_FILE = "run.json"
MODEL_FILE = "model.safetensors"
BLIND_FILE = "model-train.safetensors"
"""Of a swept fit, whose model learnt from the validation rows too: the same C fitted on the training rows alone."""

MAX_RECORD_BYTES = 64 << 20

_LISTED = 10
"""So many runs does an error list."""

_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[a-z]{1,20}-[0-9a-f]{4}")
_KIND = re.compile(r"[a-z]{1,20}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,100}")


class Run:
    """One run's folder.

    Made by `Runs.new` and `Runs.open`.

    Parameters
    ----------
    path : Path
        The folder.
    start : mapping, optional
        The first fields of its record: kind, command and time.

    Attributes
    ----------
    id : str
        Name of the folder.
    path : Path
        The folder.

    Examples
    --------
    >>> import tempfile
    >>> from featx import Runs
    >>> run = Runs(tempfile.mkdtemp()).new("fit", ["my_script.py"])
    >>> run.write({"test_accuracy": 0.75})
    >>> record = run.read()
    >>> record["kind"], record["test_accuracy"]
    ('fit', 0.75)
    """

    def __init__(self, path: Path, start: Mapping[str, Any] | None = None) -> None:
        self.id = path.name
        self.path = path
        self._start = dict(start or {})

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def is_recorded(self) -> bool:
        """Whether run.json exists: without it the run was not finished."""
        return (self.path / RECORD_FILE).is_file()

    def read(self) -> dict[str, Any]:
        """Return the record.

        Returns
        -------
        dict
            The content of run.json.

        Raises
        ------
        StoreError, CorruptStoreError
            There is none, or it is damaged.
        """
        record = atomic.read_json(self.path / RECORD_FILE, MAX_RECORD_BYTES, self._hint)
        if not isinstance(record, dict):
            raise CorruptStoreError(f"{self.path / RECORD_FILE} is damaged: it is not a record", self._hint)
        return record

    def write(self, record: Mapping[str, Any]) -> None:
        """Write run.json, wholly or not at all.

        Values are converted by `jsonable`: NaN and infinite numbers become null.

        Parameters
        ----------
        record : mapping
            Fields to add to the run's id, kind, command and start.

        Raises
        ------
        StoreError
            It cannot be written (`DiskFullError`: no space left).
        """
        whole = {**self._start, **record, "id": self.id}
        atomic.write_json(self.path / RECORD_FILE, jsonable(whole))

    def save_tensors(
        self,
        tensors: Mapping[str, np.ndarray[Any, Any]],
        name: str = MODEL_FILE,
        header: Mapping[str, str] | None = None,
    ) -> Path:
        """Write arrays as a safetensors file into the folder.

        Parameters
        ----------
        tensors : mapping of str to ndarray
            Arrays of any shapes, by name.
        name : str
            A plain file name; the model's by default.
        header : mapping of str to str, optional
            What else the file says of itself.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        OptionError
            The name is not allowed for a run's file.
        StoreError
            It cannot be written (`DiskFullError`: no space left).
        """
        from safetensors.numpy import save

        # safetensors writes the memory of an array as it lies there: it has to lie in C order.
        lying = {key: np.asarray(array, order="C") for key, array in tensors.items()}
        data = save(lying, None if header is None else dict(header))
        return self.write_bytes(name, data)

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file (UTF-8) into the folder.

        Parameters
        ----------
        name : str
            A plain file name.
        text : str
            Its content.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        OptionError
            The name is not allowed for a run's file.
        StoreError
            It cannot be written (`DiskFullError`: no space left).
        """
        return self.write_bytes(name, text.encode("utf-8", "backslashreplace"))

    def write_bytes(self, name: str, data: bytes) -> Path:
        """Write a file into the folder, wholly or not at all.

        Parameters
        ----------
        name : str
            A plain file name: letters, digits, ``_``, ``.`` and ``-``.
        data : bytes
            Its content.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        OptionError
            The name is not allowed for a run's file.
        StoreError
            It cannot be written (`DiskFullError`: no space left).
        """
        if not _NAME.fullmatch(name) or name == RECORD_FILE:
            raise OptionError(f"{name!r} cannot be the name of a run's file", "use letters, digits, '_.-'")
        atomic.write_bytes(self.path / name, data)
        return self.path / name

    def discard(self) -> None:
        """Remove the folder unless it has a record: the leftovers of an interrupted run are useless."""
        if not self.is_recorded and self.path.is_dir() and not self.path.is_symlink():
            atomic.remove_tree(self.path)

    @property
    def _hint(self) -> str:
        return f"remove the folder {self.path} and run the command again"


class Runs:
    """All runs under ``<home>/runs``.

    Parameters
    ----------
    home : path, optional
        featx's home folder; else ``FEATX_HOME``, else the user's cache folder.

    Attributes
    ----------
    folder : Path
        Where the runs are.

    Examples
    --------
    >>> import tempfile
    >>> runs = Runs(tempfile.mkdtemp())
    >>> run = runs.new("fit", ["my_script.py"])
    >>> run.write({"test_accuracy": 0.75})
    >>> runs.open(run.id).read()["test_accuracy"]
    0.75
    """

    def __init__(self, home: str | os.PathLike[str] | None = None) -> None:
        self.folder = home_folder(home) / "runs"

    def new(self, kind: str, command: list[str]) -> Run:
        """Create a run's folder now, so that an unwritable home is found before the work starts.

        Parameters
        ----------
        kind : str
            ``fit``, ``train`` or ``demo``.
        command : list of str
            The command line, for the record.

        Returns
        -------
        Run
            Without a record yet.

        Raises
        ------
        OptionError
            The kind is not a plain word.
        StoreError
            The folder cannot be created.
        """
        if not _KIND.fullmatch(kind):
            raise OptionError(f"kind of run is {kind!r}, expected a word such as fit, train or demo")
        atomic.make_folder(self.folder)
        while True:
            now = time.time()  # UTC below: ids sort by time on every machine, within a second too (`by_time`)
            stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
            path = self.folder / f"{stamp}-{kind}-{int(now % 1 * 0x10000):04x}"
            try:
                path.mkdir()
            except FileExistsError:
                continue
            except OSError as exc:
                raise atomic.storage_error(path, exc) from exc
            return Run(path, _start(kind, command, stamp))

    def open(self, name: str | os.PathLike[str], kind: str | None = None) -> Run:
        """Return the recorded run with an id, an id's unique prefix, or the path of its folder.

        Parameters
        ----------
        name : str or path
            The id, its prefix, or the path.
        kind : str, optional
            The expected kind, ``fit`` or ``train``; not checked, but mentioned in the error if there is no such run.

        Returns
        -------
        Run
            With its record.

        Raises
        ------
        OptionError
            There is no such run, there are several, or it was not finished; the nearest ids are named.
        """
        text = os.fspath(name)
        runs = self.list()
        found = [run for run in runs if text and run.id.startswith(text)]
        if len(found) == 1:
            return found[0]
        if found:
            near = first_few([run.id for run in found], _LISTED)
            raise OptionError(f"{text!r:.80} matches {len(found)} runs: {near}", "give more characters of the id")
        if text and _is_file(Path(text) / RECORD_FILE):
            return Run(Path(text).absolute())
        ids = [run.id for run in runs if kind is None or f"-{kind}-" in run.id]
        makes = f"`featx {kind}` makes one" if kind else "`featx fit` and `featx train` make them"
        hint = suggest(text, ids) or (f"the latest is {ids[-1]}" if ids else makes)
        raise OptionError(f"no finished run {text!r:.80} in {self.folder}", hint)

    def unfinished(self, kind: str, command: list[str]) -> list[Run]:
        """List the runs of a kind that have no record.

        Parameters
        ----------
        kind : str
            ``fit``, ``train`` or ``demo``.
        command : list of str
            The command line, for the record that they may still receive.

        Returns
        -------
        list of Run
            Newest first.
        """
        found = []
        for folder in self.all():
            with suppress(OSError):
                if f"-{kind}-" in folder.id and not folder.is_recorded:
                    run = Run(folder.path, _start(kind, command, folder.id[:15]))
                    found.append((os.lstat(run.path).st_mtime_ns, run.id, run))
        return [run for *_, run in sorted(found, key=lambda item: item[:2], reverse=True)]

    def all(self) -> list[Run]:
        """List every run's folder, with a record or without.

        Returns
        -------
        list of Run
            By id.
        """
        found = []
        with suppress(OSError):
            for entry in os.scandir(self.folder):
                if _ID.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                    found.append(Run(self.folder / entry.name))
        return sorted(found, key=lambda run: by_time(run.id))

    def list(self) -> list[Run]:
        """List the runs that have a record.

        Returns
        -------
        list of Run
            Oldest first.
        """
        found = []
        for run in self.all():
            with suppress(OSError):
                written = os.lstat(run.path / RECORD_FILE).st_mtime_ns
                found.append((run.id[:15], written, by_time(run.id), run))
        return [run for *_, run in sorted(found, key=lambda item: item[:3])]


def by_time(run: str) -> tuple[str, str, str]:
    """Return what sorts ids by time, whatever their kinds: the second, and its part that ids end with."""
    return run[: len("YYYYMMDD-HHMMSS")], run.rpartition("-")[2], run


def _start(kind: str, command: list[str], stamp: str) -> dict[str, Any]:
    """Return what a record begins with; `stamp` is the beginning of the run's id."""
    created = time.strptime(stamp, "%Y%m%d-%H%M%S")
    told = [redacted(word) if "://" in word else word for word in command]
    return {"kind": kind, "command": told, "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", created)}


def _is_file(path: Path) -> bool:
    with suppress(OSError, ValueError):  # a name that is too long, or has a null in it
        return path.is_file()
    return False


def jsonable(value: Any) -> Any:
    """Return `value` as JSON can hold it.

    NaN and infinite numbers become None, numpy scalars and arrays numbers and lists, dataclasses
    dictionaries, paths text, tuples lists, sets sorted lists. Names that are no text become such: see `legible`.
    Anything else raises TypeError.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return legible(value)
    if isinstance(value, (int, np.bool_, np.integer)):
        return value.item() if isinstance(value, np.generic) else value
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return legible(os.fsdecode(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return jsonable(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {legible(str(key)): jsonable(part) for key, part in value.items()}
    if isinstance(value, np.ndarray):
        return jsonable(value.tolist())
    if isinstance(value, (set, frozenset)):
        return [jsonable(part) for part in sorted(value)]
    if isinstance(value, (list, tuple)):
        return [jsonable(part) for part in value]
    raise TypeError(f"a record cannot hold {type(value).__name__}")
