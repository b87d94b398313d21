"""What a process did to a disk, in order, and the states in which a loss of power may leave that disk.

The model is harsher than real file systems: what was not synced may be lost, zeroed or cut in any combination, and of
the changes of one folder since its last fsync any subset may have reached the disk. A rename within a folder is atomic.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Op = tuple[Any, ...]
"""``create``, ``mkdir``, ``unlink``, ``fsync``, ``promise``: a path; ``write``: path, data; ``rename``: from, to."""

Tree = dict[str, bytes | None]
"""Data by path relative to the root; None for a folder."""


@contextmanager
def recorded(root: Path, log: Path) -> Iterator[Callable[[str, Path], None]]:
    """Append to `log` what this process does below `root`; yields a function that notes something more.

    The log is written at once: it outlives a kill.
    """
    real = {name: getattr(os, name) for name in ("open", "close", "write", "fsync", "replace", "rename", "mkdir")}
    real |= {name: getattr(os, name) for name in ("unlink", "rmdir")}
    out = real["open"](log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    paths: dict[int, str] = {}

    def note(what: str, path: Any, *rest: Any) -> None:
        if Path(path).is_relative_to(root):
            real["write"](out, pickle.dumps((what, str(path), *rest)))

    def opening(path: Any, flags: int, *args: Any, dir_fd: int | None = None, **options: Any) -> int:
        if dir_fd is not None:  # a removal of a tree on its way down: nothing is made
            return int(real["open"](path, flags, *args, dir_fd=dir_fd, **options))
        there = os.path.lexists(path)
        fd = int(real["open"](path, flags, *args, **options))
        paths[fd] = str(path)
        if flags & os.O_CREAT and not there:
            note("create", path)
        return fd

    def writing(fd: int, data: Any) -> int:
        n = int(real["write"](fd, data))
        if fd in paths:
            note("write", paths[fd], bytes(memoryview(data)[:n]))
        return n

    def syncing(fd: int) -> None:
        real["fsync"](fd)
        if fd in paths:
            note("fsync", paths[fd])

    def closing(fd: int) -> None:
        paths.pop(fd, None)
        real["close"](fd)

    def noting(name: str, what: str) -> Callable[..., None]:
        def step(path: Any, *args: Any, **options: Any) -> None:
            real[name](path, *args, **options)
            note(what, path, *map(str, args if what == "rename" else ()))

        return step

    os.open, os.write, os.fsync, os.close = opening, writing, syncing, closing  # type: ignore[assignment]
    os.replace = os.rename = noting("rename", "rename")
    os.mkdir, os.unlink, os.rmdir = noting("mkdir", "mkdir"), noting("unlink", "unlink"), noting("rmdir", "unlink")
    try:
        yield note
    finally:
        for name, function in real.items():
            setattr(os, name, function)
        os.close(out)


def read_log(log: Path, root: Path) -> list[Op]:
    """Return the operations, with paths relative to `root`."""
    ops = []
    with open(log, "rb") as file:
        while True:
            try:
                what, path, *rest = pickle.load(file)
            except EOFError:
                return ops
            if what == "rename":
                rest = [os.path.relpath(rest[0], root)]
            ops.append((what, os.path.relpath(path, root), *rest))


@dataclass
class File:
    """What was written, and the part that a sync has made durable."""

    now: bytes = b""
    kept: bytes = b""


@dataclass
class Folder:
    """Names as processes see them, those that are durable, and the changes since the last sync."""

    now: dict[str, File | Folder] = field(default_factory=dict)
    kept: dict[str, File | Folder] = field(default_factory=dict)
    pending: list[dict[str, File | Folder | None]] = field(default_factory=list)

    def change(self, names: dict[str, File | Folder | None]) -> None:
        """Change some names at once."""
        self.pending.append(names)
        _apply(self.now, names)

    def sync(self) -> None:
        """Make all changes durable."""
        self.kept, self.pending = dict(self.now), []


class Disk:
    """A disk, empty and durable at first."""

    def __init__(self) -> None:
        self.root = Folder()
        self.promised: list[str] = []

    def do(self, op: Op) -> None:
        """Apply one operation."""
        what, path, *rest = op
        if what == "promise":
            self.promised.append(path)
            return
        if path == ".":
            self.root.sync()
            return
        parent, name = self._folder(os.path.dirname(path)), os.path.basename(path)
        if what in ("create", "mkdir"):
            parent.change({name: File() if what == "create" else Folder()})
        elif what == "unlink":
            parent.change({name: None})
        elif what == "rename":
            if os.path.dirname(path) != os.path.dirname(rest[0]):
                raise NotImplementedError("a rename from folder to folder is not one change")
            parent.change({name: None, os.path.basename(rest[0]): parent.now[name]})
        else:
            node = parent.now[name]
            if isinstance(node, Folder):
                node.sync()
            elif what == "write":
                node.now += rest[0]
            else:
                node.kept = node.now

    def kept(self) -> Tree:
        """Return what is durable."""
        return _tree(self.root, lambda: False, lambda: "lost")

    def _folder(self, path: str) -> Folder:
        node: File | Folder = self.root
        for part in filter(None, path.split("/")):
            node = node.now[part]  # type: ignore[union-attr]
        if not isinstance(node, Folder):
            raise NotADirectoryError(path)
        return node

    def states(self, rng: np.random.Generator, samples: int) -> Iterator[Tree]:
        """Yield states after a loss of power: the extremes, and some at random."""
        for names, data in ((0.0, "lost"), (1.0, "lost"), (1.0, "zero"), (1.0, "half"), (1.0, "kept"), (0.0, "kept")):
            yield _tree(self.root, lambda p=names: p == 1, lambda d=data: d)  # type: ignore[misc]
        for _ in range(samples):
            yield _tree(
                self.root, lambda: rng.random() < 0.5, lambda: str(rng.choice(("lost", "zero", "half", "kept")))
            )


def _apply(names: dict[str, File | Folder], change: dict[str, File | Folder | None]) -> None:
    for name, node in change.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _tree(folder: Folder, name_kept: Callable[[], bool], data_kept: Callable[[], str], at: str = "") -> Tree:
    names = dict(folder.kept)
    for change in folder.pending:
        if name_kept():
            _apply(names, change)
    tree: Tree = {}
    for name, node in names.items():
        if isinstance(node, Folder):
            tree[at + name] = None
            tree |= _tree(node, name_kept, data_kept, f"{at}{name}/")
        else:
            how = "kept" if node.now == node.kept else data_kept()
            lost = len(node.now) - len(node.kept)
            data = {"zero": bytes(lost), "half": node.now[len(node.kept) :][: lost // 2], "lost": b""}
            tree[at + name] = node.now if how == "kept" else node.kept + data[how]
    return tree


def lay(tree: Tree, root: Path) -> None:
    """Make a state real below the new folder `root`."""
    root.mkdir()
    for path, data in tree.items():
        if data is None:
            (root / path).mkdir()
        else:
            (root / path).write_bytes(data)


def replay(ops: Sequence[Op]) -> Iterator[Disk]:
    """Yield the disk before the first operation, and after each."""
    disk = Disk()
    yield disk
    for op in ops:
        disk.do(op)
        yield disk
