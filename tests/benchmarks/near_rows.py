"""Near-duplicates among many stored rows: planted pairs found, seconds, and the process's peak memory.

    python tests/benchmarks/near_rows.py --rows 1000000 --columns 512

Rows are normal ones, of which one in a thousand is another one with a tenth of noise. Only the search is timed, in a
process of its own that reads them from the store.
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

from featx.audit.neighbours import neighbours
from featx.audit.whiten import whitened
from featx.cache.key import FeatureKey
from featx.cache.schema import Plan, fingerprint
from featx.cache.store import FeatureStore

EVERY = 1000
NOISE = 0.1


def drawn(rows: np.ndarray, columns: int) -> np.ndarray:
    """Return features of rows: each is drawn by its number; every thousandth is like the one before it."""
    found = np.empty((len(rows), columns), np.float32)
    for place, row in enumerate(rows.tolist()):
        again = row % EVERY == EVERY - 1
        found[place] = np.random.default_rng(row - again).standard_normal(columns, np.float32)
        if again:
            found[place] += NOISE * np.random.default_rng((row, 1)).standard_normal(columns, np.float32)
    return found


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
            for start in range(0, len(due), 500):
                some = due[start : start + 500]
                writer.put(some, drawn(some, columns))
    return key.digest


def search(home: Path, digest: str, k: int) -> None:
    """Search, and tell what it took."""
    table = FeatureStore(home).open(digest)
    began, cpu = time.perf_counter(), time.process_time()
    Z = whitened(table.X)
    white = time.perf_counter() - began
    found = neighbours(Z, k)
    near = found.cosine > 0.9
    right = (found.b[near] % EVERY == EVERY - 1) & (found.a[near] == found.b[near] - 1)
    planted = len(Z) // EVERY
    print(
        f"{len(Z):,} x {table.X.shape[1]}, {k} neighbours: {planted} planted, {right.sum()} found, "
        f"{(~right).sum()} others; {time.perf_counter() - began:.0f} s ({white:.0f} s to whiten), "
        f"{time.process_time() - cpu:.0f} s of processor time, peak "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB"
    )


def main() -> None:
    """Write, then search in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=512)
    parser.add_argument("--neighbours", type=int, default=5)
    parser.add_argument("--search", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.search:
        search(Path(asked.search[0]), asked.search[1], asked.neighbours)
        return
    with tempfile.TemporaryDirectory() as folder:
        digest = write(Path(folder), asked.rows, asked.columns)
        again = [sys.executable, __file__, "--search", folder, digest, "--neighbours", str(asked.neighbours)]
        subprocess.run(again, check=True)


if __name__ == "__main__":
    main()
