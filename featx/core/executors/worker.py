"""What a call that runs on a worker can ask: who it is, how many threads it has, and whether it is still wanted."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

_one_at_a_time = threading.Lock()
"""A call has all threads of its worker, and what it opened for itself: two at once would be in each other's way."""


@dataclass
class _Standing:
    """A process as a worker."""

    name: str = ""
    threads: int = 0
    run: str = ""
    crowd: str = ""
    over: set[str] = field(default_factory=set)
    is_ended: Callable[[], bool] | None = None


_me = _Standing()


class Stopped(Exception):  # noqa: N818  # like StopIteration: no error, and nobody's to mend
    """The call's result is not wanted any more."""


def prepare(name: str, threads: int) -> None:
    """Say what this process is called as a worker, and how many threads torch may use in a call."""
    _me.name, _me.threads = name, threads


def call(function: Callable[..., Any], arguments: tuple[Any, ...], run: str = "") -> Any:
    """Run a call on a worker; `run` names what it is a part of, see `stop`."""
    with _one_at_a_time:
        _me.run = run
        raise_if_stopped()
        _use_threads(_me.threads)
        return function(*arguments)


def between_calls(action: Callable[[], None]) -> None:
    """Do something while no call runs here, without waiting for it."""

    def act() -> None:
        with _one_at_a_time:
            action()

    threading.Thread(target=act, daemon=True).start()


def worker_name() -> str:
    """Return the name of the worker that this process is, else of the process."""
    return _me.name or f"process {os.getpid()} on {socket.gethostname()}"


def worker_threads() -> int | None:
    """Return how many threads a call here may use; None where nobody said."""
    return _me.threads or None


def is_stopped() -> bool:
    """Tell whether the call that runs here is not wanted any more."""
    ended = _me.is_ended is not None and _me.is_ended()
    return ended or (_me.run != "" and _me.run in _me.over)


def raise_if_stopped() -> None:
    """Raise `Stopped` where the call that runs here is not wanted any more; asked between two batches, or fits."""
    if is_stopped():
        raise Stopped


@contextmanager
def one_of(crowd: str) -> Iterator[None]:
    """Note, while a call lasts, which workers this is one of; see `crowd`."""
    _me.crowd = crowd
    try:
        yield
    finally:
        _me.crowd = ""


def crowd() -> str:
    """Return which workers this is one of, for a record; empty where a process works alone."""
    return _me.crowd


def stop(run: str) -> None:
    """Let the calls of a run end at the next time that they ask."""
    _me.over.add(run)


def listen(is_ended: Callable[[], bool]) -> None:
    """Let calls in this process end once this says so."""
    _me.is_ended = is_ended


def _use_threads(threads: int) -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    else:  # read when it is loaded; Dask's nanny says 1, whatever the worker was given
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
