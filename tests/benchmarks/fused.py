"""featx's whole extraction against what PyTorch's compiler alone would make of the forward pass, images a second.

    python tests/benchmarks/fused.py --data tiny-imagenet-200.zip --size 64 \\
        --layers conv1:avg,layer1:avg,layer2:avg,layer3:avg,layer4:avg
    python tests/benchmarks/fused.py --data tiny-imagenet-200.zip --backbone timm:tf_efficientnet_lite0 --size 128 \\
        --layers global_pool

Four figures for each precision, of one randomly drawn network and the same layers: the forward pass alone of pixels in
memory, as PyTorch runs it (eager), with featx's fused operators, and compiled by inductor with frozen weights, the time
to compile not counted (it needs a C++ compiler); and featx's extraction, from the first image of the zip that is read
to the last receipt. Rounds alternate; medians count. Close other programs: they share the cores.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from featx.cache.store import FeatureStore
from featx.core.allocation import keeping_memory
from featx.core.device import arithmetic
from featx.core.specs import ExtractConfig, LayerSpec
from featx.data.sources import load_source
from featx.extraction.compute import batch_size_of
from featx.extraction.extract import extract
from featx.extraction.forward import Forward, Network, Normalize
from featx.models.backbones import resolve

CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="zip of images in folders by class")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, default=64, help="px")
    parser.add_argument("--layers", default="avgpool", help="separated by commas")
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precisions", default="bf16,fp32")
    args = parser.parse_args()
    backbone = resolve(args.backbone, weights="random:0", size=args.size)
    specs = [LayerSpec.parse(layer) for layer in args.layers.split(",")]
    with tempfile.TemporaryDirectory(prefix="featx-bench-") as scratch:
        data = sample(args.data, args.images, Path(scratch) / "images.zip")
        for precision in args.precisions.split(","):
            measure(args, backbone, specs, precision, data, Path(scratch))


def sample(data: Path, images: int, target: Path) -> Path:
    """Write an even sample of a zip's images to another, by folder of the class."""
    with zipfile.ZipFile(data) as archive, zipfile.ZipFile(target, "w") as out:
        names = [
            n for n in sorted(archive.namelist()) if n.lower().endswith((".jpg", ".jpeg")) and "/train/" in f"/{n}"
        ]
        for number, name in enumerate(names[:: max(1, len(names) // images)][:images]):
            parts = Path(name).parts
            folder = next(p for p in reversed(parts[:-1]) if p not in ("images", "train"))
            out.writestr(f"{folder}/{number:06}.jpg", archive.read(name))
    return target


def measure(args: Any, backbone: Any, specs: list[LayerSpec], precision: str, data: Path, scratch: Path) -> None:
    network = Network(backbone, (3, args.size, args.size))
    batch = batch_size_of(ExtractConfig(), network.shape)
    pixels = np.random.default_rng(0).integers(0, 256, (batch, args.size, args.size, 3), np.uint8)
    passes: dict[str, Callable[[], Any]] = {}
    for name, fused in (("eager", False), ("fused", True)):
        forward = Forward(network, specs, specs, CPU, precision, fused=fused)
        passes[name] = lambda forward=forward: forward(pixels).rows()  # type: ignore[misc]
    passes["inductor"] = compiled(network, specs, precision, pixels)
    rates: dict[str, list[float]] = {name: [] for name in (*passes, "extraction")}
    for number in range(args.rounds + 1):  # the first warms up
        for name, run in passes.items():
            with keeping_memory():
                rates[name].append(batch * repeated(run))
        rates["extraction"].append(extraction(backbone, specs, precision, data, scratch / f"{precision}-{number}"))
    found = {name: statistics.median(some[1:]) for name, some in rates.items()}
    said = ", ".join(f"{name} {rate:,.0f}" for name, rate in found.items())
    ratios = ", ".join(f"{found['extraction'] / found[name]:.2f} of {name}" for name in passes)
    print(
        f"{args.backbone}, {args.size} px, batches of {batch}, {precision}: {said} images/s; extraction {ratios}",
        flush=True,
    )


def repeated(run: Callable[[], Any], seconds: float = 2.0) -> float:
    """Return how often a second something can be done."""
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        run()
        count += 1
    return count / (time.perf_counter() - began)


def compiled(network: Network, specs: list[LayerSpec], precision: str, pixels: Any) -> Callable[[], Any]:
    """Return the plain forward pass, normalisation and pooling in it, as inductor compiles it."""
    import torch._inductor.config

    from featx.models.parts import channels_last

    torch._inductor.config.freezing = True
    normalize, module = Normalize(network.backbone.preprocess), channels_last(network.traced.cut(specs, network.nodes))

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.normalize, self.module = normalize, module

        def forward(self, x: torch.Tensor) -> Any:
            return tuple(self.module(self.normalize(x)))

    whole, x = torch.compile(Whole().eval(), dynamic=False), torch.from_numpy(pixels)

    def run() -> Any:
        with torch.no_grad(), arithmetic(CPU, precision):
            return whole(x)

    run()
    return run


def extraction(backbone: Any, specs: list[LayerSpec], precision: str, data: Path, home: Path) -> float:
    """Return featx's images a second, from the first that is read to the last receipt."""
    source = load_source(str(data))
    source.row_hashes()
    config = ExtractConfig(precision=precision, device="cpu")  # type: ignore[arg-type]
    found = extract({"all": source}, backbone, specs, FeatureStore(home), config)
    assert found.images_per_second is not None
    return found.images_per_second


if __name__ == "__main__":
    main()
