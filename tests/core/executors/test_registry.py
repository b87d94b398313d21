"""Executors by their names: what is no name is refused before anything is started."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from heavy import loaded_after

from featx.core.executors import dask_cluster
from featx.core.executors.executor import Numbered, crowd_of, of_clocks
from featx.core.executors.here import Here
from featx.core.executors.registry import executing, executor_of
from featx.errors import FeatxWarning, OptionError


@pytest.mark.parametrize(
    "where", [None, "here", "processes:2", "local:2", "tcp://host:8786", "tls://host:1", "shard:0/4"]
)
def test_an_executor_is_called_as_it_was_asked_for(where: str | None) -> None:
    assert executor_of(where).name == (where or "here")


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("process:2", "did you mean processes"),
        ("", "unknown"),
        ("here:3", "this process alone"),
        ("processes:0", "from 1 to"),
        ("processes:x", "'x' processes"),
        ("local:", "says no number"),
        ("shard:4/4", "0/4 to 3/4"),
        ("tpc://host:8786", "did you mean tcp"),
        ("TCP://host:8786", "did you mean tcp://host:8786"),
        ("host:8786", "did you mean tcp://host:8786"),
        ("http://host:8787", "dask scheduler"),
        ("tcp://host", "no scheduler's address"),
        ("tcp:/host:8786", "no scheduler's address"),
        ("tcp://host:99999", "no scheduler's address"),
        (4, "is a int"),
        (print, "expected a text"),
    ],
)
def test_what_is_no_executor_is_refused(where: Any, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        executor_of(where)


class Scheduler:
    """A client of a scheduler that some workers have joined."""

    status = "running"
    address = "tcp://host:8786"

    def __init__(self) -> None:
        self.scheduler, self.hosts = self, list[str]()

    def scheduler_info(self, n_workers: int) -> dict[str, Any]:
        return {"workers": {f"tcp://{i}": {"name": i, "host": host} for i, host in enumerate(self.hosts)}}


def test_a_cluster_that_nobody_joins_is_spoken_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_cluster, "ALONE_SECONDS", -1.0)
    client = Scheduler()
    cluster = dask_cluster.DaskCluster("tcp://host:8786", lambda: (client, []))
    cluster.machines()
    with pytest.warns(FeatxWarning, match="none has joined .`dask worker tcp://host:8786`"):
        cluster.machines()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cluster.machines()


@pytest.mark.parametrize(
    ("hosts", "said"),
    [
        ([], "0 workers of tcp://host:8786"),
        (["a"], "1 worker of tcp://host:8786"),
        (["a", "b"], "2 workers of tcp://host:8786"),
        (["a", "a"], "2 workers of tcp://host:8786, on one machine"),
        (["a", "a", "b"], "3 workers of tcp://host:8786, up to 2 on one machine"),
    ],
)
def test_workers_of_one_machine_are_told_from_others(hosts: list[str], said: str) -> None:
    client = Scheduler()
    client.hosts = hosts
    crowd = crowd_of(dask_cluster.DaskCluster("tcp://host:8786", lambda: (client, [])))
    assert crowd == said
    assert bool(of_clocks(crowd)) == ("one machine" in said)


def test_calls_that_may_not_begin_yet_are_asked_for_again_when_one_has_ended() -> None:
    ended: list[int] = []

    def calls() -> Iterator[tuple[int] | None]:
        yield (1,)
        while not ended:
            yield None
        yield (2,)

    waiting = Numbered(calls())
    assert list(waiting.take(5)) == [(0, (1,))]
    assert list(waiting.take(5)) == []
    ended.append(1)
    assert list(waiting.take(5)) == [(1, (2,))]


def test_to_name_a_cluster_loads_no_dask() -> None:
    found = loaded_after("from featx.core.executors.registry import executor_of\nexecutor_of('tcp://host:8786')")
    assert not {"dask", "distributed", "torch"} & set(found)


def test_an_executor_of_the_callers_own_is_not_closed() -> None:
    closed = []

    class Mine(Here):
        def close(self) -> None:
            closed.append(self)

    mine = Mine()
    with executing(mine) as found:
        assert found is mine
    assert closed == []
