"""Reading a store against h5py reading one contiguous data set of the same bytes.

    python tests/benchmarks/store.py --gb 4 --dir FOLDER

Writes random float32 features through the real writer into a new store below FOLDER, and the same bytes into one
plain HDF5 file, then reads both in the same ways. Rounds alternate between the two, the median round counts, and both
are in the page cache (FOLDER's disk does not matter; free memory of --gb must). The store's bytes were checked before
the rounds; what the check of the first read costs is a line of its own. At last two processes read the whole store at
the same time, in order and shuffled, and say how much memory of their own that took.

h5py has no shuffled reading: windows that it reads in order and NumPy shuffles stand beside ours, which are made of
blocks from everywhere. Its random rows are sorted first and put back, as it demands. Takes about two minutes at 4 GB
on two cores. Target: at least 0.8 of h5py's speed in every line.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

TARGET = 0.8
CHUNK_BYTES = 16 << 20
SHARE = 1 / 64
"""Of the rows: what a line of random rows reads."""

BATCH = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=1.0, help="of features, 1e9 bytes")
    parser.add_argument("--columns", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", type=Path, help="where twice --gb can be written; removed afterwards")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(read_alone(*args.child)))
        return
    scratch = Path(tempfile.mkdtemp(prefix="featx-bench-", dir=args.dir))
    try:
        compare(args, scratch)
    finally:
        shutil.rmtree(scratch)


def compare(args: argparse.Namespace, scratch: Path) -> None:
    n = int(args.gb * 1e9) // (4 * args.columns)
    digest, seconds = write_both(scratch, n, args.columns)
    gb = n * args.columns * 4 / 1e9
    print(f"{n:,} x {args.columns} float32, {gb:.2f} GB, h5py {h5py.__version__}, numpy {np.__version__}")
    print(f"written and synced in {seconds:.1f} s, {gb / seconds:.2f} GB/s, random numbers included\n")
    table = open_store(scratch, digest)
    began = time.perf_counter()
    for _ in table.iter_chunks():
        pass
    first = time.perf_counter() - began
    with h5py.File(scratch / "plain.h5") as file:
        plain = file["X"]
        print(f"{'':34s}{'GB/s':>8s}{'h5py':>8s}{'ratio':>8s}{'worst':>8s}")
        print(f"{'first read, SHA-256 checked':34s}{gb / first:8.2f}")
        for name, share, ours, theirs in ways(table, plain):
            times = paired(ours, theirs, args.rounds)
            ratios = [b / a for a, b in times]
            a, b = (gb * share / statistics.median(column) for column in zip(*times, strict=True))
            ratio = statistics.median(ratios)
            said = "met" if ratio >= TARGET else "MISSED"
            print(f"{name:34s}{a:8.2f}{b:8.2f}{ratio:8.2f}{min(ratios):8.2f}   target {TARGET}: {said}", flush=True)
    for way in ("in order", "shuffled"):
        together(scratch, digest, way, gb)


def write_both(scratch: Path, n: int, columns: int) -> tuple[str, float]:
    """Write a store and a plain file; return the key's digest and the seconds that the store took."""
    from dataclasses import asdict

    from featx.cache.key import FeatureKey
    from featx.cache.schema import Plan, fingerprint, plan_shard_rows
    from featx.cache.store import FeatureStore
    from featx.core.specs import PreprocessSpec

    random = np.random.default_rng(0)
    hashes = random.integers(0, 256, (n, 32), np.uint8)
    key = FeatureKey(fingerprint(hashes), n, "lenet5", "0" * 64, "fc1", asdict(PreprocessSpec(32, 28)))
    rows = plan_shard_rows(n, 4 * columns)
    plan = Plan(256, rows, rows, columns, key.dtype, ("fc1",))
    ids = [f"{row:08}.png" for row in range(n)]
    with h5py.File(scratch / "plain.h5", "w") as file:
        plain = file.create_dataset("X", (n, columns), "float32")
        seconds = -time.perf_counter()
        with FeatureStore(scratch / "home").writer(key, plan, ids, hashes, {}) as writer:
            for start in range(0, n, plan.shard_rows):
                X = random.random((min(plan.shard_rows, n - start), columns), np.float32)
                writer.claim(start // plan.block_rows)
                writer.put(np.arange(start, start + len(X)), X)
                seconds -= time.perf_counter()
                plain[start : start + len(X)] = X
                seconds += time.perf_counter()
        seconds += time.perf_counter()
    return key.digest, seconds


def open_store(scratch: Path, digest: str) -> Any:
    from featx.cache.store import FeatureStore

    return FeatureStore(scratch / "home").open(digest)


def ways(table: Any, plain: Any) -> Iterator[tuple[str, float, Callable[[], Any], Callable[[], Any]]]:
    """Yield what is compared: its name, the share of the bytes that it reads, and both sides."""
    n, step = len(table), max(1, CHUNK_BYTES // (4 * table.shape[1]))
    random = np.random.default_rng(1)
    picked = random.choice(n, max(BATCH, int(n * SHARE)), replace=False)
    picked = picked[: len(picked) // BATCH * BATCH]
    rising, share = np.sort(picked), len(picked) / n
    batches = picked.reshape(-1, BATCH)
    yield "whole, one array", 1.0, lambda: np.asarray(table.X), lambda: plain[:]
    yield (
        "in order, 16 MB chunks",
        1.0,
        lambda: exhaust(table.iter_chunks(step)),
        lambda: exhaust(in_order(plain, step)),
    )
    yield "random rows, sorted", share, lambda: table.X[rising], lambda: plain[rising]
    yield "random rows, batches of 256", share, lambda: [table.X[b] for b in batches], lambda: unsorted(plain, batches)
    yield "shuffled, windows of 128 MB", 1.0, lambda: exhaust(table.iter_shuffled(step)), lambda: shuffled(plain, step)


def in_order(plain: Any, step: int) -> Iterator[Any]:
    for start in range(0, len(plain), step):
        yield plain[start : start + step]


def shuffled(plain: Any, step: int) -> None:
    for number, window in enumerate(in_order(plain, 8 * step)):
        order = np.random.default_rng(number).permutation(len(window))
        for start in range(0, len(order), step):
            window[order[start : start + step]]


def unsorted(plain: Any, batches: Any) -> None:
    for batch in batches:
        order = np.argsort(batch)
        out = np.empty((len(batch), plain.shape[1]), plain.dtype)
        out[order] = plain[batch[order]]


def exhaust(chunks: Iterator[Any]) -> None:
    for _ in chunks:
        pass


def paired(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int) -> list[tuple[float, float]]:
    """Return both sides' seconds of each round; the first round, and who begins, do not count."""
    times = []
    for number in range(rounds + 1):
        sides = [ours, theirs] if number % 2 else [theirs, ours]
        seconds = {side: timed(side) for side in sides}
        times.append((seconds[ours], seconds[theirs]))
    return times[1:]


def timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def together(scratch: Path, digest: str, way: str, gb: float) -> None:
    """Let two processes read everything at once, and print what memory of their own that took."""
    command = [sys.executable, __file__, "--child", str(scratch), digest, way]
    began = time.perf_counter()
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    found = [json.loads(child.communicate()[0]) for child in children]
    seconds = time.perf_counter() - began
    said = ", ".join(f"{f['peak_mb']:.0f} MB ({f['before_mb']:.0f} MB before the first read)" for f in found)
    print(f"two processes, {gb:.1f} GB each, {way}: {seconds:.1f} s, peak {said}")


def read_alone(scratch: str, digest: str, way: str) -> dict[str, float]:
    """Read everything and return the largest resident set; files in the page cache are no part of it."""
    table = open_store(Path(scratch), digest)
    before = peak_mb()
    exhaust(table.iter_chunks() if way == "in order" else table.iter_shuffled())
    return {"before_mb": before, "peak_mb": peak_mb()}


def peak_mb() -> float:
    # ru_maxrss would be inherited from the parent that started us; VmHWM is of this program alone.
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
