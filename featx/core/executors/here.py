"""Calls in this process: all of them, or the part that falls to one job of an array."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from featx.core.executors.executor import Calls, Done, Executor, Numbered
from featx.core.executors.job_arrays import Share, share_of

Value = TypeVar("Value")


class Here(Executor):
    """Runs every call, one after the other, in this process."""

    name = "here"
    in_process = True

    def __init__(self) -> None:
        self.lost: list[str] = []

    def owns(self, number: int) -> bool:
        """See `Executor`."""
        return True

    def run(self, function: Callable[..., Value], calls: Calls) -> Generator[Done[Value], None, None]:
        """See `Executor`."""
        todo = Numbered(calls)
        while found := next(todo.take(1), None):
            index, arguments = found
            if self.owns(index):
                yield Done(index, function(*arguments), self.name)

    def ask_all(self, function: Callable[..., Value], *arguments: Any) -> dict[str, Value | BaseException]:
        """See `Executor`."""
        return {self.name: function(*arguments)}

    def tell_all(self, function: Callable[..., None], *arguments: Any) -> None:
        """See `Executor`."""
        function(*arguments)

    def machines(self) -> Counter[str]:
        """See `Executor`."""
        return Counter([platform.node()])

    def close(self) -> None:
        """See `Executor`: nothing was started."""


class Part(Here):
    """Runs one part of the calls: every n-th, from the i-th on. Others run the rest, and none knows of another.

    Parameters
    ----------
    text : str
        ``0/4`` to ``3/4``; ``slurm``, or ``pbs/4``, take the number from what the job scheduler says.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.share: Share = share_of(text)
        self.name = f"shard:{self.share}"

    def owns(self, number: int) -> bool:
        """See `Executor`."""
        return number % self.share.count == self.share.index
