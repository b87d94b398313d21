"""Extractions on a Dask cluster of real processes: the bytes of one process, whatever happens to its workers."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from clusters import Cluster, dask_cluster, noise, stored_bytes, toy_extraction
from PIL import Image

from featx.cache.store import FeatureStore
from featx.core.specs import ExtractConfig
from featx.data.sources import load_splits
from featx.errors import OptionError, WorkerError
from featx.extraction import shard_task
from featx.extraction.extract import extract
from featx.models.backbones import resolve

BLOCKS = 21
ROWS = 20 * 1024 + 100
STOPPED_SECONDS = 2.5

NETWORK = """
from torch import nn
def make():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler and three workers, in a working folder of their own."""
    with dask_cluster(tmp_path_factory.mktemp("cluster"), workers=3) as found:
        yield found


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noise(tmp_path_factory.mktemp("images") / "noise.npy", ROWS)


@pytest.fixture(scope="module")
def alone(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a single process leaves in a store."""
    home = tmp_path_factory.mktemp("alone")
    toy_extraction(images, home)
    return stored_bytes(home)


def after(blocks: int, action: Callable[[], None]) -> Callable[[str, int, int], None]:
    """Return a progress that does something once, when so many blocks are done."""
    waiting = [action]

    def progress(stage: str, done: int, total: int) -> None:
        if done >= blocks * 1024 and waiting:
            waiting.pop()()

    return progress


def test_workers_of_other_versions_are_refused_by_name(
    cluster: Cluster, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = shard_task.versions_of("lenet5")
    monkeypatch.setattr(shard_task, "versions_of", lambda name: (("torch", "0.0"), *there[1:]))
    with pytest.raises(WorkerError, match=r"worker tcp://\S+ has torch \d\S+, expected 0.0 as here"):
        toy_extraction(images, tmp_path, cluster.address)
    assert not list(tmp_path.glob("features/*/shards/*"))


def test_workers_that_find_other_images_are_refused_by_name(cluster: Cluster, tmp_path: Path) -> None:
    path = noise(tmp_path / "few.npy", 40)
    sources = load_splits(path)
    sources["all"].row_hashes()
    replaced = tmp_path / "others.npy"
    np.save(replaced, np.zeros((40, 8, 8, 1), np.uint8))
    replaced.rename(path)
    backbone = resolve("lenet5", weights="random:0", size=32, channels=1)
    with pytest.raises(WorkerError, match=r"worker tcp://\S+ finds other images at .*few.npy"):
        extract(sources, backbone, ["fc1"], FeatureStore(tmp_path), ExtractConfig(), executor=cluster.address)
    assert not list(tmp_path.glob("features/*/shards/*"))


def test_bad_images_are_listed_and_ones_own_network_is_found_from_another_folder(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import Client

    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NETWORK)
    for i in range(6):
        path = Path("photos", "ab"[i % 2], f"{i}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), 40 * i, np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:60])
    backbone = resolve("net.py:make", size=8)
    found = {}
    with Client(cluster.address, set_as_default=False) as client:
        for home, where in (("there", client), ("here", None)):
            result = extract(
                load_splits("photos"),
                backbone,
                ["0:avg"],
                FeatureStore(home),
                ExtractConfig(on_error="skip"),
                executor=where,
            )
            found[home] = result.skipped, stored_bytes(Path(home))
        assert client.status == "running"  # it stays its owner's
    assert found["there"] == found["here"]
    assert [image["id"] for image in found["here"][0]] == ["b/5.png"]


def test_images_that_only_this_process_has_are_refused(tmp_path: Path) -> None:
    from fillings import CONFIG, images, lenet5

    with pytest.raises(OptionError, match="in this process only"):
        extract({"all": images([0])}, lenet5(), ["fc1"], FeatureStore(tmp_path), CONFIG, executor="processes:1")


def test_an_interruption_stops_the_workers_and_keeps_what_is_finished(
    cluster: Cluster, images: Path, alone: dict[str, bytes], tmp_path: Path
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        toy_extraction(images, tmp_path, cluster.address, after(2, interrupt))
    time.sleep(1)
    kept = stored_bytes(tmp_path)
    time.sleep(1)
    assert stored_bytes(tmp_path) == kept
    shards = [name for name in kept if name.endswith(".h5")]
    assert 4 <= len(shards) < 2 * BLOCKS
    again = toy_extraction(images, tmp_path, cluster.address)
    assert again.layers[0]["computed"] < ROWS
    assert stored_bytes(tmp_path) == alone


def test_a_worker_killed_and_another_stopped_change_no_byte(
    cluster: Cluster, images: Path, alone: dict[str, bytes], tmp_path: Path
) -> None:
    killed, stopped, _ = cluster.workers
    waking = threading.Timer(STOPPED_SECONDS, lambda: os.kill(stopped.pid, signal.SIGCONT))

    def sabotage() -> None:
        killed.send_signal(signal.SIGKILL)
        stopped.send_signal(signal.SIGSTOP)
        waking.start()

    result = toy_extraction(images, tmp_path, cluster.address, after(3, sabotage))
    waking.join()
    assert stored_bytes(tmp_path) == alone
    assert [line["rows"] for line in result.layers] == [ROWS, ROWS]
    assert sum(result.executor["blocks"].values()) == BLOCKS
    assert len(result.executor["lost"]) == 1
    assert result.images_per_second


def test_processes_on_this_machine_give_the_same_bytes_though_one_is_killed(
    images: Path, alone: dict[str, bytes], tmp_path: Path
) -> None:
    import multiprocessing

    def sabotage() -> None:
        multiprocessing.active_children()[0].kill()

    result = toy_extraction(images, tmp_path, "processes:2", after(3, sabotage))
    assert stored_bytes(tmp_path) == alone
    assert result.executor["name"] == "processes:2"
    assert result.executor["lost"] == ["a process of processes:2"]
    assert not multiprocessing.active_children()
