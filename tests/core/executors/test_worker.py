"""What a call on a worker is told, and tells others."""

from __future__ import annotations

import pytest

from featx.core.executors import worker
from featx.training.signals import Stopping

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def standing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process be a worker, for a while."""
    monkeypatch.setattr(worker, "_me", worker._Standing("me", threads=1))


def test_a_training_ends_where_its_worker_is_told_to_stop() -> None:
    def training() -> None:
        with Stopping() as stopping:
            stopping.now()
            assert not stopping.wanted
            worker.stop("others")
            assert not stopping.wanted
            worker.stop("these")
            assert stopping.wanted
            stopping.now()

    with pytest.raises(worker.Stopped):
        worker.call(training, (), "these")


def test_a_row_knows_which_workers_its_worker_is_one_of() -> None:
    with worker.one_of("2 workers of local:2"):
        assert worker.crowd() == "2 workers of local:2"
    assert worker.crowd() == ""
