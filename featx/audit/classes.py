"""Classes by split: too small to be scored or learnt, and other shares in one split than in another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from featx.core.types import RowNumbers

LEAST_SCORED = 10
"""Rows of the test split: with fewer, an accuracy's 95 % interval can be wider than half the scale."""

SCORED = "test"
LEARNT = "train"


@dataclass(frozen=True)
class ClassSize:
    """A class's rows.

    Parameters
    ----------
    name : str
        The class.
    rows : dict of str to int
        By split, in the order of the data set.
    remarks : list of str
        What is wrong with so many: not learnt, not scored, or scored on too few.
    """

    name: str
    rows: dict[str, int]
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ClassBalance:
    """All classes, and how evenly rows are spread.

    Parameters
    ----------
    classes : list of ClassSize
        In the order of the source.
    imbalance : dict of str to float
        By split: rows of its largest class for each one of its smallest that has any; absent without labelled rows.
    differ : float or None
        How far two splits' shares of classes are apart at most: half the sum of their absolute differences, 0 to 1
        (total variation). None with one labelled split.
    p_value : float or None
        Of Pearson's chi-square test that all splits were drawn with the same shares; None as `differ`.
    unlabelled : dict of str to int
        Rows without a label, of the splits that have any.
    """

    classes: list[ClassSize]
    imbalance: dict[str, float]
    differ: float | None
    p_value: float | None
    unlabelled: dict[str, int]


def class_balance(labels: RowNumbers, splits: Sequence[str], classes: tuple[str, ...]) -> ClassBalance:
    """Count classes by split.

    Parameters
    ----------
    labels : ndarray of int64 of shape (n,)
        Positions in `classes`; -1 where a row has none.
    splits : sequence of str
        Of each row.
    classes : tuple of str
        Names.
    """
    names = list(dict.fromkeys(splits))
    number = np.array([names.index(split) for split in splits], np.int64)
    counts = np.zeros((len(names), len(classes)), np.int64)
    labelled = labels >= 0
    np.add.at(counts, (number[labelled], labels[labelled]), 1)
    without = np.bincount(number[~labelled], minlength=len(names)).tolist()
    some = counts.sum(axis=1) > 0
    differ, p_value = _differences(counts[some])
    return ClassBalance(
        classes=[
            _size(name, dict(zip(names, column.tolist(), strict=True)), [bool(one) for one in some], names)
            for name, column in zip(classes, counts.T, strict=True)
        ],
        imbalance={
            name: float(row.max() / row[row > 0].min()) for name, row in zip(names, counts, strict=True) if row.any()
        },
        differ=differ,
        p_value=p_value,
        unlabelled={name: rows for name, rows in zip(names, without, strict=True) if rows},
    )


def _size(name: str, rows: dict[str, int], some: list[bool], splits: list[str]) -> ClassSize:
    labelled = {split for split, labels in zip(splits, some, strict=True) if labels}
    remarks = []
    if LEARNT in labelled and not rows[LEARNT]:
        remarks.append(f"no {LEARNT} image: it cannot be learnt")
    if SCORED in labelled and rows[SCORED] < LEAST_SCORED:
        few = f"{rows[SCORED]} {SCORED} images, fewer than {LEAST_SCORED}: its accuracy says little"
        remarks.append(few if rows[SCORED] else f"no {SCORED} image: it is not scored")
    if not any(rows.values()):
        remarks = ["no image at all"]
    return ClassSize(name, rows, remarks)


def _differences(counts: NDArray[np.int64]) -> tuple[float | None, float | None]:
    """Return the largest total variation between two splits, and the p-value of their having the same shares."""
    if len(counts) < 2:
        return None, None
    shares = counts / counts.sum(axis=1, keepdims=True)
    apart = max(float(np.abs(a - b).sum()) / 2 for i, a in enumerate(shares) for b in shares[:i])
    present = counts[:, counts.sum(axis=0) > 0]
    if present.shape[1] < 2:
        return apart, None
    from scipy.stats import chi2_contingency

    return apart, float(chi2_contingency(present, correction=False).pvalue)
