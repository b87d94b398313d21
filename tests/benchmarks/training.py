"""Training with featx against the loop that a user would write: ResNet-18 on JPEG files, images a second.

    python tests/benchmarks/training.py --data cifar10.zip

Both sides read the same JPEG files in the same folder (a temporary copy of an even sample), resize them to the same
size, crop and mirror them at random, and train the same randomly drawn ResNet-18 with a new head, SGD with Nesterov's
momentum, the same batches' size. The plain loop is torchvision's ImageFolder and a DataLoader with whichever of 0, 1
or 2 workers is quickest, in fp32. The clock runs from the first image read to the last step, over all epochs; imports
and building the network are apart on both sides. Each run is a process of its own; rounds alternate; medians count.

rate64   fine-tuning at 64 px: at least 1.7 times the plain loop
rate32   fine-tuning at 32 px: at least 1.5 times
frozen   ten epochs of a linear head on a frozen base over all training images at 64 px: the plain loop runs the base
         again in every epoch (--plain-epochs of them are run, and their mean taken ten times); featx with an empty
         store, and again with the features there, from listing the files on: at least 8 and 100 times

Close other programs: they share the cores. Takes about 15 minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from extraction import WORKERS, unpack

TARGETS = {"rate64": 1.7, "rate32": 1.5, "frozen, features extracted first": 8.0, "frozen, features cached": 100.0}
BATCH = 64
HEAD_EPOCHS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder or zip of images, train/CLASS/IMAGE")
    parser.add_argument("--only", default="rate64,rate32,frozen", help="parts, separated by commas")
    parser.add_argument("--images", type=int, default=1280, help="of the rates")
    parser.add_argument("--frozen-images", type=int, default=50_000)
    parser.add_argument(
        "--epochs", type=int, default=5, help="of the rates; images are decoded in each by the plain loop"
    )
    parser.add_argument("--plain-epochs", type=int, default=1, help="of the plain loop with a frozen base")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        task = json.loads(args.child)
        print(json.dumps(SIDES[task["side"]](task)))
        return
    with tempfile.TemporaryDirectory(prefix="featx-bench-") as name:
        for part in args.only.split(","):
            if part == "frozen":
                frozen(args, Path(name))
            else:
                rate(args, Path(name), part, int(part.removeprefix("rate")))


def rate(args: argparse.Namespace, scratch: Path, part: str, size: int) -> None:
    folder = unpack(args.data, args.images, scratch / "few")
    task = {"folder": str(folder), "size": size, "epochs": args.epochs, "mode": "finetune"}
    best, said = best_workers(task)
    print(f"\n{part}: plain loop {said}; {best} taken", flush=True)
    variants: dict[str, dict[str, Any]] = {
        "plain PyTorch loop, fp32": {"side": "plain", "workers": best},
        "featx fp32": {"side": "featx", "precision": "fp32"},
        "featx bf16": {"side": "featx", "precision": "bf16"},
    }
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in variants}
    for _ in range(args.rounds):
        for name, own in variants.items():
            runs[name].append(in_child({**task, **own}))
    first = runs["featx fp32"][0]
    print(
        f"ResNet-18, {size} px, {first['images']} images, {args.epochs} epochs, batch {BATCH}, {first['threads']} "
        f"threads, torch {first['torch']}, median of {args.rounds} rounds"
    )
    print(f"{'':26s}{'images/s':>10s}{'ratio':>8s}{'peak MB':>9s}   last loss")
    speed = {n: statistics.median(r["images"] * r["epochs"] / r["seconds"] for r in found) for n, found in runs.items()}
    for name, found in runs.items():
        ratio, peak = speed[name] / speed["plain PyTorch loop, fp32"], max(r["peak_mb"] for r in found)
        print(f"{name:26s}{speed[name]:10.1f}{ratio:8.2f}{peak:9.0f}   {found[0]['loss']:.3f}", flush=True)
    verdict(part, speed["featx bf16"] / speed["plain PyTorch loop, fp32"])


def frozen(args: argparse.Namespace, scratch: Path) -> None:
    folder = unpack(args.data, args.frozen_images, scratch / "all")
    task = {"folder": str(folder), "size": 64, "epochs": args.plain_epochs, "mode": "frozen"}
    few = {**task, "folder": str(unpack(args.data, args.images, scratch / "few"))}
    best, said = best_workers(few)
    print(f"\nfrozen: plain loop {said}; {best} taken", flush=True)
    plain = in_child({**task, "side": "plain", "workers": best})
    whole = plain["seconds"] / args.plain_epochs * HEAD_EPOCHS
    print(f"{plain['images']} images, plain loop: {whole:.1f} s for {HEAD_EPOCHS} epochs, fp32", flush=True)
    own = {**task, "epochs": HEAD_EPOCHS, "side": "featx", "precision": "fp32", "home": str(scratch / "home")}
    for part in ("frozen, features extracted first", "frozen, features cached"):
        found = in_child(own)
        print(f"featx, {part}: {found['seconds']:.2f} s, by stage {found['stages']}, last loss {found['loss']:.3f}")
        verdict(part, whole / found["seconds"])
    print(f"plain loop's last loss, epoch {args.plain_epochs}: {plain['loss']:.3f}")


def verdict(part: str, ratio: float) -> None:
    print(f"{part}: {ratio:.2f} x, target {TARGETS[part]}: {'met' if ratio >= TARGETS[part] else 'MISSED'}", flush=True)


def best_workers(task: dict[str, Any]) -> tuple[int, str]:
    found = {n: in_child({**task, "side": "plain", "workers": n, "epochs": 1}) for n in WORKERS}
    speed = {n: run["images"] / run["seconds"] for n, run in found.items()}
    return max(speed, key=lambda n: speed[n]), ", ".join(f"{n} workers {speed[n]:.0f} images/s" for n in WORKERS)


def in_child(task: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--data", ".", "--child", json.dumps(task)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(images: int, epochs: int, seconds: float, loss: float) -> dict[str, Any]:
    import torch

    return {
        "images": images,
        "epochs": epochs,
        "seconds": seconds,
        "loss": loss,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def plain(task: dict[str, Any]) -> dict[str, Any]:
    """The loop of many a tutorial: ImageFolder, DataLoader, zero_grad, backward, step."""
    import torch
    from torch import nn
    from torch.utils.data import DataLoader
    from torchvision import datasets, models, transforms

    torch.manual_seed(0)
    size, is_frozen = task["size"], task["mode"] == "frozen"
    random = [transforms.RandomCrop(size, size // 8), transforms.RandomHorizontalFlip()]
    scale = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    steps = [transforms.Resize((size, size)), *([] if is_frozen else random), transforms.ToTensor(), scale]
    data = datasets.ImageFolder(task["folder"], transforms.Compose(steps))
    model = models.resnet18()
    if is_frozen:
        model.requires_grad_(False).eval()
    model.fc = nn.Linear(512, len(data.classes))
    learns = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learns, 0.1 if is_frozen else 0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    workers = task["workers"]
    loader = DataLoader(data, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)

    def epochs() -> Iterator[tuple[Any, Any]]:
        for _ in range(task["epochs"]):
            yield from loader

    began = time.perf_counter()
    for x, y in epochs():
        optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(model(x), y)
        torch.autograd.backward(loss)
        optimizer.step()
    return measured(len(data), task["epochs"], time.perf_counter() - began, float(loss.detach()))


def featx(task: dict[str, Any]) -> dict[str, Any]:
    """The same by featx, all rows to train on, none held out."""
    import numpy as np

    from featx import FeatureStore, load_source
    from featx.data.splits import Part, Partition
    from featx.models.backbones import resolve
    from featx.training.config import TrainConfig
    from featx.training.train import train

    config = TrainConfig(
        mode=task["mode"], epochs=task["epochs"], batch_size=BATCH, precision=task["precision"], augment=None
    )
    backbone = resolve("resnet18", weights="random:0", size=task["size"])
    backbone.module()
    store = FeatureStore(task["home"]) if "home" in task else None
    began = time.perf_counter()
    source = load_source(task["folder"])
    rows, none = Part(source, np.arange(len(source))), Part(source, np.empty(0, np.int64))
    result = train(Partition(rows, none, none, seed=0), backbone, config, store=store)
    # Where no rows are held out, train scores the training rows at the end, which the plain loop does not. It builds
    # the network itself, which the plain loop has done before.
    seconds = time.perf_counter() - began - result.seconds["test"] - result.seconds["build"]
    found = measured(len(source), task["epochs"], seconds, result.history[-1]["train_loss"])
    return found | {"stages": {name: round(spent, 2) for name, spent in result.seconds.items()}}


SIDES = {"plain": plain, "featx": featx}


if __name__ == "__main__":
    main()
