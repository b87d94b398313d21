"""Exported models against featx's own predictions: networks of many kinds, fitted on and fine-tuned, in each format.

    python tests/benchmarks/export_parity.py --weights FOLDER

FOLDER holds resnet18-tinyimagenet.pth and tf_efficientnet_lite0.safetensors; without it, all weights are random ones.
Needs the extras timm and onnx. Each network's runs are of 200 digits; the exported model is given 64 others.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from own_networks import OWN

from featx.cli.main import cli

FORMATS = ("onnx", "pt2", "safetensors")


@dataclass(frozen=True)
class Case:
    """A network, the layer of a fit on it, and what else the commands are told."""

    name: str
    backbone: str
    layer: str
    size: int = 64
    file: str = ""
    train: tuple[str, ...] = ()


CASES = (
    Case("LeNet-5", "lenet5", "pool2", size=32),
    Case("own factory", "own.py:plain", "base.2:avg2"),
    Case("own factory, branching", "own.py:gated", "gate"),
    Case("ResNet-18, Tiny-ImageNet", "resnet18", "layer3:avg", file="resnet18-tinyimagenet.pth"),
    Case("EfficientNet-Lite0, ImageNet", "timm:tf_efficientnet_lite0", "global_pool",
         file="tf_efficientnet_lite0.safetensors"),
    Case("MobileNetV3 small", "mobilenet_v3_small", "features.8:avg"),
    Case("MobileNet v1", "mobilenet_v1", "blocks.3:avg3"),
    Case("ViT tiny", "timm:vit_tiny_patch16_224", "blocks.5:cls"),
    Case("Swin tiny", "swin_t", "features.3:avg"),
    Case("ConvNeXt tiny", "convnext_tiny", "features.5:max"),
    Case("DenseNet-121", "densenet121", "features.denseblock3:avg"),
    Case("SqueezeNet 1.1", "squeezenet1_1", "features.12:avg"),
    Case("VGG-11, flat head", "vgg11_bn", "features.20", train=("--head", "flat-mlp:32")),
    Case("GoogLeNet", "googlenet", "inception4c:avg2"),
)  # fmt: skip


def featx(home: Path, *args: str) -> Any:
    """Run a command in this process, which has all imports already, and return its document."""
    done = CliRunner().invoke(cli, [*args, "--home", str(home), "--json", "--quiet"])
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {"error": (done.stderr or done.stdout).strip()[-300:]}


def runs_of(home: Path, case: Case, folder: Path | None) -> dict[str, Any]:
    """Fit on a network and fine-tune it."""
    weights = str(folder / case.file) if folder and case.file else "random:0"
    common = ("digits", "-b", case.backbone, "--weights", weights, "--size", str(case.size), "--limit", "200")
    tuned = ("--mode", "finetune", "--epochs", "1", "--lr", "0.001", "--device", "cpu", *case.train)
    return {
        "fit": featx(home, "fit", *common, "-l", case.layer),
        "fine-tuned": featx(home, "train", *common, *tuned),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="folder of pretrained weights")
    parser.add_argument("--only", help="networks whose name holds this")
    given = parser.parse_args(arguments)
    print(f"| network | run | {' | '.join(FORMATS)} |\n|---|---|{'---:|' * len(FORMATS)}")
    failed = 0
    folder = given.weights.absolute() if given.weights else None
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        os.chdir(home)
        (home / "own.py").write_text(OWN)
        for case in CASES:
            if given.only and given.only not in case.name:
                continue
            for kind, run in runs_of(home, case, folder).items():
                cells = [_cell(home, run, format) for format in FORMATS]
                failed += sum(not cell[:1].isdigit() for cell in cells)
                print(f"| {case.name} | {kind} | {' | '.join(cells)} |", flush=True)
    sys.exit(failed > 0)


def _cell(home: Path, run: Any, format: str) -> str:
    if "error" in run:
        return str(run["error"])
    made = featx(home, "export", run["run"], "-o", f"model.{format}", "--images", "64")
    return str(made["error"]) if "error" in made else f"{made['largest_difference']:.1e}"


if __name__ == "__main__":
    main()
