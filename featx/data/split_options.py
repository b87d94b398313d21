"""Which rows of a source are learnt from and scored, as a user asks for them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SplitOptions:
    """Which rows are learnt from, and which are scored.

    Parameters
    ----------
    train_split, test_split : str, optional
        Names of the source's splits; None takes what `featx.data.splits.partition` takes.
    limit, per_class : int, optional
        At most so many rows of each split; so many of each class of the rows to learn from.
    root : str, optional
        Folder that the paths of a list start from.
    """

    train_split: str | None = None
    test_split: str | None = None
    limit: int | None = None
    per_class: int | None = None
    root: str | None = None
