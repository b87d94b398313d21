"""Images that a user leaves out, named in a CSV such as `featx audit -o findings.csv` writes: by id, and by split."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.core.csv_cells import cell_text
from featx.core.csv_lists import read_list
from featx.core.types import RowNumbers
from featx.errors import OptionError, first_few, legible

ANY = ""
"""Stands for all splits, in lists without a column ``split``."""

EXCLUDED_FILE = "excluded.csv"
"""In a run's folder: splits and ids of the images that it left out, where there were any."""

HINT = "`featx audit SOURCE -o findings.csv` writes one"


@dataclass(frozen=True)
class Exclusion:
    """Which images are left out.

    Parameters
    ----------
    path : str
        Of the CSV, as it was given.
    images : frozenset of (str, str)
        Split, or `ANY`, and id as the CSV spells it.
    """

    path: str
    images: frozenset[tuple[str, str]]

    @property
    def digest(self) -> str:
        """SHA-256 of the splits and ids, whatever their order and the other columns."""
        return hashlib.sha256(json.dumps(sorted(self.images)).encode("utf-8", "surrogatepass")).hexdigest()

    def as_csv(self) -> str:
        """Return splits and ids alone, as `read_exclusion` reads them."""
        text = io.StringIO()  # cells as they were read: escaped already, where they had to be
        csv.writer(text, lineterminator="\n").writerows([("split", "id"), *sorted(self.images)])
        return text.getvalue()


@dataclass(frozen=True)
class Excluded:
    """Which rows of which splits that came to.

    Parameters
    ----------
    exclusion : Exclusion
        As it was asked for.
    rows : mapping of str to ndarray of int64
        By split, rising; only splits with some.
    unknown : tuple of str
        Ids, with their splits where the list has them, that do not occur among the images.
    """

    exclusion: Exclusion
    rows: Mapping[str, RowNumbers]
    unknown: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        """Return how many rows are left out, by split."""
        return {split: len(rows) for split, rows in self.rows.items()}

    def notes(self) -> list[str]:
        """Return in words what was not found."""
        if not self.unknown:
            return []
        images = "image that does" if len(self.unknown) == 1 else "images that do"
        return [
            f"--exclude {self.exclusion.path} names {len(self.unknown):,} {images} not occur here: "
            f"{first_few([legible(name) for name in self.unknown], 5)}"
        ]


def read_exclusion(path: str) -> Exclusion:
    """Read a CSV with the column ``id``, and perhaps ``split``; other columns are not read.

    Raises
    ------
    OptionError
        It cannot be read, has no such column, or names nothing.
    """
    lines = read_list(path, "--exclude", ["id"], HINT)
    found = {((line.get("split") or ANY).strip(), line["id"]) for line in lines if line["id"]}
    if not found:
        raise OptionError(f"--exclude {path} names no image", "leave --exclude out, or name some")
    return Exclusion(path, frozenset(found))


def exclude(sources: Mapping[str, Any], exclusion: Exclusion) -> Excluded:
    """Find the rows that are left out.

    Parameters
    ----------
    sources : mapping of str to Source
        By split.
    exclusion : Exclusion
        What is wanted.

    Raises
    ------
    OptionError
        No image of it occurs, or nothing would be left of a split, or of a class in a split.
    """
    found: dict[str, RowNumbers] = {}
    met = set[tuple[str, str]]()
    for split, source in sources.items():
        rows = []
        for row, name in enumerate(source.ids):
            named = exclusion.images & {(s, n) for s in (split, ANY) for n in (name, cell_text(name))}
            if named:
                rows.append(row)
                met |= named
        if rows:
            found[split] = np.array(rows, np.int64)
    unknown = tuple(sorted(f"{name} (split {split})" if split else name for split, name in exclusion.images - met))
    if not found:
        raise OptionError(
            f"--exclude {exclusion.path}: none of its {len(exclusion.images):,} images occurs here: "
            f"{first_few([legible(name) for name in unknown], 3)}",
            f"ids are those of the source, such as {first_few(_examples(sources.values()), 1)}",
        )
    for split, source in sources.items():
        if split in found:
            _check_left(source, split, np.setdiff1d(np.arange(len(source.ids)), found[split]), exclusion.path)
    return Excluded(exclusion, found, unknown)


def _examples(sources: Iterable[Any]) -> list[str]:
    return [legible(source.ids[0]) for source in sources if len(source.ids)]


def _check_left(source: Any, split: str, left: RowNumbers, path: str) -> None:
    """Refuse to leave out all of a split, or all images of a class in it."""
    hint = "remove some of its lines"
    if not len(left):
        raise OptionError(f"--exclude {path} leaves no image of split {split!r}", hint)
    gone = np.setdiff1d(np.unique(source.labels[source.labels >= 0]), source.labels[left])
    if len(gone):
        names = first_few([legible(source.classes[label]) for label in gone.tolist()])
        raise OptionError(f"--exclude {path} leaves no image of class {names} in split {split!r}", hint)
