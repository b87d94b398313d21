"""The moments at which a store touches the disk, so that each can be the last, or fail."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

EDGES = ("open", "write", "fsync", "replace", "rename", "mkdir", "unlink", "rmdir")
"""Functions of `os` that change the disk; `open` only where it may create a file."""


@contextmanager
def before_each(edge: Callable[[], None], names: tuple[str, ...] = EDGES) -> Iterator[None]:
    """Call `edge` before each change that this process makes on the disk."""
    real = {name: getattr(os, name) for name in names}

    def wrapped(name: str) -> Callable[..., Any]:
        def step(*args: Any, **options: Any) -> Any:
            # A folder cannot be made by open; what is opened for reading changes nothing.
            if name != "open" or (len(args) > 1 and args[1] & os.O_CREAT):
                edge()
            return real[name](*args, **options)

        return step

    try:
        for name in names:
            setattr(os, name, wrapped(name))
        yield
    finally:
        for name, function in real.items():
            setattr(os, name, function)


class At:
    """An edge that does something once its number has come; counts from 0."""

    def __init__(self, number: int, action: Callable[[], None], on_and_on: bool = False) -> None:
        self.number, self.action, self.on_and_on = number, action, on_and_on
        self.seen = 0

    def __call__(self) -> None:
        now = self.seen
        self.seen += 1
        if now == self.number or (self.on_and_on and now > self.number):
            self.action()


def die() -> None:
    """End this process as a kill from outside does."""
    os.kill(os.getpid(), signal.SIGKILL)


def no_room() -> None:
    """Fail as on a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
