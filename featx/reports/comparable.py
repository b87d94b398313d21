"""Which runs may be ranked together: those that were scored on the same test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from featx.core.hashing import digest_of_foreign

Row = Mapping[str, Any]

DIGITS = 16
"""So much of a digest is kept: enough to tell the test sets of all runs of a home apart."""


def scored_on(record: Row) -> str:
    """Return a digest of the images, labels and classes that a run's test accuracy is of.

    Where the test rows are drawn from those that are learnt from, the seed is part of it, as it is of the images.
    """
    test, train = _of(record, "splits", "test"), _of(record, "splits", "train")
    images = _of(record, "fingerprints", test)
    drawn = test is None or test == train
    known = [images, _of(record, "labels", test)] if images is not None else [record.get("source"), test]
    seed = record.get("seed") if drawn else None
    return digest_of_foreign([known, record.get("classes"), _of(record, "rows", "test"), seed])[:DIGITS]


def comparable(rows: Sequence[Row]) -> list[list[int]]:
    """Return the places of rows that were scored on the same test images, together, in the order of the first.

    Rows over seeds belong together where each was scored on the same sets of images.
    """
    groups: dict[frozenset[str], list[int]] = {}
    for at, row in enumerate(rows):
        groups.setdefault(frozenset(str(row.get("scored_on")).split(", ")), []).append(at)
    return list(groups.values())


def _of(record: Row, name: str, part: Any) -> Any:
    group = record.get(name)
    return group.get(str(part)) if isinstance(group, Mapping) else None
