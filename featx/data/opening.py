"""A source opened, and its rows chosen, as a user's options say: the first steps of every fit and training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from featx.cache.memo import Memo
from featx.core.specs import OnError, Progress, no_progress
from featx.data.coverage import check_readable, notes
from featx.data.exclusion import exclude, read_exclusion
from featx.data.source import Source
from featx.data.sources import load_splits
from featx.data.split_options import SplitOptions
from featx.data.splits import Partition, partition


def open_splits(
    source: str, how: SplitOptions, seed: int, memo: Memo | None, progress: Progress = no_progress
) -> dict[str, Source]:
    """Open a source and return its splits, as few rows of each as were asked for.

    Raises
    ------
    OptionError, SourceError
        As `featx.data.sources.load_splits`.
    """
    return load_splits(
        source,
        root=how.root,
        limit=how.limit,
        per_class=how.per_class,
        seed=seed,
        memo=memo,
        progress=progress,
    )


def choose_rows(
    sources: Mapping[str, Source], how: SplitOptions, seed: int, on_error: OnError | str
) -> tuple[Partition, list[str]]:
    """Choose the rows that train, validate and test, and say in words what they leave open.

    Raises
    ------
    OptionError, SourceError
        As `featx.data.exclusion` and `featx.data.splits.partition`.
    ImageError
        Images cannot be read, and `on_error` is ``raise``: before hours of work, and all at once.
    """
    excluded = None if how.exclude is None else exclude(sources, read_exclusion(how.exclude))
    found = partition(
        sources,
        seed=seed,
        train_split=how.train_split,
        test_split=how.test_split,
        val_size=how.val_size,
        excluded=excluded,
    )
    if on_error == "raise":
        check_readable(found.sources().values())
    return replace(found, limit=how.limit, per_class=how.per_class, root=how.root), [
        *notes(found, sources),
        *(excluded.notes() if excluded else []),
    ]
