"""Runs of many kinds, each repeated from its record in a process of its own: does `featx rerun` find them equal?

    python tests/benchmarks/reruns.py [--recompute]

With --recompute no stored feature is read again. The training that is gone on with is killed after its second
checkpoint. The tables' last column counts what else differs than results.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from own_networks import OWN

NETWORK = ("digits", "-b", "resnet18", "--weights", "random:0", "--size", "32", "--limit", "400")
LENET = ("digits", "-b", "lenet5", "--epochs", "3", "--device", "cpu")
KINDS: dict[str, tuple[str, ...]] = {
    "fit": ("fit", *NETWORK, "-l", "layer3:avg"),
    "fit on pixels, split sizes": ("fit", "digits", "--pixels", "--per-class", "40", "--seed", "3"),
    "sweep": ("fit", *NETWORK, "-l", "layer3:avg", "--sweep", "clip"),
    "several layers": ("fit", *NETWORK, "-l", "layer*:avg", "--C", "0.01"),
    "few-shot": ("fit", *NETWORK, "-l", "layer2:avg", "--shots", "5", "--draws", "4"),
    "nearest neighbours": ("fit", *NETWORK, "-l", "layer2:avg", "--head", "knn"),
    "LDA": ("fit", *NETWORK, "-l", "layer2:avg", "--head", "lda"),
    "five crops, bf16": ("fit", *NETWORK, "-l", "layer2:avg", "--crops", "5", "--precision", "bf16"),
    "own factory": ("fit", "digits", "-b", "own.py:plain", "--size", "16", "-l", "base:avg2", "--limit", "400"),
    "frozen": ("train", *LENET, "--weights", "random:1", "--mode", "frozen"),
    "frozen, augmented": ("train", *LENET, "--weights", "random:1", "--mode", "frozen", "--augment", "crop"),
    "fine-tuned": ("train", *NETWORK, "--mode", "finetune", "--epochs", "2", "--unfreeze-from", "layer3"),
    "scratch": ("train", *LENET, "--mode", "scratch", "--head", "mlp:32:dropout=0.3", "--seed", "2"),
    "resumed after a kill": ("train", *LENET, "--mode", "scratch", "--checkpoint-minutes", "0", "--resume"),
    "network of another run": ("train", *LENET[:1], "-b", "run:{scratch}", *LENET[3:], "--mode", "finetune"),
    "head of another run": (
        "train", *LENET, "--mode", "finetune", "--weights", "run:{scratch}", "--init-head", "{scratch}", "--head",
        "mlp:32:dropout=0.3",
    ),
}  # fmt: skip


def command(home: Path, *args: str) -> list[str]:
    """Return a command line."""
    return [sys.executable, "-m", "featx.cli.main", *args, "--home", str(home), "--json", "--quiet"]


def featx(home: Path, *args: str) -> Any:
    """Run a command and return its document."""
    done = subprocess.run(command(home, *args), capture_output=True, text=True, cwd=home, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {"error": (done.stderr or done.stdout).strip()[-300:]}


def kill_once(home: Path, *args: str) -> None:
    """Kill a training once it has written two checkpoints."""
    process = subprocess.Popen(command(home, *args), cwd=home, stdout=subprocess.DEVNULL)
    seen: set[int] = set()
    while process.poll() is None and len(seen) < 2:
        seen |= {path.stat().st_mtime_ns for path in home.glob("runs/*/checkpoint*")}
        time.sleep(0.005)
    assert process.poll() is None, "the training was over before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recompute", action="store_true", help="compute all features anew")
    given = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print("| run | test accuracy | rows read from the store | equal | other differences |\n|---|---:|---:|---|---:|")
    runs: dict[str, str] = {}
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "own.py").write_text(OWN)
        for kind, args in KINDS.items():
            words = [word.format(**runs) for word in args]
            if "kill" in kind:
                kill_once(home, *words)
            run = featx(home, *words)
            runs[kind] = run.get("run", "")
            again = run if "error" in run else featx(home, "rerun", run["run"], *["--recompute"] * given.recompute)
            failed += not again.get("equal", False)
            print(f"| {kind} | {_cells(again)} |", flush=True)
    sys.exit(failed > 0)


def _cells(again: Any) -> str:
    if "error" in again:
        return str(again["error"])
    results = [d["name"] for d in again["differences"] if d["kind"] == "result"]
    said = "yes" if again["equal"] else f"NO: {', '.join(results)}"
    reused = "" if again["reused"] is None else again["reused"]
    return f"{again['accuracy']['test']:.4f} | {reused} | {said} | {len(again['differences']) - len(results)}"


if __name__ == "__main__":
    main()
