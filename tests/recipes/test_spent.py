"""The time that a comparison has taken is on the disk while it runs: that of a killed process counts."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from featx.cache.memo import Memo
from featx.recipes import spent
from featx.recipes.spent import Spent

ABOUT = {"of": "these rows"}


def test_a_later_process_goes_on(tmp_path: Path) -> None:
    first = Spent(Memo(tmp_path))
    first.go_on(ABOUT)
    with first.written():
        time.sleep(0.1)
    second = Spent(Memo(tmp_path))
    assert second.seconds < 0.1
    second.go_on(ABOUT)
    assert second.seconds >= 0.1
    second.go_on({"of": "others"})
    assert second.seconds < 0.1


def test_it_is_written_before_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spent, "BEAT_SECONDS", 0.01)
    clock = Spent(Memo(tmp_path))
    clock.go_on(ABOUT)
    with clock.written():
        until = time.monotonic() + 10
        while Memo(tmp_path).get(spent.KIND, ABOUT) is None and time.monotonic() < until:
            time.sleep(0.01)
        assert Memo(tmp_path).get(spent.KIND, ABOUT) > 0


def test_an_error_ends_the_thread_and_keeps_the_time(tmp_path: Path) -> None:
    clock = Spent(Memo(tmp_path))
    clock.go_on(ABOUT)
    with pytest.raises(KeyboardInterrupt), clock.written():
        raise KeyboardInterrupt
    assert Memo(tmp_path).get(spent.KIND, ABOUT) > 0
