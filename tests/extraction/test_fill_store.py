"""Filling a store: rows borrowed instead of computed, and work shared out among processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fillings import extract_slowly, go, images, lenet5, small_shards

from featx.extraction import rounds
from featx.extraction.extract import ExtractResult
from featx.models.backbones import Backbone


@pytest.fixture
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    small_shards(monkeypatch)


def computed(result: ExtractResult) -> list[int]:
    return [line["computed"] for line in result.layers]


def features(result: ExtractResult) -> list[Any]:
    return [np.asarray(table.X) for table in result.tables.values()]


def test_duplicates_go_through_the_network_once(tmp_path: Path) -> None:
    result = go(images([0, 1, 0, 2, 1, 1]), tmp_path, lenet5())
    assert computed(result) == [3, 3]
    assert [line["reused"] for line in result.layers] == [3, 3]
    for X in features(result):
        assert np.array_equal(X[[0, 1, 1]], X[[2, 4, 5]])
    alone = go(images([1]), tmp_path / "alone", lenet5())
    assert np.allclose(features(alone)[0], features(result)[0][[4]], rtol=1e-5, atol=1e-6)


def test_a_grown_set_reuses_what_is_there(tmp_path: Path) -> None:
    first = go(images(range(40)), tmp_path, lenet5())
    grown = go(images([*range(50, 55), *range(40)]), tmp_path, lenet5())
    assert computed(grown) == [5, 5]
    for old, new in zip(features(first), features(grown), strict=True):
        assert np.array_equal(new[5:], old)


def test_a_part_of_the_whole_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(images(range(40)), tmp_path, lenet5())
    monkeypatch.setattr(Backbone, "module", lambda self: pytest.fail("the network was built"))
    result = go(images([7, 3, 39]), tmp_path, lenet5())
    assert computed(result) == [0, 0]
    assert (result.device, result.images_per_second) == ("", None)


def test_a_changed_setting_is_named(tmp_path: Path) -> None:
    assert go(images(range(4)), tmp_path, lenet5()).why == []
    why = go(images(range(4)), tmp_path, lenet5("random:1")).why
    assert len(why) == 2
    assert "same but for weights random:0" in why[0]
    assert go(images(range(20, 30)), tmp_path, lenet5()).why == []  # other images: nothing could be expected


@contextmanager
def another_process(home: Path, seconds: float) -> Iterator[Any]:
    """A process that extracts all images, and has begun to."""
    spawn = multiprocessing.get_context("spawn")
    started = spawn.Event()
    process = spawn.Process(target=extract_slowly, args=(home, started, seconds))
    process.start()
    try:
        assert started.wait(60)
        yield process
    finally:
        process.kill()
        process.join()


@pytest.mark.usefixtures("_small_shards")
def test_processes_share_the_work(tmp_path: Path) -> None:
    with another_process(tmp_path, 0.05) as other:
        result = go(images(range(64)), tmp_path, lenet5())
        other.join(60)
        assert other.exitcode == 0
    assert 0 < computed(result)[0] < 64
    whole = go(images(range(64)), tmp_path / "alone", lenet5())
    assert all(map(np.array_equal, features(result), features(whole)))


@pytest.mark.usefixtures("_small_shards")
def test_what_a_killed_process_had_claimed_is_taken_over(tmp_path: Path) -> None:
    waited = []
    with another_process(tmp_path, 600.0) as other:

        def progress(stage: str, done: int, total: int) -> None:
            if "another process" in stage:
                waited.append(done)
                other.kill()

        result = go(images(range(64)), tmp_path, lenet5(), progress)
    assert waited
    assert 0 < computed(result)[0] <= 64
    assert all(len(X) == 64 for X in features(result))


@pytest.mark.usefixtures("_small_shards")
def test_a_process_that_never_goes_on_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "PATIENCE_SECONDS", 0.5)
    with another_process(tmp_path, 600.0) as other:
        result = go(images(range(64)), tmp_path, lenet5())
        assert other.is_alive()
    assert all(len(X) == 64 for X in features(result))
