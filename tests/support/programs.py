"""How to run the program in a process of its own, and a small store to run it on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

from featx.cache.key import FeatureKey
from featx.cache.schema import Plan, fingerprint
from featx.cache.store import FeatureStore
from featx.cli import options
from featx.cli.groups import LazyGroup
from featx.cli.output import Output

PROGRAM = ("-m", "featx.cli.main")


def program(action: Callable[[Output], Any]) -> LazyGroup:
    """Return a program whose only command, `do`, calls `action`."""

    @click.command
    @options.common
    def do(out: Output, home: Path) -> None:
        action(out)

    group = LazyGroup("featx", table={"do": ("nowhere", "do", "Do it.")})
    group.get_command = lambda ctx, name: do if name == "do" else None  # type: ignore[method-assign]
    return group


def store_features(home: Path, layer: str, complete: bool = True, source: str = "digits") -> str:
    """Store eight rows of four columns in two shards, or only the first shard; return the digest."""
    hashes = np.arange(8 * 32, dtype=np.uint8).reshape(8, 32)
    key = FeatureKey(
        rows=fingerprint(hashes), n_rows=8, backbone="resnet18", weights="0" * 64, layer=layer, preprocess={}
    )
    about = {"source": source, "split": "train", "backbone": "resnet18", "weights": "random:0"}
    plan = Plan(batch_size=4, block_rows=4, shard_rows=4, columns=4, dtype="float32", layers=(layer,))
    with FeatureStore(home).writer(key, plan, [f"{i}.png" for i in range(8)], hashes, about) as writer:
        rows = np.ones((8 if complete else 4, 4), np.float32)
        assert all(map(writer.claim, writer.blocks()))
        writer.put(np.arange(len(rows)), rows)
    return key.digest
