"""The executors, by what they are called; loads no Dask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from featx.core.executors.dask_cluster import DaskCluster
from featx.core.executors.executor import Executor
from featx.core.executors.here import Here, Part
from featx.core.executors.processes import Processes
from featx.errors import OptionError, suggest

HERE, SHARD = "here", "shard"


def _here(rest: str) -> Here:
    if rest:
        raise OptionError(f"cluster here:{rest[:40]} asks for a number, and here is this process alone", "leave it out")
    return Here()


EXECUTORS: dict[str, Callable[[str], Executor]] = {
    HERE: _here,
    SHARD: Part,
    "processes": Processes,
    "local": DaskCluster.local,
    "tcp": lambda rest: DaskCluster.at(f"tcp:{rest}"),
    "tls": lambda rest: DaskCluster.at(f"tls:{rest}"),
}
"""What makes an executor out of the text behind a colon, by the word before it."""


def executor_of(where: Any) -> Executor:
    """Return what runs calls.

    Parameters
    ----------
    where : str, Executor, distributed.Client or None
        ``here`` (None), ``processes:4``, ``local:4``, ``tcp://host:8786``, ``shard:0/4``; a client means its cluster.

    Raises
    ------
    OptionError
        For anything else.
    """
    if where is None:
        return Here()
    if isinstance(where, str):
        kind, _, rest = where.partition(":")
        if kind not in EXECUTORS:
            raise OptionError(
                f"cluster {where[:80]!r} is unknown, expected processes:N, local:N or a Dask scheduler's address",
                _meant(where) or "for example processes:2, local:2 or tcp://host:8786",
            )
        return EXECUTORS[kind](rest)
    if isinstance(where, Executor):
        return where
    if hasattr(where, "submit") and hasattr(where, "scheduler_info"):  # a Client, without loading Dask to see it
        return DaskCluster.of(where)
    raise OptionError(
        f"executor is a {type(where).__name__}, expected a text such as 'processes:4', a distributed.Client or an "
        "Executor"
    )


def _meant(where: str) -> str:
    """Return a hint for a scheduler's address that was written otherwise, and for a word that is nearly one."""
    kind, _, rest = where.partition(":")
    if kind.lower() in EXECUTORS:
        return f"did you mean {kind.lower()}:{rest[:80]}?"
    if kind in ("http", "https"):
        return "that is where Dask shows what it does; `dask scheduler` says its address, for example tcp://host:8786"
    if rest.isascii() and rest.isdecimal() and len(rest) > len("999"):  # host:8786
        return f"did you mean tcp://{where[:80]}?"
    return suggest(kind, [name for name in EXECUTORS if name not in (HERE, SHARD)])


@contextmanager
def executing(where: Any) -> Iterator[Executor]:
    """Yield what runs calls, and close it in the end, unless it is the caller's own."""
    executor = executor_of(where)
    try:
        yield executor
    finally:
        if executor is not where:
            executor.close()
