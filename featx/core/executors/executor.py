"""What runs calls must give: a class of its own, and its line in `featx.core.executors.registry.EXECUTORS`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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

    def run(self, function: Callable[..., Value], calls: Sequence[tuple[Any, ...]]) -> Iterator[Done[Value]]:
        """Call a function with each of these arguments and give the results as they come.

        To stop consuming cancels what has not begun, and tells what runs to stop (`featx.core.executors.worker`).

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

    def close(self) -> None:
        """Let go of the workers that were started for this."""
