"""How long commands take whose work is done already, or that refuse what is mistyped.

A fit on stored features against what it cannot do without, ``import torch, sklearn.linear_model``, and commands that
load neither; whole processes, in turns.

    python tests/benchmarks/startup.py --data cifar10.zip --weights resnet18-tinyimagenet.pth --home FOLDER

The first round fills FOLDER, if it lacks the features, and is not counted.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

IMPORTS = "import torch, sklearn.linear_model"
FEATX = (sys.executable, "-m", "featx.cli.main")


class Seconds(NamedTuple):
    """Of one process."""

    elapsed: float
    processor: float


def timed(command: Sequence[str], code: int) -> Seconds:
    """Run a command to its end; SystemExit where its exit code is another."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    elapsed, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != code:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}, expected {code}\n{done.stdout}{done.stderr}")
    return Seconds(elapsed, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def commands(options: argparse.Namespace) -> dict[str, tuple[tuple[str, ...], int]]:
    """Return what is timed, by name: the command and its exit code."""
    source, weights, home = str(options.data), str(options.weights), ("--home", str(options.home))
    network = ("-b", "resnet18", "--size", "32", "--precision", "bf16", *home)
    fit = (*FEATX, "fit", source, *network)
    return {
        IMPORTS: ((sys.executable, "-c", IMPORTS), 0),
        "fit": ((*fit, "--weights", weights, "-l", "layer1:avg"), 0),
        "extract": ((*FEATX, "extract", source, *network, "--weights", weights, "-l", "layer1:avg"), 0),
        "--help": ((*FEATX, "--help"), 0),
        "fit --help": ((*FEATX, "fit", "--help"), 0),
        "cache ls": ((*FEATX, "cache", "ls", *home), 0),
        "report": ((*FEATX, "report", *home), 0),
        "mistyped --weights": ((*fit, "--weights", "resnet81.pth", "-l", "layer1:avg"), 1),
        "mistyped backbone": ((*FEATX, "fit", source, "-b", "resnet81", "-l", "layer1:avg", *home), 2),
        "mistyped layer": ((*fit, "--weights", weights, "-l", "layre1:avg"), 2),
        "mistyped source": ((*FEATX, "fit", "cifra10.zip", *network, "--weights", weights, "-l", "layer1:avg"), 2),
    }


def main() -> None:
    """Time all commands in turns and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="cifar10.zip")
    parser.add_argument("--weights", type=Path, required=True, help="resnet18-tinyimagenet.pth")
    parser.add_argument("--home", type=Path, required=True, help="where the features are kept")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    wanted = commands(options)
    # Layers are known from when the network was read last.
    about = ("layers", "resnet18", "--weights", str(options.weights), "--size", "32", "--home", str(options.home))
    timed((*FEATX, *about), 0)
    for command, code in wanted.values():
        timed(command, code)
    took: dict[str, list[Seconds]] = {name: [] for name in wanted}
    for _ in range(options.rounds):
        for name, (command, code) in wanted.items():
            took[name].append(timed(command, code))
    floor = statistics.median(one.elapsed for one in took[IMPORTS])
    print(f"{os.cpu_count()} processors, {options.rounds} rounds; seconds, and times those of `{IMPORTS}`")
    print("| process | median | worst | processor | ratio |\n|---|---:|---:|---:|---:|")
    for name, all_of_them in took.items():
        elapsed = [one.elapsed for one in all_of_them]
        processor = statistics.median(one.processor for one in all_of_them)
        median = statistics.median(elapsed)
        print(f"| {name} | {median:.2f} | {max(elapsed):.2f} | {processor:.2f} | {median / floor:.2f} |")


if __name__ == "__main__":
    main()
