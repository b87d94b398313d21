"""Near-duplicates among many stored rows: planted pairs found, seconds, and the process's peak memory.

    python tests/benchmarks/near_rows.py --rows 60000
    python tests/benchmarks/near_rows.py --rows 1000000

Rows are drawn to be like a network's: positive parts of 64 hidden values, a thousand classes of them, whose spread
falls from one to the next, and some noise. One in a thousand is the row before it with a change of its hidden values.
Only the search is timed, in a process of its own that reads them from the store. Beyond --exact-rows it is the one in
cells; "neighbours found" is what it says of itself, "planted" are counted.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from featx.audit.leaks import nearest
from featx.audit.leaks_config import LeaksConfig
from featx.audit.whiten import whitened
from featx.cache.key import FeatureKey
from featx.cache.schema import Plan, fingerprint
from featx.cache.store import FeatureStore

EVERY = 1000
HIDDEN, CLASSES, CHUNK = 64, 1000, 500
CHANGE = 0.7
"""Of the hidden values of copies, relative to their spread within a class."""


def drawn(start: int, rows: int, columns: int) -> np.ndarray:
    """Return the features of so many rows from `start` on."""
    fixed = np.random.default_rng(0)
    spread = (1 / np.arange(1, HIDDEN + 1) ** 0.5).astype(np.float32)
    centres = spread * fixed.standard_normal((CLASSES, HIDDEN), np.float32)
    turn = fixed.standard_normal((HIDDEN, columns), np.float32)
    rng = np.random.default_rng((1, start))
    hidden = spread * rng.standard_normal((rows, HIDDEN), np.float32)
    hidden += centres[rng.integers(0, CLASSES, rows)]
    copies = np.flatnonzero((start + np.arange(rows)) % EVERY == EVERY - 1)
    changes = rng.standard_normal((len(copies), HIDDEN), np.float32)
    hidden[copies] = hidden[copies - 1] + CHANGE * spread * changes
    found = np.maximum(hidden @ turn - 0.5, 0) + 0.1 * rng.standard_normal((rows, columns), np.float32)
    return found.astype(np.float32)


def write(home: Path, rows: int, columns: int) -> str:
    """Store the rows, and return their key's digest."""
    hashes = np.frombuffer(np.random.default_rng(0).bytes(32 * rows), np.uint8).reshape(rows, 32)
    key = FeatureKey(fingerprint(hashes), rows, "lenet5", "0" * 64, "layer:avg", preprocess={})
    plan = Plan(500, 5000, 5000, columns, "float32", (key.layer,))
    about = {"source": "random", "split": "train", "backbone": "lenet5", "weights": "random:0"}
    with FeatureStore(home).writer(key, plan, [f"{i}.png" for i in range(rows)], hashes, about) as writer:
        for block in writer.blocks():
            writer.claim(block)
            due = writer.due(block)
            for start in range(0, len(due), CHUNK):
                some = due[start : start + CHUNK]
                writer.put(some, drawn(int(some[0]), len(some), columns))
    return key.digest


def search(home: Path, digest: str, config: LeaksConfig) -> None:
    """Search, and tell what it took."""
    table = FeatureStore(home).open(digest)
    began, cpu = time.perf_counter(), time.process_time()
    Z = whitened(table.X)
    white = time.perf_counter() - began
    found, recall = nearest(Z, config)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    pairs = set(zip(found.a.tolist(), found.b.tolist(), strict=True))
    copies = np.arange(EVERY - 1, len(Z), EVERY)
    right = sum((row - 1, row) in pairs for row in copies.tolist())
    cosines = (Z[copies] * Z[copies - 1]).sum(axis=1)
    print(
        f"{len(Z):,} x {table.X.shape[1]}, {config.neighbours} neighbours: {seconds:.0f} s ({white:.0f} s to whiten), "
        f"{cpu:.0f} s of processor time, peak {peak:.2f} GiB; neighbours found {recall:.4f}; "
        f"{len(copies)} planted with cosines of {np.quantile(cosines, 0.1):.2f} to {np.quantile(cosines, 0.9):.2f} "
        f"(80 %), {right} found; others have one of {np.median(found.cosine):.2f} (median)"
    )


def main() -> None:
    """Write, then search in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=512)
    parser.add_argument("--neighbours", type=int, default=LeaksConfig.neighbours)
    parser.add_argument("--exact-rows", type=int, default=LeaksConfig.exact_rows)
    parser.add_argument("--home", type=Path, help="where the rows are kept; a temporary folder without it")
    parser.add_argument("--search", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.search:
        config = LeaksConfig(neighbours=asked.neighbours, exact_rows=asked.exact_rows)
        search(Path(asked.search[0]), asked.search[1], config)
        return
    with tempfile.TemporaryDirectory() as folder:
        home = str(asked.home or folder)
        digest = write(Path(home), asked.rows, asked.columns)
        given = ["--neighbours", str(asked.neighbours), "--exact-rows", str(asked.exact_rows)]
        subprocess.run([sys.executable, __file__, "--search", home, digest, *given], check=True)


if __name__ == "__main__":
    main()
