"""Executors by their names: what is no name is refused before anything is started."""

from __future__ import annotations

from typing import Any

import pytest
from heavy import loaded_after

from featx.core.executors.here import Here
from featx.core.executors.registry import executing, executor_of
from featx.errors import OptionError


@pytest.mark.parametrize(
    "where", [None, "here", "processes:2", "local:2", "tcp://host:8786", "tls://host:1", "shard:0/4"]
)
def test_an_executor_is_called_as_it_was_asked_for(where: str | None) -> None:
    assert executor_of(where).name == (where or "here")


@pytest.mark.parametrize("where", ["process:2", "", "processes:0", "processes:x", "local:", "shard:4/4", 4, print])
def test_what_is_no_executor_is_refused(where: Any) -> None:
    with pytest.raises(OptionError):
        executor_of(where)


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
