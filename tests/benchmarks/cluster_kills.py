"""Workers of a Dask cluster killed and stopped at random moments, over and over: the store's bytes must not change.

    python tests/benchmarks/cluster_kills.py [--rounds 30] [--rows 24000] [--stop-seconds 10] [--seed 0]

A scheduler and three workers, each a process of its own. In each round a store is filled anew; at a random moment one
worker is killed (SIGKILL; in every third round its nanny instead) and another is stopped for some seconds. The bytes
are compared with those of one process, and the killed worker is replaced. A round takes about ten seconds, and as long
as a worker is stopped.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from clusters import Cluster, dask_cluster, noise, stored_bytes, toy_extraction

BLOCK = 1024
LIMIT_SECONDS = 300.0
"""A round that takes longer counts as a hang."""


class Sabotage:
    """Kills one worker and stops another, once so many rows are done; given to the extraction as its progress."""

    def __init__(self, cluster: Cluster, chance: random.Random, rows: int, stop_seconds: float) -> None:
        self.at = chance.randrange(0, rows - 2 * BLOCK)
        self.delay = chance.uniform(0, 0.3)
        self.killed, self.stopped = chance.sample(cluster.workers, 2)
        self._stop_seconds = stop_seconds
        self.timers: list[threading.Timer] = []

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Do it from another thread, so that the moment is no block's end."""
        if done >= self.at and not self.timers:
            self.timers = [
                threading.Timer(self.delay, self._strike),
                threading.Timer(self.delay + self._stop_seconds, lambda: os.kill(self.stopped.pid, signal.SIGCONT)),
            ]
            for timer in self.timers:
                timer.start()

    def _strike(self) -> None:
        self.killed.send_signal(signal.SIGKILL)
        self.stopped.send_signal(signal.SIGSTOP)


def main() -> None:
    """Run the rounds and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--rows", type=int, default=24_000)
    parser.add_argument("--stop-seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    chance = random.Random(asked.seed)
    with tempfile.TemporaryDirectory(prefix="featx-kills-") as name:
        folder = Path(name)
        source = noise(folder / "noise.npy", asked.rows)
        toy_extraction(source, folder / "alone")
        alone = stored_bytes(folder / "alone")
        with dask_cluster(folder, workers=3) as cluster:
            outcomes = [one_round(i, cluster, source, folder, alone, chance, asked) for i in range(asked.rounds)]
    unequal, slow = (sum(column) for column in zip(*outcomes, strict=True))
    print(f"\n{len(outcomes)} rounds: unequal {unequal}, hangs {slow}")
    sys.exit(bool(unequal or slow))


def one_round(
    number: int,
    cluster: Cluster,
    source: Path,
    folder: Path,
    alone: dict[str, bytes],
    chance: random.Random,
    asked: argparse.Namespace,
) -> tuple[bool, bool]:
    """Fill a store while workers fall; return whether it differs, and whether that took too long."""
    if number == 0:
        print("| round | killed | at row | delay, s | workers lost | blocks by worker | seconds | equal |")
        print("|---:|---|---:|---:|---:|---|---:|---|")
    home = folder / f"home{number}"
    sabotage = Sabotage(cluster, chance, asked.rows, asked.stop_seconds)
    nanny = "--nanny" in sabotage.killed.args  # type: ignore[operator]
    began = time.monotonic()
    result = toy_extraction(source, home, cluster.address, sabotage)
    seconds = time.monotonic() - began
    for timer in sabotage.timers:
        timer.join()
    equal = stored_bytes(home) == alone
    blocks = "+".join(map(str, sorted(result.executor["blocks"].values())))
    print(
        f"| {number} | {'nanny' if nanny else 'worker'} | {sabotage.at} | {sabotage.delay:.2f} "
        f"| {len(result.executor['lost'])} | {blocks} | {seconds:.1f} | {equal} |",
        flush=True,
    )
    shutil.rmtree(home)
    cluster.workers.remove(sabotage.killed)
    sabotage.killed.wait()
    cluster.add_worker("--nanny" if number % 3 == 0 else "--no-nanny")
    cluster.wait_for_workers()
    return not equal, seconds > LIMIT_SECONDS


if __name__ == "__main__":
    main()
