"""What a Dask cluster costs: a task's overhead against its shard's own work, and the efficiency of 1, 2, 4 workers.

    python tests/benchmarks/cluster_speed.py [--rows 60000] [--workers 1 2 4]

LeNet-5 at 32 px: a shard of 1,024 rows is 0.1 to 0.3 s of work, as little as a shard ever is; others take minutes. The
workers are started, and have loaded torch, before the clock runs. Each has one thread; one process alone is measured
with one thread too.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from clusters import dask_cluster, noise, toy_extraction

from featx.core.executors.dask_cluster import DaskCluster
from featx.core.executors.machine import processors

CALLS = 300


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    asked = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="featx-speed-") as name:
        folder = Path(name)
        source = noise(folder / "noise.npy", asked.rows)
        few = noise(folder / "few.npy", 4 * max(asked.workers) * 1024)  # so that every worker gets some
        toy_extraction(few, folder / "warm")
        alone, work = timed(source, folder / "alone", None)
        print(f"{processors()} processors, {asked.rows} rows, {-(-asked.rows // 1024)} shards of 1,024 rows")
        print("| workers | seconds | images/s | speed-up | efficiency |")
        print("|---|---:|---:|---:|---:|")
        print(f"| none: this process, one thread | {alone:.1f} | {asked.rows / alone:.0f} | 1.00 | |", flush=True)
        for count in asked.workers:
            with dask_cluster(folder, workers=count) as cluster:
                toy_extraction(few, folder / f"warm{count}", cluster.address)
                seconds, _ = timed(source, folder / f"there{count}", cluster.address)
                overhead = call_seconds(cluster.address)
            gained = alone / seconds
            print(
                f"| {count} | {seconds:.1f} | {asked.rows / seconds:.0f} | {gained:.2f} "
                f"| {gained / min(count, processors()):.2f} of {min(count, processors())} processors |",
                flush=True,
            )
        shard = work / -(-asked.rows // 1024)
        print(f"\na call that does nothing: {1000 * overhead:.1f} ms")
        print(f"the work of a shard in this process: {1000 * shard:.0f} ms")


def timed(source: Path, home: Path, where: str | None) -> tuple[float, float]:
    """Return the seconds that an extraction takes, and the seconds of work that its workers count."""
    began = time.perf_counter()
    result = toy_extraction(source, home, where)
    shutil.rmtree(home)
    return time.perf_counter() - began, sum(v for k, v in result.seconds.items() if k != "total")


def call_seconds(address: str) -> float:
    """Return the seconds that a call takes which does nothing."""
    executor = DaskCluster.at(address)
    list(executor.run(abs, [(0,)]))
    began = time.perf_counter()
    count = sum(1 for _ in executor.run(abs, [(0,)] * CALLS))
    executor.close()
    return (time.perf_counter() - began) / count


if __name__ == "__main__":
    main()
