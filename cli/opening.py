"""What several commands open the same way: the rows to learn from, and the network."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from featx.cli.options import Parts
from featx.cli.output import Output
from featx.errors import first_few
from featx.naming import is_run
from featx.specs import ExtractConfig, Progress

if TYPE_CHECKING:
    from featx.backbones import Backbone
    from featx.cache.memo import Memo
    from featx.splits import Partition


@contextmanager
def opening_source(out: Output) -> Iterator[Progress]:
    """Show how far a data set's download is, and say what its opening warns of."""
    with warnings.catch_warnings(record=True) as heard, out.progress("MB") as progress:
        warnings.simplefilter("always")
        yield progress
    for warning in heard:
        out.note(f"warning: {warning.message}")


def open_partition(out: Output, source: str, parts: Parts, seed: int, memo: Memo) -> Partition:
    """Open a source and choose the rows that train, validate and test."""
    from featx.sources import load_splits
    from featx.splits import partition, untaught

    with opening_source(out) as progress:
        sources = load_splits(
            source, limit=parts.limit, per_class=parts.per_class, seed=seed, memo=memo, progress=progress
        )
    found = partition(sources, seed=seed, train_split=parts.train_split, test_split=parts.test_split)
    if missing := untaught(found.train):
        said = f"{len(missing)} of {len(found.classes)} classes have no training images: {first_few(missing)}"
        out.note(f"warning: {said}")
    return found


def weights_of_shapes(backbone: str, weights: str) -> str:
    """Return the weights for what needs a network's shapes alone: a run brings its own, with the head they have."""
    return ExtractConfig.weights if is_run(backbone) else weights


def open_backbone(out: Output, name: str, config: ExtractConfig, channels: int | None, memo: Memo) -> Backbone:
    """Look a backbone up, and tell what its weights leave out."""
    from featx.backbones import resolve

    found = resolve(
        name,
        weights=config.weights,
        stem=config.stem,
        size=config.size,
        mean=config.mean,
        std=config.std,
        resize=config.resize,
        interpolation=config.interpolation,
        views=config.views,
        channels=channels,
        memo=memo,
    )
    for line in found.notes:
        out.note(line)
    return found
