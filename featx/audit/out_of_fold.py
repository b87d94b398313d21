"""Probabilities of classes for rows that the classifier did not learn from: folds, and from one split to another."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.core.specs import Progress, no_progress
from featx.core.types import RowNumbers
from featx.core.validation import check_count, check_positive
from featx.errors import OptionError

Log = NDArray[np.float32]
Mask = NDArray[np.bool_]

LEARNT_FROM = "train"
"""The split whose rows are judged out of fold, and that all other splits' rows are judged by."""

STOP = 3e-4
"""`tol` of the fits: within 1e-4 of the minimum, which moves no probability by what matters here."""


@dataclass(frozen=True)
class JudgeConfig:
    """How rows are judged by a classifier that did not learn from them.

    Parameters
    ----------
    folds : int
        At least 2.
    C : float
        Of `SoftmaxRegression`, on standardised columns; positive.
    seed : int
        What shuffles the rows before they are dealt out to the folds.

    Raises
    ------
    OptionError
        For other values.
    """

    folds: int = 5
    C: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        check_count("folds", self.folds, 2)
        check_positive("C", self.C)
        check_count("seed", self.seed, 0)


@dataclass(frozen=True)
class Judging:
    """One fit: who learns, and whose probabilities it gives.

    Parameters
    ----------
    learns, judged : ndarray of bool of shape (n,)
        Rows; no row is both.
    """

    learns: Mask
    judged: Mask


def plan_judgings(
    labels: RowNumbers, splits: Sequence[str], groups: RowNumbers | None, config: JudgeConfig
) -> list[Judging]:
    """Return the fits that give each labelled row probabilities without having learnt from it, or from its duplicates.

    Where there is a split `LEARNT_FROM`, its rows are judged out of fold, and all other rows by one fit on those of its
    rows that have no duplicate among them. Else all rows are judged out of fold.

    Parameters
    ----------
    labels : ndarray of int64 of shape (n,)
        Positions of classes; rows of -1 neither learn nor are judged.
    splits : sequence of str
        Of each row.
    groups : ndarray of int64 of shape (n,), or None
        Rows of the same number are duplicates of one another, and are kept together; None if there are none.
    config : JudgeConfig
        Folds and seed.

    Returns
    -------
    list of Judging
        Without those that learn fewer than two classes: such as the fold of a class's only image, beside one other.

    Raises
    ------
    OptionError
        Lengths differ, there are fewer groups of labelled rows than folds, or no fit learns two classes.
    """
    n = len(labels)
    groups = np.arange(n) if groups is None else groups
    if not n == len(splits) == len(groups):
        raise OptionError(f"{n} labels, {len(splits)} splits and {len(groups)} groups, expected one each for every row")
    labelled = labels >= 0
    learnt_from = np.array([split == LEARNT_FROM for split in splits], bool)
    folded = labelled & learnt_from if (labelled & learnt_from).any() else labelled
    rows = np.flatnonzero(folded)
    fold = np.full(n, -1)
    fold[rows] = deal_out(labels[rows], groups[rows], config)
    found = [Judging(folded & (fold != k), fold == k) for k in range(config.folds)]
    others = labelled & ~folded
    if others.any():
        found.append(Judging(folded & ~np.isin(groups, groups[others]), others))
    able = [judging for judging in found if len(np.unique(labels[judging.learns])) > 1]
    if not able:
        raise OptionError("no rows of two classes to learn from, expected some beside those that are judged")
    return able


def deal_out(labels: RowNumbers, groups: RowNumbers, config: JudgeConfig) -> RowNumbers:
    """Return the fold of each row, (n,): stratified by the label of each group's first row, groups kept together.

    Raises
    ------
    OptionError
        There are fewer groups than folds.
    """
    from sklearn.model_selection import StratifiedKFold

    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    if len(first) < config.folds:
        raise OptionError(
            f"{len(first)} labelled images without their duplicates, expected at least {config.folds}",
            f"judge them in fewer folds (--folds), of which there are {config.folds}",
        )
    # Shuffled here: scikit-learn refuses to stratify where each class is smaller than the folds are many.
    stratum = labels[first]
    counts = np.bincount(stratum)
    if counts.max() < config.folds:
        stratum = np.zeros_like(stratum)
    splitter = StratifiedKFold(config.folds, shuffle=True, random_state=config.seed)
    fold = np.empty(len(first), np.int64)
    with warnings.catch_warnings():
        # A class that a fold lacks does no harm; one whose only row is judged cannot be, and is left out later.
        warnings.filterwarnings("ignore", message="The least populated class")
        for number, (_, judged) in enumerate(splitter.split(stratum, stratum)):
            fold[judged] = number
    return fold[group]


def log_probabilities(
    X: Any,
    labels: RowNumbers,
    classes: int,
    judgings: Sequence[Judging],
    config: JudgeConfig,
    progress: Progress = no_progress,
) -> Log:
    """Return the logarithms of each class's probability, by fits that learnt from neither a row nor its duplicates.

    X is not copied: rows that do not learn weigh nothing.

    Parameters
    ----------
    X : array of shape (n, d)
        As `SoftmaxRegression` takes it, which reads what lies on a disk piece by piece where it is large.
    labels : ndarray of int64 of shape (n,)
        Positions of classes.
    classes : int
        How many there are.
    judgings : sequence of Judging
        Of `plan_judgings`.
    config : JudgeConfig
        C.
    progress : callable
        Called with the number of fits done and of all.

    Returns
    -------
    ndarray of float32 of shape (n, classes)
        NaN for rows that were not judged, minus infinity for classes that no learning row has.

    Raises
    ------
    OptionError
        Of `SoftmaxRegression`: learning rows of fewer than two classes, or values that are not finite.
    """
    from featx.probes.check_array import as_matrix
    from featx.probes.linear_classifier import NotConvergedWarning
    from featx.probes.softmax import SoftmaxRegression

    X = as_matrix(X, stream=True)
    found = np.full((len(labels), classes), np.nan, np.float32)
    model = SoftmaxRegression(config.C, standardize=True, tol=STOP)
    for number, judging in enumerate(judgings):
        learning = np.flatnonzero(judging.learns)
        target = labels.copy()
        if len(learning):  # without weight, but of a class all the same: of none that is not learnt
            target[~judging.learns] = labels[learning[0]]
        with warnings.catch_warnings():
            # A little short of the minimum is near enough to tell which labels are odd.
            warnings.simplefilter("ignore", NotConvergedWarning)
            model.fit(X, target, judging.learns.astype(np.float64))
        judged = np.flatnonzero(judging.judged)
        found[judged] = -np.inf
        found[np.ix_(judged, model.classes_)] = model.predict_log_proba(X[judged])
        progress("judge labels", number + 1, len(judgings))
    return found


def can_be_judged(labels: RowNumbers, judgings: Sequence[Judging]) -> Mask:
    """Return which rows were judged by a fit that learnt their class from other rows, bool of shape (n,)."""
    able = np.zeros(len(labels), bool)
    for judging in judgings:
        able |= judging.judged & np.isin(labels, np.unique(labels[judging.learns]))
    return able


def combine(layers: Sequence[Log]) -> Log:
    """Return the mean of several layers' log-probabilities, normalised anew, of shape (n, classes).

    The logarithmic opinion pool (Genest and Zidek 1986, Combining probability distributions, Statistical Science 1):
    a class counts as far as all layers find it likely.
    """
    total = layers[0].copy()
    for layer in layers[1:]:
        total += layer
    total /= len(layers)
    total -= np.logaddexp.reduce(total, axis=1, keepdims=True)
    return total
