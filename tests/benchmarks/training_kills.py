"""Kill a training at random moments, go on with it each time, and compare its end with an uninterrupted run's.

python tests/benchmarks/training_kills.py --kills 30
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from featx.core.run_folder import MODEL_FILE, Run, Runs
from featx.training.checkpoints import CHECKPOINT_FILE

STEADY = ("epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy")


def command(args: argparse.Namespace) -> list[str]:
    """Return the training's command: a checkpoint after every step, so that many kills meet one."""
    return [
        *(sys.executable, "-m", "featx.cli.main", "train", "digits", "-b", "lenet5", "--mode", "scratch"),
        *("--epochs", str(args.epochs), "--batch-size", "32", "--device", "cpu", "--head", "mlp:64:dropout=0.3"),
        *("--checkpoint-minutes", "0", "--resume", "--quiet"),
    ]


def begin(args: argparse.Namespace, home: Path) -> subprocess.Popen[str]:
    """Start the training, or go on with it."""
    environment = {**os.environ, "FEATX_HOME": str(home), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command(args), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def moment(home: Path) -> str:
    """Say where a training was when it was killed, by what it left."""
    files = [path.name for path in home.glob("runs/*/*")] + [path.name for path in home.glob("runs/*/.*")]
    if CHECKPOINT_FILE not in files:
        return "before the first checkpoint"
    if any(name.startswith(".tmp-") for name in files) or sum(name.startswith("last-") for name in files) > 1:
        return "in a checkpoint"
    return "in or between steps"


def saved(home: Path) -> set[int]:
    """Return when checkpoints were written."""
    return {path.stat().st_mtime_ns for path in home.glob(f"runs/*/{CHECKPOINT_FILE}")}


def kill_once(args: argparse.Namespace, home: Path, luck: random.Random) -> tuple[str, str]:
    """Kill the training within `--within` seconds of its first new checkpoint; return where, and what it said."""
    before, process = saved(home), begin(args, home)
    while process.poll() is None and saved(home) <= before:
        time.sleep(0.002)
    time.sleep(luck.uniform(0, args.within))
    process.kill()
    _, said = process.communicate()
    if process.returncode == 0:
        return "not at all: it had ended", ""
    return (moment(home), "") if process.returncode == -signal.SIGKILL else ("unloadable", said)


def finished(args: argparse.Namespace, home: Path) -> Run:
    """Let the training end, and return its run."""
    process = begin(args, home)
    _, said = process.communicate()
    if process.returncode:
        raise SystemExit(f"the training failed: {said}")
    (run,) = Runs(home).list()
    return run


def main() -> None:
    """Print a table of the moments, and whether the ends are equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="how often (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=30, help="of the training (default: %(default)s)")
    parser.add_argument("--within", type=float, default=0.5, help="seconds after a checkpoint (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    args = parser.parse_args()
    luck, moments = random.Random(args.seed), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        killed, whole = Path(folder, "killed"), Path(folder, "whole")
        for _ in range(args.kills):
            where, said = kill_once(args, killed, luck)
            moments[where] += 1
            if said:
                print(said, file=sys.stderr)
        runs = [finished(args, home) for home in (killed, whole)]
        models = [(run.path / MODEL_FILE).read_bytes() for run in runs]
        histories = [[{name: line[name] for name in STEADY} for line in run.read()["history"]] for run in runs]
        print("| killed | times |\n|---|---:|")
        for where, count in sorted(moments.items()):
            print(f"| {where} | {count} |")
        print(f"\nunloadable checkpoints: {moments['unloadable']}")
        print(f"weights equal, bit for bit: {models[0] == models[1]}; history equal: {histories[0] == histories[1]}")
        raise SystemExit(models[0] != models[1] or histories[0] != histories[1] or moments["unloadable"] > 0)


if __name__ == "__main__":
    main()
