"""Every classifier of torchvision, and some of timm's: its default layer through featx against a plain hook.

    OMP_NUM_THREADS=2 python tests/benchmarks/classifiers.py > classifiers.md

For each network, one at a time: random weights, batch norms that do something, two images of noise at the network's
own size. featx finds the default layer (what the classifier is given), traces, cuts, folds and pools; a plain hook on
the classifier's input tells what the same network gives by itself. Differences are relative to the largest value;
seconds count building, tracing and both passes. A network fails where it differs by more than 1e-4, or is refused.

Needs timm for its networks, nothing is downloaded. Takes about twenty-five minutes on two busy cores; vit_h_14 and
regnet_y_128gf need the most memory.
Exit code 1 where a network fails.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import torch
import torchvision
from lively import compare_default_layer

from featx.errors import FeatxError

LIMIT = 1e-4
"""float32, other orders of addition, batch norm folded: more than this is another value."""

TIMM = (
    *("resnet18", "resnet50d", "convnext_atto", "convnextv2_atto", "vit_tiny_patch16_224"),
    *("deit_tiny_distilled_patch16_224", "swin_tiny_patch4_window7_224", "mobilenetv1_100", "mobilenetv3_small_050"),
    *("efficientnet_b0", "regnety_002", "mixer_s32_224", "levit_128s", "eva02_tiny_patch14_224", "davit_tiny"),
    *("edgenext_xx_small", "dm_nfnet_f0", "maxvit_tiny_tf_224", "densenet121", "ghostnet_100"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="only these backbones")
    args = parser.parse_args()
    known = torchvision.models.list_models(module=torchvision.models)
    names = args.names or [*known, *(f"timm:{name}" for name in TIMM)]
    print("| backbone | default layer | columns | difference | seconds | |")
    print("|---|---|---:|---:|---:|---|", flush=True)
    failed = [name for name in names if not line(name)]
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}, {torch.get_num_threads()} threads"
    print(f"\n{len(names) - len(failed)} of {len(names)} pass; {versions}. Failed: {', '.join(failed) or 'none'}.")
    return int(bool(failed))


def line(name: str) -> bool:
    """Print one network's line of the table; tell whether it passes."""
    began = time.perf_counter()
    try:
        found = compare_default_layer(name)
    except (FeatxError, AssertionError, RuntimeError) as exc:
        said = " ".join(str(exc).split())[:200] or type(exc).__name__
        print(f"| {name} | | | | {time.perf_counter() - began:.1f} | {said} |", flush=True)
        return False
    finally:
        gc.collect()
    passed = found.difference <= LIMIT
    cells = f"{found.layer} | {found.columns:,} | {found.difference:.1e} | {time.perf_counter() - began:.1f}"
    print(f"| {name} | {cells} | {'pass' if passed else 'DIFFERS'} |", flush=True)
    return passed


if __name__ == "__main__":
    sys.exit(main())
