"""Which rows train, validate and test: stratified, seeded, and decided by content, never by order or path."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from featx.cache.schema import is_unreadable
from featx.core.types import RowNumbers
from featx.core.validation import check_count
from featx.data.exclusion import Excluded
from featx.data.split_options import SplitOptions
from featx.errors import ImageError, OptionError, SourceError, first_few, suggest

TEST_FRACTION = 0.1
"""What a source without splits gives to test."""


class Labelled(Protocol):
    """What a split needs to know of a source."""

    @property
    def ids(self) -> Sequence[str]:
        """The rows' ids, in order."""

    @property
    def labels(self) -> RowNumbers:
        """Positions in `classes`, int64 (n,); -1 where a row has no label."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""

    @property
    def split(self) -> str:
        """``train``, ``val``, ``test`` or ``all``."""

    def row_hashes(self) -> npt.NDArray[np.uint8]:
        """Return the SHA-256 of each row's content, uint8 (n, 32)."""


@dataclass(frozen=True)
class Part:
    """Some rows of one source.

    Parameters
    ----------
    source : Source
        Where the rows are.
    rows : ndarray of int64
        Row numbers in the source, rising.
    """

    source: Any
    rows: RowNumbers

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> RowNumbers:
        """Class numbers of these rows."""
        labels: RowNumbers = self.source.labels[self.rows]
        return labels

    def unreadable(self) -> RowNumbers:
        """Return the rows whose content could not be read, such as those of files that are missing."""
        rows: RowNumbers = self.rows[is_unreadable(self.source.row_hashes()[self.rows])]
        return rows


def missing_classes_of(train: Part) -> list[str]:
    """Return the classes of a part's source that none of its rows has."""
    taught = set(train.labels.tolist())
    return [name for label, name in enumerate(train.source.classes) if label not in taught]


@dataclass(frozen=True)
class Partition:
    """Disjoint parts: `train` is learnt from, `val` chooses, `test` is scored once.

    Parameters
    ----------
    train, val, test : Part
        The rows.
    seed : int
        Of the choice.
    unlabelled : mapping of str to int
        By split, the rows that have no label and are in no part.
    limit, per_class : int or None
        How many rows the seed chose of the source before, see `featx.data.sources.load_splits`.
    root : str or None
        The folder that a list's paths were said to be relative to.
    val_size : float
        Share of the training rows that was held out, where the source has no validation split of its own.
    excluded : Excluded or None
        Rows that were left out before anything was chosen.
    """

    train: Part
    val: Part
    test: Part
    seed: int
    unlabelled: Mapping[str, int] = field(default_factory=dict)
    limit: int | None = None
    per_class: int | None = None
    root: str | None = None
    val_size: float = SplitOptions.val_size
    excluded: Excluded | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; a label is a position in them."""
        classes: tuple[str, ...] = self.train.source.classes
        return classes

    def parts(self) -> dict[str, Part]:
        """Return the three parts by name."""
        return {"train": self.train, "val": self.val, "test": self.test}

    def wanted(self) -> tuple[str, ...]:
        """Return the names of the parts that are to have rows: validation need not, by `val_size`."""
        return tuple(name for name, part in self.parts().items() if name != "val" or self.val_size or len(part))

    def sources(self) -> dict[str, Any]:
        """Return each source once, by the name of its split."""
        return {part.source.split: part.source for part in self.parts().values()}

    def count_leaked(self) -> int:
        """Count test rows whose very bytes also stand among the training or validation rows."""
        learnt = set[bytes]()
        for part in (self.train, self.val):
            learnt.update(_keys(part.source.row_hashes()[part.rows]))
        return sum(key in learnt for key in _keys(self.test.source.row_hashes()[self.test.rows]))


def partition(
    sources: Mapping[str, Any],
    *,
    seed: int = 0,
    train_split: str | None = None,
    test_split: str | None = None,
    val_size: float = SplitOptions.val_size,
    excluded: Excluded | None = None,
) -> Partition:
    """Choose the rows that train, validate and test.

    A source's own ``test`` (or ``val`` where it has only that) is the test set; a ``val`` beside a ``test``
    validates; otherwise a stratified share of the training rows does, `val_size`. A source without splits is cut
    80/10/10, or, with another `val_size`, a tenth of it still tests.

    Parameters
    ----------
    sources : mapping of str to Source
        By split, as `load_splits` returns them.
    seed : int
        Of the held-out rows.
    train_split, test_split : str, optional
        Splits to take instead.
    val_size : float
        See `SplitOptions`; with 0 there are no validation rows.
    excluded : Excluded, optional
        Rows that are in no part.

    Raises
    ------
    OptionError
        For a split that does not exist, and for another `val_size` than the default where a split validates.
    SourceError
        Where there are no labels to learn from, or too few rows.
    """
    for name in (train_split, test_split):
        if name is not None:
            check_split(name, sources)
    train_name = train_split or ("train" if "train" in sources else next(iter(sources)))
    if train_name == test_split:
        raise OptionError(
            f"split {train_name!r} cannot be both the training and the test split",
            "give another --train-split or --test-split",
        )
    train = sources[train_name]
    labelled = _labelled_rows(train, train_name, excluded)
    others = [n for n in ("test", "val") if n in sources and n != train_name and _has_labels(sources[n])]
    test_name = test_split or next(iter(others), None)
    if test_name is None:
        test_mask = hold_out(train.row_hashes()[labelled], train.labels[labelled], TEST_FRACTION, seed)
        test = Part(train, labelled[test_mask])
        labelled = labelled[~test_mask]
        fraction = val_size / (1 - TEST_FRACTION)
    else:
        test = Part(sources[test_name], _labelled_rows(sources[test_name], test_name, excluded))
        fraction = val_size
    if "val" in others and test_name != "val":
        _check_own_validation(val_size, train_name)
        val = Part(sources["val"], _labelled_rows(sources["val"], "val", excluded))
    elif val_size == 0:
        val = Part(train, labelled[:0])
    else:
        val_mask = hold_out(train.row_hashes()[labelled], train.labels[labelled], fraction, seed)
        val = Part(train, labelled[val_mask])
        labelled = labelled[~val_mask]
    learnt = Part(train, labelled)
    for part, use in ((learnt, "train"), (test, "test")):
        if len(part) == len(part.unreadable()):
            raise _nothing_left(sources, train_name, use)
    counts = {name: int((source.labels < 0).sum()) for name, source in sources.items()}
    unlabelled = {name: count for name, count in counts.items() if count}
    return Partition(learnt, val, test, seed, unlabelled=unlabelled, val_size=val_size, excluded=excluded)


def _check_own_validation(val_size: float, train_name: str) -> None:
    """Refuse a share of the training rows where none of them is held out."""
    if val_size != SplitOptions.val_size:
        raise OptionError(
            f"--val-size {val_size:g} would have no effect: the source has a split 'val', which validates, and "
            f"{train_name!r} is learnt from as a whole",
            "leave --val-size out",
        )


def _why(source: Any, row: int) -> str:
    """Return what is told of the first image that cannot be read."""
    try:
        source[row]
    except ImageError as exc:
        return f"; the first: {exc.message}"
    return ""


def _nothing_left(sources: Mapping[str, Any], train_name: str, use: str) -> SourceError:
    """Return the error for a part without rows: which images cannot be read, if that is why."""
    rows = {name: Part(source, np.arange(len(source.ids))) for name, source in sources.items()}
    bad = [(part.source, row) for part in rows.values() for row in part.unreadable().tolist()]
    if bad:
        names = first_few([source.ids[row] for source, row in bad], 10)
        return SourceError(
            f"{len(bad):,} of {sum(map(len, rows.values())):,} images cannot be read, which leaves none to {use} on: "
            f"{names}{_why(*bad[0])}",
            "check that these files exist and are complete",
        )
    return SourceError(
        f"split {train_name!r} leaves no rows to {use} on",
        "give more images per class, or a larger --limit or --per-class",
    )


def check_split(name: str, splits: Mapping[str, Any]) -> None:
    """Raise OptionError unless `name` is one of the splits."""
    if name not in splits:
        hint = suggest(name, splits)
        have = ", ".join(splits)
        raise OptionError(f"there is no split {name!r}, expected one of: {have}", hint or "choose one of those")


def _has_labels(source: Labelled) -> bool:
    return bool((source.labels >= 0).any())


def _labelled_rows(source: Labelled, split: str, excluded: Excluded | None) -> RowNumbers:
    rows = np.flatnonzero(source.labels >= 0).astype(np.int64)
    if not len(rows):
        raise SourceError(
            f"split {source.split!r} has no labels, and fitting needs them",
            getattr(source, "unlabelled", "")
            or "put the images into class folders, or give a list with the columns path and label",
        )
    return rows if excluded is None or split not in excluded.rows else np.setdiff1d(rows, excluded.rows[split])


def hold_out(hashes: npt.NDArray[np.uint8], labels: RowNumbers, fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """Mark a stratified share of rows, chosen by content.

    Each class gives its rows of lowest ``SHA-256(seed, row hash)``, at least one where it has two or more.
    Rows with the same content go together, so that no image is on both sides; no class gives all of its contents.
    Rows that could not be read are not marked: nothing tells whether they are the same.

    Parameters
    ----------
    hashes : ndarray of uint8, shape (n, 32)
        Content hash a row.
    labels : ndarray of int64, shape (n,)
        Class a row.
    fraction : float
        Share of each class to mark.
    seed : int
        Another seed marks other rows.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    scores = np.array([_score(seed, key) for key in _keys(hashes)], dtype="S32")
    held = np.zeros(len(labels), dtype=bool)
    readable = ~is_unreadable(hashes)
    for label in np.unique(labels):
        members = np.flatnonzero((labels == label) & readable)
        if not len(members):
            continue
        count = round(fraction * len(members))
        if count == 0 and len(members) >= 2:
            count = 1
        ordered = members[np.argsort(scores[members], kind="stable")]
        held[ordered[:count][scores[ordered[:count]] != scores[ordered[-1]]]] = True
    return np.isin(scores, scores[held])


def _keys(hashes: npt.NDArray[np.uint8]) -> list[bytes]:
    return [row.tobytes() for row in hashes]


def _score(seed: int, key: bytes) -> bytes:
    # Hexadecimal, because numpy's byte strings drop trailing zeros.
    return hashlib.sha256(b"featx-split:%d:" % seed + key).hexdigest().encode()[:32]


def subsample(
    ids: Sequence[str], labels: RowNumbers, *, limit: int | None = None, per_class: int | None = None, seed: int = 0
) -> RowNumbers:
    """Choose fewer rows: `per_class` of each class, then `limit` in all with the classes' shares kept.

    Chosen by ``SHA-256(seed, id)``, so that nothing need be read and a smaller choice is part of a larger.

    Returns
    -------
    ndarray of int64
        Row numbers, rising.
    """
    for name, value in (("limit", limit), ("per-class", per_class)):
        if value is not None:
            check_count(name, value)
    order = np.argsort([_score(seed, name.encode("utf-8", "surrogateescape")) for name in ids], kind="stable")
    by_class = [order[labels[order] == label] for label in np.unique(labels)]
    if per_class is not None:
        by_class = [rows[:per_class] for rows in by_class]
    if not by_class:
        return np.empty(0, np.int64)
    rows = np.concatenate(by_class)
    if limit is not None and limit < len(rows):
        # Place j of n comes (j + 1/2) / n of the way through its class: whoever comes first is taken, which keeps
        # the shares (it is Sainte-Laguë's rule) and, unlike largest remainders, never takes a row back.
        places = np.concatenate([(np.arange(len(some)) + 0.5) / len(some) for some in by_class])
        rows = rows[np.argsort(places, kind="stable")[:limit]]
    return np.sort(rows).astype(np.int64)
