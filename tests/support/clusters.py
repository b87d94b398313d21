"""Dask clusters of real processes, toy extractions to run on them, and the bytes that they leave in a store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from featx.cache.memo import Memo
from featx.cache.store import FeatureStore
from featx.core.specs import ExtractConfig, Progress, no_progress
from featx.data.sources import load_splits
from featx.extraction.extract import ExtractResult, extract
from featx.models.backbones import resolve

PATIENCE = 120.0
"""Seconds that a busy machine may take to start a process."""

LAYERS = ("fc1", "conv2:avg")

DASK = (sys.executable, "-m", "dask")


@dataclass
class Cluster:
    """A scheduler and its workers, each a process of its own."""

    address: str
    scheduler: subprocess.Popen[bytes]
    folder: Path
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def add_worker(self, *options: str) -> subprocess.Popen[bytes]:
        """Start one more worker."""
        how = ("--no-dashboard", "--nthreads", "1", "--local-directory", str(self.folder))
        worker = _started(self.folder, "worker", self.address, *how, *(options or ("--no-nanny",)))
        self.workers.append(worker)
        return worker

    def wait_for_workers(self) -> None:
        """Wait until all that were started have come."""
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(len(self.workers), timeout=PATIENCE)


@contextmanager
def dask_cluster(folder: Path, workers: int) -> Iterator[Cluster]:
    """Run a scheduler and workers, without nannies, whose working folder is `folder`."""
    file = folder / "scheduler.json"
    file.unlink(missing_ok=True)  # an earlier cluster of this folder left its own
    scheduler = _started(
        folder, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)
    )
    cluster = Cluster("", scheduler, folder)
    try:
        cluster.address = _address(file)
        for _ in range(workers):
            cluster.add_worker()
        cluster.wait_for_workers()
        yield cluster
    finally:
        for process in (*cluster.workers, scheduler):
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


def _started(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([*DASK, *arguments], cwd=folder, env={**os.environ}, **quiet)  # type: ignore[call-overload]


def _address(file: Path) -> str:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if file.exists() and (text := file.read_text()):
            return str(json.loads(text)["address"])
        time.sleep(0.05)
    raise TimeoutError(f"no scheduler after {PATIENCE:.0f} s")


def noise(path: Path, rows: int) -> Path:
    """Write so many grey images of 8 x 8 px; a block has 1,024 of them."""
    np.save(path, np.random.default_rng(0).integers(0, 256, (rows, 8, 8, 1), np.uint8))
    return path


def toy_extraction(source: Path, home: Path, executor: Any = None, progress: Progress = no_progress) -> ExtractResult:
    """Extract two layers of LeNet-5 of a file of images."""
    memo = Memo(home)
    backbone = resolve("lenet5", weights="random:0", size=32, channels=1, memo=memo)
    config = ExtractConfig(device="cpu")
    return extract(load_splits(source, memo=memo), backbone, LAYERS, FeatureStore(home), config, progress, executor)


def stored_bytes(home: Path) -> dict[str, bytes]:
    """Return every shard's bytes by its name, and those of the files that say which rows are whose."""
    names = [*home.glob("features/*/shards/*.h5"), *home.glob("features/*/*.bin"), *home.glob("features/*/plan.json")]
    return {str(path.relative_to(home)): path.read_bytes() for path in names}
