"""How large the HTML report of 200 runs with curves of 100 epochs is, how long it takes to write, and to open.

One small training and one fit are run; the other runs are copies of the training's folder with other options, seeds,
results and predictions: every two rows are compared image by image.

    python tests/benchmarks/html_report.py --runs 200 --epochs 100

Chromium and chromedriver are needed for the last figure.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import safetensors.numpy
from browser import browsing

from featx.core.run_folder import Runs

FEATX = (sys.executable, "-m", "featx.cli.main")
TRAIN = ("train", "digits", "-b", "lenet5", "--mode", "scratch", "--epochs", "3")
FIT = ("fit", "digits", "--pixels")
LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd"


def history(epochs: int, draw: random.Random) -> list[dict[str, float]]:
    """Return what a training of so many epochs might have recorded."""
    lines, speed, floor = [], draw.uniform(0.03, 0.2), draw.uniform(0.05, 0.8)
    for epoch in range(1, epochs + 1):
        loss = floor + 2.3 * math.exp(-speed * epoch) + draw.gauss(0, 0.02)
        losses = {"train_loss": abs(loss), "val_loss": abs(loss) + 0.1 + draw.gauss(0, 0.03)}
        accuracies = {name.replace("loss", "accuracy"): math.exp(-value) for name, value in losses.items()}
        lines.append({"epoch": epoch, "lr": 0.1 / epoch, "seconds": draw.uniform(0.9, 1.1), **losses, **accuracies})
    return lines


def copy(folder: Path, record: dict[str, Any], n: int, options: argparse.Namespace, draw: random.Random) -> None:
    """Write the nth run: a training's folder with another learning rate or seed, and results of its own."""
    run = f"20270101-{n // 3600:02d}{n // 60 % 60:02d}{n % 60:02d}-train-{n:04x}"
    target = folder.parent / run
    target.mkdir()
    shutil.copy(folder / "predictions.csv", target)
    tensors = safetensors.numpy.load_file(folder / "predictions.safetensors")
    predicted = tensors["predicted"].copy()
    wrong = draw.sample(range(len(predicted)), k=len(predicted) // 8)
    predicted[wrong] = (tensors["labels"][wrong] + 1) % 10
    (target / "predictions.safetensors").write_bytes(safetensors.numpy.save({**tensors, "predicted": predicted}))
    config, seed = divmod(n, options.seeds)
    lines = history(options.epochs, draw)
    last = {part: lines[-1][f"{part}_accuracy"] for part in ("train", "val")}
    own: dict[str, Any] = {"id": run, "run": run, "lr": 0.001 * (config + 1), "seed": seed, "weights": f"random:{seed}"}
    own |= {"epochs": options.epochs, "best_epoch": options.epochs, "history": lines}
    own |= {"accuracy": last | {"test": float((predicted == tensors["labels"]).mean())}}
    own |= {"command": [*record["command"], "--lr", str(own["lr"]), "--seed", str(seed)]}
    own |= {"seconds": {"train": 100.0, "total": draw.uniform(90, 120) * (1 + config / 10)}}
    (target / "run.json").write_text(json.dumps(record | own))


def main() -> None:
    """Make the runs, write the report, open it, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--home", type=Path, help="a new folder in which the runs are kept")
    parser.add_argument("--seeds", type=int, default=5, help="of each row")
    parser.add_argument("--keep", type=Path, help="a file for the report")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = options.home or Path(folder, "home")
        for command in (TRAIN, FIT):
            subprocess.run([*FEATX, *command, "--home", str(home)], check=True, capture_output=True)
        trained = next(run for run in Runs(home).list() if "-train-" in run.id)
        draw = random.Random(0)
        for n in range(options.runs - 2):
            copy(trained.path, trained.read(), n, options, draw)
        target = Path(folder, "report.html")
        start = time.perf_counter()
        subprocess.run([*FEATX, "report", "--format", "html", "-o", str(target), "--home", str(home)], check=True)
        seconds = time.perf_counter() - start
        text = target.read_text()
        images = sum(len(part.partition('"')[0]) for part in text.split('src="data:')[1:])
        runs, size = len(Runs(home).list()), len(text.encode())
        print(f"{runs} runs: {size / 1e3:.0f} KB, of which thumbnails {images / 1e3:.0f} KB")
        print(f"written in {seconds:.2f} s, the whole command")
        if options.keep:
            shutil.copy(target, options.keep)
        with browsing(Path(folder, "profile")) as browser:
            rounds = []
            for _ in range(5):
                start = time.perf_counter()
                browser.open(target)
                rounds.append((time.perf_counter() - start, browser.ask(LOADED) / 1e3))
        whole, loaded = (sorted(part)[len(part) // 2] for part in zip(*rounds, strict=True))
        print(f"opened in {loaded:.2f} s by Chromium's clock, {whole:.2f} s as chromedriver sees it (medians of 5)")


if __name__ == "__main__":
    main()
