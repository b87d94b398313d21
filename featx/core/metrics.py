"""How good predictions are: accuracy and its kin, log loss, calibration, confusion matrix. numpy and scipy only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from featx.core.calibration_error import debiased_calibration_error, equal_mass_bins, expected_calibration_error
from featx.errors import FeatureError, OptionError

LARGEST_LOSS = -float(np.log(np.finfo(np.float64).eps))
"""Loss of a row whose class the model rules out (36.04), as scikit-learn's ``log_loss`` counts it: a class that
was not among the training rows would else make every mean infinite."""

SCALARS = ("accuracy", "loss", "top5", "balanced_accuracy", "macro_f1", "brier", "ece", "rms_calibration_error")
"""The scores that are one number, by the names of `Scores` and of records."""

TOP = 5
"""Among so many best classes the true one counts as found, by `Scores.top5`."""


@dataclass(frozen=True)
class Scores:
    """Predictions against the truth.

    Parameters
    ----------
    accuracy : float
        Share of rows predicted right, 0 to 1.
    loss : float
        Mean log loss a row, in nats.
    confusion : ndarray of shape (k, k)
        int64 counts of rows: true class down, predicted class across.
    predicted : ndarray of shape (n,)
        int64 class of each row.
    probability : ndarray of shape (n,)
        float64 probability of it; NaN where the model gives none.
    top5 : float
        Share of rows whose true class is among the five of largest logit; NaN with five classes or fewer, and where the
        model ranks no classes.
    balanced_accuracy : float
        Mean recall of the classes that have rows.
    macro_f1 : float
        Mean F1 score of the classes that have rows or were predicted; 0 for those that were never predicted right.
    brier : float
        Brier score: mean over rows of the squared distance of the probabilities from the true class's, summed over
        classes; 0 to 2. NaN where the model gives no probabilities, as the following.
    ece : float
        Expected calibration error of the predicted class's probability, in 15 bins of equal mass; see
        `featx.core.calibration_error`.
    rms_calibration_error : float
        The root of its debiased mean square in the same bins.
    losses : ndarray of shape (n,), optional
        float64 log loss of each row; None where the model gives no probabilities.
    in_top5 : ndarray of shape (n,), optional
        Which rows `top5` counts; None where it is NaN.
    briers : ndarray of shape (n,), optional
        float64 Brier score of each row; None where the model gives no probabilities.
    """

    accuracy: float
    loss: float
    confusion: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probability: NDArray[np.float64]
    top5: float = math.nan
    balanced_accuracy: float = math.nan
    macro_f1: float = math.nan
    brier: float = math.nan
    ece: float = math.nan
    rms_calibration_error: float = math.nan
    losses: NDArray[np.float64] | None = None
    in_top5: NDArray[np.bool_] | None = None
    briers: NDArray[np.float64] | None = None


def score(logits: ArrayLike, y: ArrayLike, n_classes: int) -> Scores:
    """Score logits of shape (n, n_classes) against labels y of shape (n,).

    Equal logits count for the first class, in `Scores.top5` too. A logit of minus infinity rules its class out; if that
    was the true one, the row's loss is `LARGEST_LOSS`, and the class is not among the best five.

    Raises
    ------
    OptionError
        Shapes that do not belong together, no rows, or a label outside 0 to `n_classes` - 1.
    FeatureError
        NaN or plus infinity among the logits, or a row without any class left.
    """
    values = np.asarray(logits, dtype=np.float64)
    labels = np.asarray(y)
    _check(values, labels, n_classes)
    predicted = values.argmax(axis=1)
    total = logsumexp(values, axis=1)
    losses = total - values[np.arange(len(labels)), labels]
    losses[np.isinf(losses)] = LARGEST_LOSS
    confusion = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    probability = np.exp(values.max(axis=1) - total)
    bins = equal_mass_bins(probability, predicted == labels)
    briers = briers_of(np.exp(values - total[:, None]), labels)
    return Scores(
        accuracy=float(np.mean(predicted == labels)),
        loss=float(losses.mean()),
        confusion=confusion,
        predicted=predicted,
        probability=probability,
        top5=top_accuracy(values, labels, TOP),
        balanced_accuracy=balanced_accuracy(confusion),
        macro_f1=macro_f1(confusion),
        brier=float(briers.mean()),
        ece=expected_calibration_error(bins),
        rms_calibration_error=debiased_calibration_error(bins),
        losses=losses,
        in_top5=in_top(values, labels, TOP),
        briers=briers,
    )


def brier(probabilities: NDArray[np.float64], y: NDArray[Any]) -> float:
    """Return the Brier score: the mean squared distance from the true class's vertex of the simplex, 0 to 2.

    Brier, "Verification of forecasts expressed in terms of probability", 1950; scikit-learn's ``brier_score_loss`` with
    ``scale_by_half=False``.

    Parameters
    ----------
    probabilities : ndarray of shape (n, k)
        Rows sum to 1.
    y : ndarray of shape (n,)
        Class numbers.
    """
    return float(briers_of(probabilities, y).mean())


def briers_of(probabilities: NDArray[np.float64], y: NDArray[Any]) -> NDArray[np.float64]:
    """Return what each row adds to `brier`, shape (n,)."""
    true = probabilities[np.arange(len(y)), y]
    others = np.einsum("ij,ij->i", probabilities, probabilities) - np.square(true)
    return np.asarray(np.maximum(others, 0) + np.square(1 - true))


def top_accuracy(logits: NDArray[np.float64], y: NDArray[Any], top: int) -> float:
    """Return the share of rows whose true class is among the `top` of largest logit; NaN where that are all classes.

    Of equal logits the first classes are taken, as ``argmax`` does. A class that is ruled out is never among them.

    Parameters
    ----------
    logits : ndarray of shape (n, k)
        Without NaN.
    y : ndarray of shape (n,)
        Class numbers.
    top : int
        How many classes.
    """
    found = in_top(logits, y, top)
    return math.nan if found is None else float(found.mean())


def in_top(logits: NDArray[np.float64], y: NDArray[Any], top: int) -> NDArray[np.bool_] | None:
    """Return the rows that `top_accuracy` counts, shape (n,); None where it is NaN."""
    if logits.shape[1] <= top:
        return None
    true = logits[np.arange(len(y)), y][:, None]  # (n, 1)
    before = np.arange(logits.shape[1]) < y[:, None]  # (n, k)
    rank = (logits > true).sum(axis=1) + ((logits == true) & before).sum(axis=1)
    return np.asarray((rank < top) & np.isfinite(true[:, 0]))


def balanced_accuracy(confusion: NDArray[np.int64]) -> float:
    """Return the mean recall of the classes that have rows, as scikit-learn's ``balanced_accuracy_score``.

    Parameters
    ----------
    confusion : ndarray of shape (k, k)
        True class down, predicted class across; not all 0.
    """
    rows = confusion.sum(axis=1)
    return float(np.mean(np.diag(confusion)[rows > 0] / rows[rows > 0]))


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """Return the mean F1 score, as scikit-learn's ``f1_score`` with ``average="macro"`` and ``zero_division=0``.

    A class counts if it has rows, or was predicted: one of neither says nothing.

    Parameters
    ----------
    confusion : ndarray of shape (k, k)
        True class down, predicted class across; not all 0.
    """
    both = confusion.sum(axis=1) + confusion.sum(axis=0)  # twice the right ones, and the wrong ones of either kind
    return float(np.mean(2 * np.diag(confusion)[both > 0] / both[both > 0]))


def _check(values: NDArray[np.float64], labels: NDArray[Any], n_classes: int) -> None:
    if len(labels) == 0 or values.shape != (len(labels), n_classes) or labels.ndim != 1:
        raise OptionError(
            f"logits of shape {values.shape} and labels of shape {labels.shape}, expected (n, {n_classes}) and (n,) "
            "with n at least 1"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise OptionError(f"labels of type {labels.dtype}, expected whole numbers")
    if labels.min() < 0 or labels.max() >= n_classes:
        raise OptionError(f"labels from {labels.min()} to {labels.max()}, expected 0 to {n_classes - 1}")
    largest = values.max(axis=1)
    if not np.isfinite(largest).all():
        row = int(np.argmin(np.isfinite(largest)))
        raise FeatureError(f"logits of row {row} are {values[row].tolist()[:8]}, expected finite numbers")


def full_logits(model: Any, X: Any, n_classes: int) -> NDArray[np.float64]:
    """Return logits of shape (n, n_classes) for a classifier that may have seen only some of the classes.

    Their softmax is the model's ``predict_proba``, with 0 for classes it has never seen.

    Parameters
    ----------
    model : classifier
        scikit-learn-like and probabilistic: `classes_` are whole numbers from 0 to `n_classes` - 1. Its
        ``decision_function`` must be logits, as `SoftmaxRegression`'s and LogisticRegression's are; without one,
        ``predict_log_proba`` is taken.
    X : array of shape (n, d)
    n_classes : int

    Raises
    ------
    OptionError
        Classes outside that range.
    """
    classes = np.asarray(model.classes_)
    if not np.issubdtype(classes.dtype, np.integer) or classes.min() < 0 or classes.max() >= n_classes:
        found = classes.tolist()[:8]
        raise OptionError(f"model's classes are {found}, expected whole numbers from 0 to {n_classes - 1}")
    raw = model.decision_function(X) if hasattr(model, "decision_function") else model.predict_log_proba(X)
    known = np.asarray(raw, dtype=np.float64)
    if known.ndim == 1:
        known = np.column_stack([np.zeros_like(known), known])  # the sigmoid is a softmax over [0, z]
    full = np.full((len(known), n_classes), -np.inf)
    full[:, classes] = known
    return full
