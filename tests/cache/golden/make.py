"""Writes the golden stores: python tests/cache/golden/make.py tests/cache/golden/schema-1

They are made once a schema and never again: what a release wrote must be read by all later ones. `samples` says what
was put in, from numbers that every machine gets alike; test_golden.py reads the stores and compares.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featx.cache.key import FeatureKey
from featx.cache.schema import Plan, fingerprint
from featx.cache.store import FeatureStore
from featx.core.specs import PreprocessSpec

ABOUT = {"source": "photos", "split": "train", "backbone": "lenet5", "weights": "DEFAULT", "versions": {"torch": "2"}}


@dataclass(frozen=True)
class Golden:
    """A key of a golden store.

    Parameters
    ----------
    images : tuple of int
        A number a row: rows with equal ones are equal images.
    dtype, columns, shard_rows :
        Of the plan.
    skipped : dict
        Reasons by number of the image.
    """

    images: tuple[int, ...]
    dtype: str
    columns: int
    shard_rows: int
    skipped: dict[int, str]

    @property
    def X(self) -> np.ndarray[Any, Any]:
        """Features: exact in both types."""
        numbers = np.array(self.images)[:, None] * 7 + np.arange(self.columns) * 3
        return (numbers % 64 / 8 - 2).astype(self.dtype)

    @property
    def hashes(self) -> np.ndarray[Any, Any]:
        return np.array([[(image * 31 + at) % 251 for at in range(32)] for image in self.images], np.uint8)

    @property
    def ids(self) -> list[str]:
        return [f"class é/{row}.png" for row in range(len(self.images))]

    @property
    def plan(self) -> Plan:
        return Plan(4, 2 * self.shard_rows, self.shard_rows, self.columns, self.dtype, ("fc1:avg", "conv1"))

    @property
    def key(self) -> FeatureKey:
        return FeatureKey(
            rows=fingerprint(self.hashes),
            n_rows=len(self.images),
            backbone="lenet5",
            weights="0" * 64,
            layer="fc1:avg",
            preprocess=PreprocessSpec(32, 28).as_dict(),
            dtype=self.dtype,
        )


SAMPLES = {
    "float32, copies, rows left out": Golden(
        (0, 1, 2, 1, 3, 4, 5, 0, 6, 4), "float32", 3, 4, {2: "torn é", 5: "no image"}
    ),
    "float16": Golden((0, 1, 2, 3, 4, 5, 6), "float16", 5, 2, {}),
    "float32, lent by the first": Golden((6, 3, 9, 1), "float32", 3, 4, {}),
}


def make(home: Path) -> None:
    """Write all samples into the store at `home`."""
    store = FeatureStore(home)
    for golden in SAMPLES.values():
        reusable = store.reuse_index().reusable(golden.key, golden.hashes)
        with store.writer(golden.key, golden.plan, golden.ids, golden.hashes, ABOUT, reusable) as writer:
            for block in writer.blocks():
                assert writer.claim(block)
                rows = writer.due(block)
                bad = [(int(r), golden.skipped[golden.images[r]]) for r in rows if golden.images[r] in golden.skipped]
                writer.put(rows, golden.X[rows], bad, {"forward": 0.5})


if __name__ == "__main__":
    make(Path(sys.argv[1]))
