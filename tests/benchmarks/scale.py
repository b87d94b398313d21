"""What grows with the rows: seconds and peak memory of everything that a store does with ids, hashes and receipts.

    python tests/benchmarks/scale.py                            # 10^5 rows, about a minute
    python tests/benchmarks/scale.py --rows 10000000 --dir /tmp  # several minutes, 7 GB of disk, 4 GB of memory

Each line is a process of its own. Features have few columns: what is measured is what a row costs beside its values.
``held`` is the memory that the process has before the step begins, with what its caller hands over (ids and row
hashes); ``peak`` is the most it had; ``cpu s`` is what a busy machine changes least. The rows are on the disk, in
realistic shards and in many small ones, written without fsync unless ``--sync`` is given. A key of 10^9 rows is
simulated: its receipts are real, its shards, ids and row hashes are holes. Hashes of files are remembered for files
that exist by name only.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

STEPS = Path(__file__).with_name("scale_steps.py")
SMALL_SHARD = 1024
STORE_STEPS = ("write", "open", "ls", "read", "ids", "resume", "reuse", "merge", "verify")
SOURCE_STEPS = ("parquet", "files, first", "files, again", "files, one more")
GIANT_STEPS = ("giant, made", "giant, first open", "giant, open", "giant, ls")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=8, help="float16 values of a row")
    parser.add_argument(
        "--giant",
        type=int,
        default=10**9,
        help="rows of the simulated key, at least 10^7: the holes of fewer would be hashed",
    )
    parser.add_argument("--sync", action="store_true", help="fsync as ever: what a crash may not take")
    parser.add_argument("--dir", type=Path, help="where scratch files go; removed afterwards")
    parser.add_argument("--only", nargs="*", help="steps, by the beginning of their names; what they need runs too")
    parser.add_argument("--json", type=Path, help="also written here")
    args = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="featx-scale-", dir=args.dir))
    try:
        lines = list(measured(args, scratch))
    finally:
        shutil.rmtree(scratch)
    if args.json:
        args.json.write_text(json.dumps(lines, indent=1) + "\n")


def measured(args: argparse.Namespace, scratch: Path) -> Any:
    """Yield each step's line, printed as soon as it is known."""
    print(f"{'shards':>8s} {'step':20s}{'seconds':>9s}{'cpu s':>9s}{'held MiB':>10s}{'peak MiB':>10s}  note")
    for shard_rows in (0, SMALL_SHARD):
        home = scratch / f"shards-{shard_rows}"
        for step in wanted(args, STORE_STEPS, first="write"):
            yield run(step, args, home, args.rows, shard_rows)
        shutil.rmtree(home, ignore_errors=True)
    for step in wanted(args, SOURCE_STEPS):
        yield run(step, args, scratch / "sources", args.rows, 0)
    for step in wanted(args, GIANT_STEPS, first="giant, made"):
        yield run(step, args, scratch / "giant", args.giant, 0)


def wanted(args: argparse.Namespace, steps: tuple[str, ...], first: str = "") -> list[str]:
    if args.only is None:
        return list(steps)
    chosen = [step for step in steps if any(step.startswith(name) for name in args.only)]
    return [first, *chosen] if first and chosen and first not in chosen else chosen


def run(step: str, args: argparse.Namespace, folder: Path, rows: int, shard_rows: int) -> dict[str, Any]:
    """Run one step in a process of its own; one that fails is a line too."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {"rows": rows, "columns": args.columns, "shard_rows": shard_rows, "sync": args.sync}
    child = subprocess.run(
        [sys.executable, str(STEPS), step, str(folder), json.dumps(given)], capture_output=True, text=True, check=False
    )
    if child.returncode:
        last = (child.stderr.strip().splitlines() or [f"ended with {child.returncode}"])[-1]
        found = dict.fromkeys(("seconds", "cpu", "held", "peak"), float("nan")) | {"shards": 0, "note": last[:90]}
    else:
        found = json.loads(child.stdout)
    numbers = f"{found['seconds']:9.2f}{found['cpu']:9.2f}{found['held']:10.0f}{found['peak']:10.0f}"
    print(f"{found['shards']:8,d} {step:20s}{numbers}  {found['note']}", flush=True)
    return {"step": step, "rows": rows, **found}


if __name__ == "__main__":
    main()
