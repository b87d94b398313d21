"""A small set of features to store, and what a second process does to it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from featx.cache.key import FeatureKey
from featx.cache.schema import Plan, fingerprint
from featx.cache.store import FeatureStore
from featx.cache.table import FeatureTable
from featx.cache.writer import FeatureWriter
from featx.core.specs import PreprocessSpec

ABOUT = {"source": "photos", "split": "train", "backbone": "lenet5", "weights": "DEFAULT", "versions": {"torch": "2"}}


@dataclass
class Sample:
    """Features of `n` images, all different, and everything that storing them takes."""

    n: int = 10
    columns: int = 3
    shard_rows: int = 4
    dtype: str = "float32"
    layer: str = "fc1:avg"
    skipped: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.X = np.random.default_rng(7).normal(size=(self.n, self.columns)).astype(self.dtype)
        self.hashes = np.random.default_rng(8).integers(0, 256, (self.n, 32), np.uint8)
        self.ids = [f"cat/{row}.png" for row in range(self.n)]
        self.labels = np.arange(self.n, dtype=np.int64) % 3
        self.classes = ("a", "b", "c")
        self.plan = Plan(2, self.shard_rows, self.shard_rows, self.columns, self.dtype, (self.layer,))
        self.key = FeatureKey(
            rows=fingerprint(self.hashes),
            n_rows=self.n,
            backbone="lenet5",
            weights="0" * 64,
            layer=self.layer,
            preprocess=asdict(PreprocessSpec(32, 28)),
            dtype=self.dtype,
        )

    def fingerprint(self) -> str:
        return fingerprint(self.hashes)

    @property
    def present(self) -> np.ndarray[Any, Any]:
        return np.array([row for row in range(self.n) if row not in self.skipped], np.int64)

    def writer(self, store: FeatureStore) -> FeatureWriter:
        return store.writer(self.key, self.plan, self.ids, self.hashes, ABOUT)

    def fill(self, writer: FeatureWriter, batch: int = 2) -> None:
        """Put every missing shard, batch by batch."""
        with writer:
            for block in writer.blocks():
                if writer.claim(block):
                    due = writer.due(block)
                    for at in range(0, len(due), batch):
                        self.put(writer, due[at : at + batch])

    def put(self, writer: FeatureWriter, rows: Sequence[int] | np.ndarray[Any, Any], change: float = 0) -> None:
        """Put some rows, each with `change` added, as one batch."""
        chosen = np.asarray(rows, np.int64)
        bad = [(row, self.skipped[row]) for row in chosen.tolist() if row in self.skipped]
        writer.put(chosen, self.X[chosen] + np.asarray(change, self.dtype), bad, {"forward": 0.5})

    def stored(self, home: Path) -> FeatureStore:
        store = FeatureStore(home)
        self.fill(self.writer(store))
        return store

    def table(self, home: Path, source: Any = None) -> FeatureTable:
        return self.stored(home).open(self.key, source)

    def shards(self, home: Path) -> dict[str, bytes]:
        """Name and bytes of every shard file of this key."""
        folder = FeatureStore(home).folder(self.key) / "shards"
        return {path.name: path.read_bytes() for path in sorted(folder.glob("*.h5"))}


def in_child(work: Callable[[], None]) -> int | None:
    """Run `work` in a forked process and return its exit code (-9 when it was killed)."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(30)
    return process.exitcode
