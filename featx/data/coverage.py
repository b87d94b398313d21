"""What the chosen rows leave open: classes without rows, rows without a label or with several, or without content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.cache.schema import is_unreadable
from featx.data.missing_classes import PARTS, Missing, missing_lines
from featx.data.splits import Labelled, Part, Partition
from featx.errors import ImageError, first_few

EXAMPLES = 3
"""So many images of several classes are named."""


@dataclass(frozen=True)
class Conflicts:
    """Images that stand under several classes: the same content, whatever the files are called.

    Parameters
    ----------
    images, rows : int
        Of different content; and all rows that have it.
    examples : tuple of str
        Some of them in words.
    """

    images: int = 0
    rows: int = 0
    examples: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, int]:
        """Return what a record says of them."""
        return {"images": self.images, "rows": self.rows}


def lacking(partition: Partition) -> Missing:
    """Return by part the classes that none of its rows has that can be read; see `featx.data.missing_classes`."""
    found = {}
    for name in partition.wanted():
        part = partition.parts()[name]
        rows = np.setdiff1d(part.rows, part.unreadable())
        has = set(part.source.labels[rows].tolist())
        found[name] = [c for label, c in enumerate(partition.classes) if label not in has]
    return {name: found[name] for name in PARTS if found.get(name)}


def conflicts(sources: Iterable[Labelled]) -> Conflicts:
    """Return which images stand under more than one class, in whatever split; rows without a label do not count."""
    ids: list[str] = []
    labels, hashes = [], []
    classes: tuple[str, ...] = ()
    for source in sources:
        found = source.row_hashes()
        rows = np.flatnonzero((source.labels >= 0) & ~is_unreadable(found))
        ids += [source.ids[row] for row in rows.tolist()]
        labels.append(source.labels[rows])
        hashes.append(found[rows])
        classes = source.classes
    if not ids:
        return Conflicts()
    _, content = np.unique(np.concatenate(hashes), axis=0, return_inverse=True)
    return _conflicts(ids, np.concatenate(labels), content.reshape(-1), classes)


def _conflicts(ids: list[str], labels: Any, content: Any, classes: tuple[str, ...]) -> Conflicts:
    """Do so for rows of any sources, whose contents are numbered."""
    kinds = np.unique(np.stack([content, labels], axis=1), axis=0)
    several = np.bincount(kinds[:, 0]) > 1
    rows = np.flatnonzero(several[content])
    examples: list[str] = []
    for number in dict.fromkeys(content[rows].tolist()):
        if len(examples) == EXAMPLES:
            break
        first = ids[int(np.flatnonzero(content == number)[0])]
        names = [classes[label] for label in kinds[kinds[:, 0] == number, 1]]
        examples.append(f"{first} ({first_few(names)})")
    return Conflicts(int(several.sum()), len(rows), tuple(examples))


def notes(partition: Partition, sources: Mapping[str, Labelled]) -> list[str]:
    """Return in words what a user should know of the rows that were chosen among those of the sources."""
    return [*label_notes(partition, sources), *missing_lines(lacking(partition), len(partition.classes))]


def label_notes(partition: Partition, sources: Mapping[str, Labelled]) -> list[str]:
    """Return in words which rows have no label, and which images have several."""
    said = []
    for split, count in partition.unlabelled.items():
        where = "" if split == "all" else f" of {split}"
        said.append(f"{count:,} of {len(sources[split].ids):,} rows{where} have no label and are left out")
    found = conflicts(partition.sources().values())
    if found.images:
        stand = "image is listed" if found.images == 1 else "images are listed"
        more = ", ..." if found.images > len(found.examples) else ""
        said.append(
            f"{found.images:,} {stand} under several classes, in {found.rows:,} rows: {', '.join(found.examples)}{more}"
        )
    return said


def check_readable(sources: Iterable[Any]) -> None:
    """Raise ImageError where rows could not be read, such as those of files that are missing; it names them."""
    parts = [Part(source, np.arange(len(source.ids))) for source in sources]
    bad = [(part.source, row) for part in parts for row in part.unreadable().tolist()]
    if not bad:
        return
    source, row = bad[0]
    try:
        source[row]
    except ImageError as exc:
        if len(bad) == 1:
            raise
        names = first_few([s.ids[r] for s, r in bad], 10)
        raise ImageError(
            f"{len(bad):,} of {sum(map(len, parts)):,} images cannot be read: {names}; the first: {exc.message}",
            "fix or remove them, or use --on-error skip",
        ) from exc
