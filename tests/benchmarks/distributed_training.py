"""Train with several processes, kill them, and compare with one process: losses of every epoch and the last weights.

python tests/benchmarks/distributed_training.py --data cifar10.zip
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from featx.core.run_folder import MODEL_FILE, Run, Runs
from featx.training.checkpoints import CHECKPOINT_FILE

LENET = ("-b", "lenet5", "--lr", "0.02")
MIXED = ("--mixup", "0.4", "--cutmix", "1", "--label-smoothing", "0.1", "--class-weight", "balanced", "--clip", "1")
RESNET = ("-b", "resnet18", "--stem", "cifar", "--size", "32", "--lr", "0.02")
CASES: dict[str, tuple[str, ...]] = {
    "LeNet": LENET,
    "LeNet, blended, weighted, clipped": (*LENET, *MIXED),
    "LeNet, two batches a step, AdamW": ("-b", "lenet5", "--accumulate", "2", "--optimizer", "adamw"),
    "ResNet-18, SyncBatchNorm": RESNET,
    "ResNet-18, batch norm of slices": (*RESNET, "--no-sync-batch-norm"),
}
"""What is trained; --only takes the first letters of some."""

LOSSES = ("train_loss", "val_loss")


class Bench:
    """Runs trainings, each in a home of its own below `folder`."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args, self.folder, self.count = args, folder, 0

    def home(self) -> Path:
        """Return a new home."""
        self.count += 1
        return self.folder / str(self.count)

    def start(self, case: str, processes: int, home: Path, *more: str) -> subprocess.Popen[str]:
        """Begin a training, or resume it."""
        args = self.args
        torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes))
        resnet = case.startswith("ResNet")
        command = [
            *(sys.executable, *(torchrun if processes > 1 else ()), "-m", "featx", "train", str(args.data)),
            *("--mode", "scratch", "--device", "cpu", "--epochs", str(args.epochs), "--batch-size", "50", "--quiet"),
            *("--limit", str(args.images // 4 if resnet else args.images), *CASES[case], *more),
        ]
        environment = {**os.environ, "FEATX_HOME": str(home), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def finish(self, case: str, processes: int, home: Path, *more: str) -> Run:
        """Train to the end and return the run."""
        process = self.start(case, processes, home, *more)
        _, said = process.communicate()
        if process.returncode:
            raise SystemExit(f"{case} with {processes} processes failed: {said}")
        (run,) = Runs(home).list()
        return run

    def broken(self, case: str, processes: int, then: int, kill: Callable[[subprocess.Popen[str]], None]) -> Run:
        """Kill a training in the middle of its second epoch or later, and resume it with other processes."""
        home, every = self.home(), ("--checkpoint-minutes", "0")
        process = self.start(case, processes, home, *every)
        while process.poll() is None and not any("-1-" in path.name for path in home.glob("runs/*/last-1-*")):
            time.sleep(0.002)
        began = time.monotonic()
        kill(process)
        _, said = process.communicate(timeout=120)
        errors = [line for line in said.splitlines() if line.startswith(("error:", "terminated:", "interrupted:"))]
        print(f"   {case}: exit {process.returncode} after {time.monotonic() - began:.1f} s: {errors}", file=sys.stderr)
        if not process.returncode or not list(home.glob(f"runs/*/{CHECKPOINT_FILE}")):
            raise SystemExit(f"{case}: exit {process.returncode}, no checkpoint: {said}")
        return self.finish(case, then, home, *every, "--resume=strict")


def workers(process: subprocess.Popen[str]) -> list[int]:
    """Return the processes that a launcher started, by their rank."""
    found = {}
    for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        variables = dict(v.split("=", 1) for v in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in v)
        if "RANK" in variables:
            found[int(variables["RANK"])] = int(pid)
    return [found[rank] for rank in sorted(found)]


def kill_rank(rank: int) -> Callable[[subprocess.Popen[str]], None]:
    """Return what sends SIGKILL to one of a launcher's processes."""
    return lambda process: os.kill(workers(process)[rank], signal.SIGKILL)


def differences(run: Run, other: Run) -> tuple[str, ...]:
    """Return how far two runs are from each other: losses, weights relative to the largest, accuracies."""
    first, second = run.read(), other.read()
    pairs = list(zip(first["history"], second["history"], strict=True))
    losses = (f"{max(abs(a[name] - b[name]) for a, b in pairs):.1e}" for name in LOSSES)
    ours, theirs = (load_file(some.path / MODEL_FILE) for some in (run, other))
    weights = [name for name in ours if np.issubdtype(ours[name].dtype, np.floating)]
    apart = max(float(np.abs(ours[name] - theirs[name]).max() / np.abs(theirs[name]).max()) for name in weights)
    tests = (f"{record['accuracy']['test']:.4f}" for record in (first, second))
    seconds: Any = (f"{record['seconds_per_epoch']:.1f}" for record in (first, second))
    return *losses, f"{apart:.1e}", *tests, *seconds


def main() -> None:
    """Print a table of differences from one process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="cifar10.zip")
    parser.add_argument(
        "--images", type=int, default=2020, help="per split; a quarter for ResNet (default: %(default)s)"
    )
    parser.add_argument("--epochs", type=int, default=3, help="of each training (default: %(default)s)")
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 3], help="to compare (default: %(default)s)")
    parser.add_argument("--only", default="", help="first letters of the cases")
    args = parser.parse_args()
    heads = ("training", "processes", *LOSSES, "weights", "test accuracy", "of one", "s an epoch", "of one")
    print(f"| {' | '.join(heads)} |\n|---|---|{'---:|' * (len(heads) - 2)}")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args, Path(folder))
        for case in (name for name in CASES if name.startswith(args.only)):
            one = bench.finish(case, 1, bench.home())

            def row(how: str, run: Run, case: str = case, one: Run = one) -> None:
                print(f"| {case} | {how} | {' | '.join(differences(run, one))} |", flush=True)

            for processes in args.processes:
                row(str(processes), bench.finish(case, processes, bench.home()))
            if case in ("LeNet", "ResNet-18, SyncBatchNorm"):
                row("2, rank 1 killed, then 1", bench.broken(case, 2, 1, kill_rank(1)))
                row("2, rank 0 killed, then 1", bench.broken(case, 2, 1, kill_rank(0)))
                row("1 killed, then 2", bench.broken(case, 1, 2, subprocess.Popen.kill))
                row("2, SIGTERM, then 2", bench.broken(case, 2, 2, subprocess.Popen.terminate))


if __name__ == "__main__":
    main()
