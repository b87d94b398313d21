"""Calls in several processes on this machine, each with its part of the processors."""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
import threading
from collections import Counter
from collections.abc import Callable, Generator
from concurrent import futures
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any, TypeVar

from featx.core.executors import worker
from featx.core.executors.executor import Calls, Done, Executor, Numbered
from featx.core.executors.machine import how_many, threads_each
from featx.errors import WorkerError

Value = TypeVar("Value")

AHEAD = 2
"""Calls that each process has at hand: one that runs, and the next."""

MOST_DEATHS = 3
"""So many times in a row may processes die before any call comes to its end."""


class Processes(Executor):
    """Runs calls in processes that are started for them, and anew where one of them dies.

    They are spawned, not forked: torch's threads do not survive a fork. A script that uses them keeps what it does
    below ``if __name__ == "__main__":``, as `multiprocessing` asks.

    Parameters
    ----------
    text : str
        How many.
    """

    in_process = False

    def __init__(self, text: str) -> None:
        self.count = how_many("processes", text)
        self.name = f"processes:{self.count}"
        self.lost: list[str] = []
        self._spawn = multiprocessing.get_context("spawn")
        # Without a lock, which a process that is killed could keep for ever.
        self._ended: Any = self._spawn.RawValue("b", False)
        self._open: ProcessPoolExecutor | None = None

    def owns(self, number: int) -> bool:
        """See `Executor`."""
        return True

    def run(self, function: Callable[..., Value], calls: Calls) -> Generator[Done[Value], None, None]:
        """See `Executor`."""
        todo, begun, deaths = Numbered(calls), dict[int, tuple[Any, ...]](), 0
        while True:
            pending: dict[Any, int] = {}
            try:
                for index, call in begun.items():  # those that a process which died had, or its brothers
                    pending[self._submit(function, call)] = index
                while True:
                    for index, call in todo.take(AHEAD * self.count - len(pending)):
                        begun[index] = call
                        pending[self._submit(function, call)] = index
                    if not pending:
                        return
                    for future in futures.wait(pending, return_when=futures.FIRST_COMPLETED).done:
                        value, name = future.result()
                        index = pending.pop(future)
                        del begun[index]
                        deaths = 0
                        yield Done(index, value, name)
            except BrokenProcessPool:
                deaths += 1
                self.lost.append(f"a process of {self.name}")
                self._drop()
                if deaths == MOST_DEATHS:
                    raise WorkerError(
                        f"a process of {self.name} died {deaths} times before any of them finished its part",
                        "if they were killed for want of memory: fewer processes, or a smaller --batch-size",
                    ) from None
            finally:
                for future in pending:
                    future.cancel()

    def ask_all(self, function: Callable[..., Value], *arguments: Any) -> dict[str, Value | BaseException]:
        """See `Executor`: all processes are of one kind, so that one is asked."""
        try:
            value, _ = self._submit(function, arguments).result()
        except Exception as exc:  # whatever it is, it is the caller's to tell
            return {self.name: exc}
        return {self.name: value}

    def tell_all(self, function: Callable[..., None], *arguments: Any) -> None:
        """See `Executor`: there is no way beside the calls, and the processes end with this."""

    def machines(self) -> Counter[str]:
        """See `Executor`."""
        return Counter({platform.node(): self.count})

    def close(self) -> None:
        """End the processes, each at the next batch of the call that it is at."""
        self._ended.value = True
        self._drop()

    def _submit(self, function: Callable[..., Value], arguments: tuple[Any, ...]) -> Any:
        if self._open is None:
            how = self._ended, threads_each(self.count)
            self._open = ProcessPoolExecutor(self.count, self._spawn, initializer=_begin, initargs=how)
        return self._open.submit(_call, function, arguments)

    def _drop(self) -> None:
        if self._open is not None:
            self._open.shutdown(cancel_futures=True)
            self._open = None


def _begin(ended: Any, threads: int) -> None:
    """Prepare a new process: an interruption is for its parent, with which it ends, however that does."""
    worker.prepare(f"process {os.getpid()}", threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker.listen(lambda: bool(ended.value))
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    with suppress(OSError):
        wait([sentinel])
    os._exit(1)


def _call(function: Callable[..., Value], arguments: tuple[Any, ...]) -> tuple[Value, str]:
    return worker.call(function, arguments), worker.worker_name()
