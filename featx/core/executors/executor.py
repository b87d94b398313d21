"""What runs calls must give: a class of its own, and its line in `featx.core.executors.registry.EXECUTORS`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

Value = TypeVar("Value")


@dataclass(frozen=True)
class Done(Generic[Value]):
    """A call that came to its end.

    Parameters
    ----------
    index : int
        Which of the calls.
    value : object
        What it returned.
    worker : str
        Where it ran.
    """

    index: int
    value: Value
    worker: str


ON_ONE = "on one machine"
SHARED = "a time measured on one is not that of the same work alone"
"""What is to be said of workers on one machine: they share its processors, its memory and its disk."""

Calls = Iterable[tuple[Any, ...] | None]
"""Arguments of calls; None where the next may not begin before another one has come to its end."""


class Numbered:
    """Calls as they are asked for, with their numbers."""

    def __init__(self, calls: Calls) -> None:
        self._calls, self._next = iter(calls), 0

    def take(self, most: int) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """Give so many calls at most: fewer where there are no more, or none may begin yet."""
        for _ in range(most):
            call = next(self._calls, None)
            if call is None:
                return
            self._next += 1
            yield self._next - 1, call


@runtime_checkable
class Executor(Protocol):
    """Something that runs calls, each in any order, perhaps elsewhere, perhaps more than once.

    A call is a function and its arguments. Both are pickled where they run in another process, so that the function
    is one that a module defines; a call whose worker is lost runs again on another, so that it must give the same when
    it does.

    Attributes
    ----------
    name : str
        As it is written, for the record: ``here``, ``processes:4``, ``tcp://host:8786``.
    in_process : bool
        Whether calls run in this process, one after the other: what is open here need not be opened again.
    lost : list of str
        Workers that went away while they were needed.
    """

    name: str
    in_process: bool
    lost: list[str]

    def owns(self, number: int) -> bool:
        """Tell whether a numbered piece of work is to be done by this run: all are, but for a part of a job array."""

    def run(self, function: Callable[..., Value], calls: Calls) -> Generator[Done[Value], None, None]:
        """Call a function with each of these arguments and give the results as they come.

        Calls are asked for as workers become free. Where one is None, the next is asked for once another call's result
        was given; nothing may wait for a call that is not under way. To stop consuming cancels what has not begun, and
        tells what runs to stop (`featx.core.executors.worker`).

        Raises
        ------
        WorkerError
            Workers die of a call, or there is nobody to run it.
        Exception
            What a call raised.
        """

    def ask_all(self, function: Callable[..., Value], *arguments: Any) -> dict[str, Value | BaseException]:
        """Call a function once on each worker that is there; return what it gave, or raised, by worker."""

    def tell_all(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call a function on each worker that is there, also beside a call that runs; nobody waits for it for long."""

    def machines(self) -> Counter[str]:
        """Return how many workers each machine has, by its name, without starting any; none may have come yet."""

    def close(self) -> None:
        """Let go of the workers that were started for this."""


def crowd_of(executor: Executor) -> str:
    """Return how many workers there are, and how many of them share a machine, for people and for a record."""
    machines = executor.machines()
    count, most = machines.total(), max(machines.values(), default=0)
    if most < 2:
        beside = ""
    elif most == count:
        beside = f", {ON_ONE}"
    else:
        beside = f", up to {most} {ON_ONE}"
    return f"{count} {'worker' if count == 1 else 'workers'} of {executor.name}{beside}"


def of_clocks(crowd: str) -> str:
    """Return what is to be said of times that were measured on such workers, as the end of a line; may be empty."""
    return f": {SHARED}" if ON_ONE in crowd else ""
