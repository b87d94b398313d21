"""Heads on frozen bases at the default rate: do they learn, whatever the size of the features?

    python tests/benchmarks/frozen_heads.py --data cifar10.zip

Networks with random weights give features of sizes that differ by many powers of ten; each kind of head is trained on
them with every option at its default. Printed are the largest absolute feature, the test loss (ln 10 = 2.303 is that
of guessing) and the accuracy, as the worst and the median over the seeds, which draw the network, the rows and the
order. Exits with 1 where a loss is not below that of guessing.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
from typing import Any

import numpy as np
import torch
from click.testing import CliRunner

from featx import FeatureStore
from featx.cli.main import cli

NETWORKS = ("resnet18", "resnet50", "vgg11", "vgg16_bn", "mobilenet_v2", "densenet121", "squeezenet1_1")
HEADS = ("linear", "mlp:256", "flat-mlp:512")


def asked(*args: object) -> dict[str, Any]:
    """Return the document of a command."""
    done = CliRunner().invoke(cli, [*map(str, args), "--json"])
    if done.exit_code:
        raise SystemExit(done.output)
    return dict(json.loads(done.stdout))


def trained(options: argparse.Namespace, network: str, head: str, seed: int) -> dict[str, Any]:
    """Return what ``featx train`` says of one head."""
    rows = ("--size", 32, "--limit", options.limit, "--seed", seed)
    with tempfile.TemporaryDirectory() as home:
        how = ("--weights", f"random:{seed}", "--mode", "frozen", "--head", head, "--home", home)
        return asked("train", options.data, "-b", network, *rows, *how)


def largest(options: argparse.Namespace, network: str) -> float:
    """Return the largest absolute value of the default layer on some images."""
    with tempfile.TemporaryDirectory() as home:
        where = ("--weights", "random:0", "--size", 32, "--home", home)
        layer = asked("layers", network, *where)["default_layer"]
        key = asked("extract", options.data, "-b", network, "-l", layer, "--limit", 100, *where)["layers"][0]["key"]
        return float(np.abs(FeatureStore(home).open(key).X[:]).max())


def main() -> int:
    """Train, and print one line a network and head."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| network | head | largest feature | worst test loss | median | worst accuracy | median |")
    print("|---|---|---:|---:|---:|---:|---:|")
    bad = 0
    for network in NETWORKS:
        size = largest(options, network)
        for head in HEADS:
            found = [trained(options, network, head, seed) for seed in range(options.seeds)]
            loss, accuracy = ([one[what]["test"] for one in found] for what in ("loss", "accuracy"))
            bad += max(loss) >= math.log(10)
            print(
                f"| {network} | {head} | {size:.1e} | {max(loss):.3f} | {statistics.median(loss):.3f} "
                f"| {min(accuracy):.3f} | {statistics.median(accuracy):.3f} |",
                flush=True,
            )
    return int(bad > 0)


if __name__ == "__main__":
    raise SystemExit(main())
