"""What several commands open the same way: the rows to learn from, and the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featx.cli.options import Parts
from featx.cli.output import Output
from featx.specs import ExtractConfig

if TYPE_CHECKING:
    from featx.backbones import Backbone
    from featx.cache.memo import Memo
    from featx.splits import Partition


def open_partition(source: str, parts: Parts, seed: int, memo: Memo) -> Partition:
    """Open a source and choose the rows that train, validate and test."""
    from featx.sources import load_splits
    from featx.splits import partition

    sources = load_splits(source, limit=parts.limit, per_class=parts.per_class, seed=seed, memo=memo)
    return partition(sources, seed=seed, train_split=parts.train_split, test_split=parts.test_split)


def open_backbone(out: Output, name: str, config: ExtractConfig, channels: int, memo: Memo) -> Backbone:
    """Look a backbone up, and tell what its weights leave out."""
    from featx.backbones import resolve

    found = resolve(
        name,
        weights=config.weights,
        size=config.size,
        mean=config.mean,
        std=config.std,
        resize=config.resize,
        interpolation=config.interpolation,
        channels=channels,
        memo=memo,
    )
    for line in found.notes:
        out.note(line)
    return found
