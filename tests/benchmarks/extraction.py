"""featx against the loop that a user would write: ResNet-18's pooled features of JPEG files, images a second.

    python tests/benchmarks/extraction.py --data cifar10.zip

Both sides read the same JPEG files in the same folder (a temporary copy of an even sample), preprocess them as
ResNet-18's published weights ask for, run the same randomly drawn network and end with the features in an HDF5 file
on the disk. featx's side also lists and hashes the files, and writes ids, hashes, receipts and synced shards.
Imports and building the model are apart on both sides. Each run is a process of its own; rounds alternate between
the variants, and the median counts. With --size other than 224 both sides resize to that size.

Close other programs: they share the cores. Takes about four minutes on two cores. `TARGETS` holds what is asked for.
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
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

TARGETS = {32: {"featx fp32": 1.5, "featx bf16": 2.5}, 224: {"featx fp32": 1.35, "featx bf16": 2.6}}
"""By size: at least so many times the plain loop."""
SUFFIXES = (".jpg", ".jpeg", ".png")
WORKERS = (0, 1, 2)
BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder or zip of images")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--size", type=int, default=224, help="px")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=None, help="featx's; its own default if not given")
    parser.add_argument("--workers", type=int, default=None, help="featx's; its own default if not given")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        task = json.loads(args.child)
        print(json.dumps(plain(task) if task["precision"] == "plain" else featx(task)))
        return
    with tempfile.TemporaryDirectory(prefix="featx-bench-") as name:
        compare(args, Path(name))


def compare(args: argparse.Namespace, scratch: Path) -> None:
    """Run every variant once a round, each in a process of its own, and print the table."""
    task = {"size": args.size, "scratch": str(scratch), "batch": args.batch_size, "featx_workers": args.workers}
    task["folder"] = str(unpack(args.data, args.images, scratch / "images"))
    few = str(unpack(args.data, max(1, args.images // 4), scratch / "few"))
    pilot = {n: in_child({**task, "precision": "plain", "workers": n, "folder": few}) for n in WORKERS}
    best = max(pilot, key=lambda n: pilot[n]["images_per_second"])
    said = ", ".join(f"{n} workers {pilot[n]['images_per_second']:.1f}" for n in WORKERS)
    print(f"plain loop on {pilot[best]['images']} images: {said} images/s; {best} taken", flush=True)

    variants = {"plain torchvision": "plain", "featx fp32": "fp32", "featx bf16": "bf16"}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in variants}
    for number in range(args.rounds):
        for name, precision in variants.items():
            found = in_child({**task, "precision": precision, "workers": best, "round": number})
            runs[name].append(found)
            print(f"round {number + 1}, {name}: {found['images_per_second']:.1f} images/s", flush=True)
    report(runs, args.size)


def report(runs: dict[str, list[dict[str, Any]]], size: int) -> None:
    first = runs["plain torchvision"][0]
    print(
        f"\nResNet-18, {size} px, {first['images']} images, {first['threads']} threads, torch {first['torch']}, "
        f"median of {len(runs['featx fp32'])} rounds"
    )
    print(f"{'':20s}{'images/s':>10s}{'ratio':>8s}{'peak MB':>9s}")
    speed = {name: statistics.median(r["images_per_second"] for r in found) for name, found in runs.items()}
    for name, found in runs.items():
        ratio, peak = speed[name] / speed["plain torchvision"], max(r["peak_mb"] for r in found)
        goal = TARGETS.get(size, {}).get(name)
        said = "" if goal is None else f"   target {goal}: {'met' if ratio >= goal else 'MISSED'}"
        print(f"{name:20s}{speed[name]:10.1f}{ratio:8.2f}{peak:9.0f}{said}")
    for name in ("featx fp32", "featx bf16"):
        print(f"largest difference to the plain loop, {name}: {runs[name][0]['difference']:.1e} of the largest value")


def in_child(task: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--data", ".", "--child", json.dumps(task)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def unpack(data: Path, images: int, folder: Path) -> Path:
    """Write an even sample of the images to ``folder/<class>/<number>.<suffix>``."""
    members = list(read_from(data))
    step = max(1, len(members) // images)
    for number, (name, read) in enumerate(members[::step][:images]):
        target = folder / Path(name).parent.name / f"{number:06}{Path(name).suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(read())
    return folder


def read_from(data: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    if data.is_dir():
        for path in sorted(data.rglob("*")):
            if path.suffix.lower() in SUFFIXES:
                yield str(path), path.read_bytes
        return
    archive = zipfile.ZipFile(data)
    for name in sorted(archive.namelist()):
        if name.lower().endswith(SUFFIXES):
            yield name, lambda name=name: archive.read(name)  # type: ignore[misc]


def measured(images: int, seconds: float) -> dict[str, Any]:
    """Return a run's figures; called last, so that the peak is the whole run's."""
    import torch

    return {
        "images": images,
        "images_per_second": images / seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def plain(task: dict[str, Any]) -> dict[str, Any]:
    """The loop of many a script: ImageFolder, DataLoader, a hook, h5py."""
    import h5py
    import torch
    from torch.utils.data import DataLoader
    from torchvision import datasets, models, transforms

    torch.manual_seed(0)
    model = models.resnet18().eval()
    preset = models.ResNet18_Weights.DEFAULT.transforms()
    if task["size"] != 224:
        mean, std, px = preset.mean, preset.std, task["size"]
        steps = [
            transforms.Resize(px),
            transforms.CenterCrop(px),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
        preset = transforms.Compose(steps)
    seen: list[torch.Tensor] = []
    model.avgpool.register_forward_hook(lambda module, args, out: seen.append(out.flatten(1)))

    began = time.perf_counter()
    data = datasets.ImageFolder(task["folder"], preset)
    loader = DataLoader(data, batch_size=BATCH, num_workers=task["workers"])
    with h5py.File(Path(task["scratch"]) / "plain.h5", "w") as file, torch.no_grad():
        features = file.create_dataset("features", (0, 512), "float32", maxshape=(None, 512))
        for x, _ in loader:
            model(x)
            rows = seen.pop().numpy()
            features.resize(len(features) + len(rows), axis=0)
            features[-len(rows) :] = rows
    return measured(len(data), time.perf_counter() - began)


def featx(task: dict[str, Any]) -> dict[str, Any]:
    """The same through featx, into a new store."""
    import h5py
    import numpy as np

    from featx.cache.store import FeatureStore
    from featx.core.specs import ExtractConfig
    from featx.data.sources import load_source
    from featx.extraction.extract import extract
    from featx.extraction.forward import Network
    from featx.models.backbones import resolve

    home = Path(task["scratch"]) / f"home-{task['precision']}-{task['round']}"
    backbone = resolve("resnet18", weights="random:0", size=None if task["size"] == 224 else task["size"])
    config = ExtractConfig(
        precision=task["precision"],
        batch_size=task["batch"] or ExtractConfig.batch_size,
        workers=task["featx_workers"],
        device="cpu",
    )
    building = 0.0
    build = Network.__init__

    def timed(self: Network, *args: Any) -> None:
        nonlocal building
        start = time.perf_counter()
        build(self, *args)
        building += time.perf_counter() - start

    Network.__init__ = timed  # type: ignore[method-assign]
    began = time.perf_counter()
    source = load_source(task["folder"])
    result = extract({"all": source}, backbone, ["avgpool"], FeatureStore(home), config)
    seconds = time.perf_counter() - began - building
    found = measured(len(source), seconds)
    ours = np.asarray(result.tables["all", "avgpool"].X)
    with h5py.File(Path(task["scratch"]) / "plain.h5") as file:
        theirs = file["features"][:]
    return {**found, "difference": float(np.abs(ours - theirs).max() / np.abs(theirs).max())}


if __name__ == "__main__":
    main()
