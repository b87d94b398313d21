"""Linear CKA against its exact expectation for normals, and its time and memory for layers in a store.

    python tests/benchmarks/similarity.py --only expectation
    python tests/benchmarks/similarity.py --only speed --layers 10 --rows 50000 --columns 512

``expectation``: means over draws, with their standard errors. Of independent normals, unbiased CKA is 0 exactly at any
number of rows n; the biased one is sqrt(p q / ((n + p) (n + q))), from the exact expectations of what it is made of.
Of Y = a X + sqrt(1 - a^2) noise, CKA goes to a^2 with n.

``speed``: layers of random values, written to a store first; time and peak memory are of a process that compares them.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from featx.audit.cka import linear_cka
from featx.audit.similarity import similarity
from featx.cache.key import FeatureKey
from featx.cache.schema import Plan, fingerprint
from featx.cache.store import FeatureStore

SHARED = 0.7
"""The a of related layers: CKA of 0.49."""


def expectation(columns: tuple[int, int], draws: int) -> None:
    """Print a line for each number of rows."""
    p, q = columns
    print(f"p = {p}, q = {q}; mean (standard error) over draws")
    print("    n  draws  unbiased, expected 0   biased  expected  unbiased, related  goes to")
    for n in (32, 64, 128, 256, 512, 1024, 2048, 4096):
        count = max(10, min(draws, draws * 256 // n))
        random = np.random.default_rng(n)
        values = np.array([_draw(random, n, p, q) for _ in range(count)])
        mean, error = values.mean(axis=0), values.std(axis=0, ddof=1) / math.sqrt(count)
        biased = math.sqrt(p * q / ((n + p) * (n + q)))
        print(
            f"{n:5d}  {count:5d}  {mean[0]:+.5f} ({error[0]:.5f})  {mean[1]:.4f}    {biased:.4f}"
            f"   {mean[2]:.4f} ({error[2]:.4f})   {SHARED**2:.4f}",
            flush=True,
        )


def _draw(random: np.random.Generator, n: int, p: int, q: int) -> tuple[float, float, float]:
    X, Y, noise = random.normal(size=(n, p)), random.normal(size=(n, q)), random.normal(size=(n, p))
    found = linear_cka([X, Y, SHARED * X + math.sqrt(1 - SHARED**2) * noise])
    return float(found.unbiased[0, 1]), float(found.biased[0, 1]), float(found.unbiased[0, 2])


def write(home: Path, layers: int, rows: int, columns: int) -> list[str]:
    """Store random features; return the digests."""
    store, random = FeatureStore(home), np.random.default_rng(0)
    hashes = np.frombuffer(random.bytes(32 * rows), np.uint8).reshape(rows, 32)
    common, digests = random.normal(size=(rows, 32)).astype(np.float32), []
    for number in range(layers):
        key = FeatureKey(fingerprint(hashes), rows, "lenet5", "0" * 64, f"layer{number}:avg", preprocess={})
        plan = Plan(500, 5000, 5000, columns, "float32", (key.layer,))
        about = {"source": "random", "split": "train", "backbone": "lenet5", "weights": "random:0"}
        mixed = random.normal(size=(32, columns)).astype(np.float32)
        with store.writer(key, plan, [f"{i}.png" for i in range(rows)], hashes, about) as writer:
            for block in writer.blocks():
                writer.claim(block)
                for batch in _batches(writer.due(block)):
                    noise = random.standard_normal((len(batch), columns), np.float32)
                    writer.put(batch, common[batch] @ mixed + 8 * noise)
        digests.append(key.digest)
    return digests


def _batches(rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Iterator[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    return (rows[start : start + 500] for start in range(0, len(rows), 500))


def measure(home: Path, digests: list[str]) -> None:
    """Compare stored layers; print the seconds of each part and the peak memory as JSON."""
    store = FeatureStore(home)
    features = {digest[:8]: store.open(digest).X for digest in digests}
    before = resource.getrusage(resource.RUSAGE_SELF)
    times, used = [], []
    for compare in (lambda: linear_cka(list(features.values())), lambda: similarity(features)):
        began, spent = time.perf_counter(), time.process_time()
        compare()
        times.append(time.perf_counter() - began)
        used.append(time.process_time() - spent)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"cka_s": times[0], "all_s": times[1], "cka_cpu_s": used[0], "all_cpu_s": used[1]}
    print(json.dumps(found | {"before_mib": before.ru_maxrss / 1024, "peak_mib": peak / 1024}))


def speed(layers: int, rows: int, columns: int) -> None:
    """Write a store and measure in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        digests = write(Path(folder), layers, rows, columns)
        command = [sys.executable, __file__, "--only", "measure", "--home", folder, *digests]
        told = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(told.stdout)
    print(
        f"{layers} layers of {rows:,} x {columns}: CKA {found['cka_s']:.1f} s ({found['cka_cpu_s']:.1f} s of CPU), "
        f"with RSA and neighbours {found['all_s']:.1f} s ({found['all_cpu_s']:.1f} s of CPU); "
        f"peak {found['peak_mib']:.0f} MiB, {found['before_mib']:.0f} before the first row"
    )


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("expectation", "speed", "measure"))
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--columns", type=int, default=512)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--home", type=Path, help="of --only measure")
    parser.add_argument("digests", nargs="*", help="of --only measure")
    options = parser.parse_args()
    if options.only == "measure":
        measure(options.home, options.digests)
        return
    if options.only in (None, "expectation"):
        for columns in ((64, 64), (256, 512)):
            expectation(columns, options.draws)
    if options.only in (None, "speed"):
        speed(options.layers, options.rows, options.columns)


if __name__ == "__main__":
    main()
