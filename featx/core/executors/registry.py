"""The executors, by what they are called; loads no Dask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from featx.core.executors.dask_cluster import DaskCluster
from featx.core.executors.executor import Executor
from featx.core.executors.here import Here, Part
from featx.core.executors.processes import Processes
from featx.errors import OptionError

HERE, SHARD = "here", "shard"

EXECUTORS: dict[str, Callable[[str], Executor]] = {
    HERE: lambda rest: Here(),
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
                "for example processes:2, local:2 or tcp://host:8786",
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


@contextmanager
def executing(where: Any) -> Iterator[Executor]:
    """Yield what runs calls, and close it in the end, unless it is the caller's own."""
    executor = executor_of(where)
    try:
        yield executor
    finally:
        if executor is not where:
            executor.close()
