"""Confident learning: how many labels of one class are really another's, counted by pairs of classes.

Northcutt, Jiang and Chuang 2021 (Confident learning: estimating uncertainty in dataset labels, JAIR 70,
arXiv:1911.00068), section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx.core.types import RowNumbers

Floats = NDArray[np.float64]

ROUNDING = 1e-6
"""How far below a threshold a probability still reaches it: a class whose rows are all equally probable has as mean the
probability of each, but for rounding."""

UNREACHABLE = 2.0
"""The threshold of a class without rows."""


@dataclass(frozen=True)
class ConfusedClasses:
    """Labels of one class that seem to be another's.

    Parameters
    ----------
    given, likely : str
        The class that the rows have, and the one that they look like.
    counted : int
        Rows that confidently belong to `likely`.
    estimated : float
        `counted`, calibrated to the number of rows of class `given`.
    """

    given: str
    likely: str
    counted: int
    estimated: float


def class_thresholds(probabilities: NDArray[np.floating], labels: RowNumbers) -> Floats:
    """Return the mean probability of each class among the rows that have its label, of shape (classes,)."""
    classes = probabilities.shape[1]
    own = probabilities[np.arange(len(labels)), labels]
    count = np.bincount(labels, minlength=classes)
    total = np.bincount(labels, own, minlength=classes)
    return np.where(count > 0, total / np.maximum(count, 1), UNREACHABLE)


def confident_joint(probabilities: NDArray[np.floating], labels: RowNumbers) -> NDArray[np.int64]:
    """Count rows by their label and by the class that they confidently belong to.

    A row belongs to the most probable of the classes whose threshold (`class_thresholds`) its probability reaches, and
    is not counted where it reaches none. Each class with rows has at least one that is rightly labelled.

    Parameters
    ----------
    probabilities : ndarray of shape (n, classes)
        Out of fold.
    labels : ndarray of int64 of shape (n,)
        Positions of classes.

    Returns
    -------
    ndarray of int64 of shape (classes, classes)
        Labels in rows, the classes that they belong to in columns.
    """
    classes = probabilities.shape[1]
    reached = np.where(
        probabilities >= (class_thresholds(probabilities, labels) - ROUNDING).astype(probabilities.dtype),
        probabilities,
        -1.0,
    )
    likely = reached.argmax(axis=1)
    counted = reached.max(axis=1) >= 0
    joint = np.bincount(labels[counted] * classes + likely[counted], minlength=classes**2).reshape(classes, classes)
    present = np.bincount(labels, minlength=classes) > 0
    joint[present, present] = np.maximum(joint[present, present], 1)
    return joint.astype(np.int64)


def calibrate(joint: NDArray[np.int64], labels: RowNumbers) -> Floats:
    """Return a confident joint whose rows add up to the rows that each label has, of shape (classes, classes)."""
    count = np.bincount(labels, minlength=len(joint))
    estimated: Floats = joint * (count / np.maximum(joint.sum(axis=1), 1))[:, None]
    return estimated


def confused_classes(joint: NDArray[np.int64], estimated: Floats, classes: tuple[str, ...]) -> list[ConfusedClasses]:
    """Return the pairs of classes that have any labels in common, the most confused first."""
    pairs = [(g, s) for g, s in np.argwhere(joint).tolist() if g != s]
    pairs.sort(key=lambda pair: (-estimated[pair], pair))
    return [ConfusedClasses(classes[g], classes[s], int(joint[g, s]), float(estimated[g, s])) for g, s in pairs]
