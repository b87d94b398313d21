"""The promises of the feature store, attacked: one table row a promise.

    python tests/benchmarks/faults.py [--only kill,power] [--kills 500] [--seed 0] [--dir FOLDER]

Real extractions of LeNet-5 on noise are killed, filled, starved and shared in real processes, on real files below
FOLDER. A row says what was tried, what was found, and ``kept`` or ``BROKEN``; the exit code is 1 when a promise is
broken. Quick versions of the same attacks are in the suite: tests/cache/test_faults*.py.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

import faults_damage
import faults_disk
import faults_hostile
import faults_kill
import faults_locks
import faults_missing
import faults_power
import faults_stale
import faults_writers
from faults_table import Line, Options, show

PROMISES: dict[str, Callable[[Options], Iterable[Line]]] = {
    "kill": faults_kill.attack,
    "power": faults_power.attack,
    "writers": faults_writers.attack,
    "disk": faults_disk.attack,
    "locks": faults_locks.attack,
    "corrupt": faults_damage.corrupt,
    "stale": faults_stale.stale,
    "missing": faults_missing.missing,
    "hostile": faults_hostile.hostile,
}
"""By the name that --only takes: a function that attacks, and gives the lines of the table."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PROMISES), help="promises, comma-separated: %(default)s")
    parser.add_argument("--kills", type=int, default=500, help="at random moments")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dir", type=Path, help="where to work; what is written there is removed afterwards")
    args = parser.parse_args()
    names = args.only.split(",")
    if unknown := sorted(set(names) - set(PROMISES)):
        parser.error(f"no promise {', '.join(unknown)}; there are {', '.join(PROMISES)}")
    print(f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, python {sys.version.split()[0]}\n", flush=True)
    broken = 0
    for name in names:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"featx-faults-{name}-", dir=args.dir) as scratch:
            for line in PROMISES[name](Options(Path(scratch), args.kills, args.seed)):
                show(line)
                broken += line.broken
        print(f"  {name}: {time.monotonic() - began:.0f} s", flush=True)
    sys.exit(int(broken > 0))


if __name__ == "__main__":
    main()
