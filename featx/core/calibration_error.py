"""How far a model's confidence is from how often it is right: bins of equal mass, and errors by them. numpy only.

The confidence of a row is the probability of the class that is predicted for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS = 15
"""Of equal mass: each holds as many rows, but for rows of equal confidence, which share a bin."""


@dataclass(frozen=True)
class Bins:
    """Rows that a model is about as sure of, from those that it is least sure of to those it is surest of.

    Parameters
    ----------
    n : ndarray of shape (b,)
        int64; rows of each bin, none of them empty.
    confidence : ndarray of shape (b,)
        float64; mean confidence.
    accuracy : ndarray of shape (b,)
        float64; share of rows that are right.
    """

    n: NDArray[np.int64]
    confidence: Floats
    accuracy: Floats


def equal_mass_bins(confidence: Floats, right: NDArray[Any], n_bins: int = BINS) -> Bins:
    """Return bins that hold as many rows each; of fewer rows than bins, each is a bin.

    Rows of equal confidence share a bin, which is then larger: which of them come first would else decide.

    Parameters
    ----------
    confidence : ndarray of shape (n,)
        0 to 1.
    right : ndarray of shape (n,)
        Whether the predicted class is the true one.
    n_bins : int
        At most so many.
    """
    n, rising = len(confidence), np.sort(confidence)
    k = min(n_bins, n)
    first = np.unique(rising[[i * n // k for i in range(1, k)]]) if k > 1 else rising[:0]  # of each bin but one
    place = np.searchsorted(first, confidence, side="right")
    count = np.bincount(place, minlength=1)
    held = count > 0
    sums = (np.bincount(place, values, minlength=1)[held] for values in (confidence, np.asarray(right, np.float64)))
    sure, hits = (total / count[held] for total in sums)
    return Bins(count[held].astype(np.int64), sure, hits)


def expected_calibration_error(bins: Bins) -> float:
    """Return the mean over rows of ``|accuracy - confidence|`` of their bin; NaN without rows.

    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", 2015, with bins of
    equal mass. It is never negative, so that a perfectly calibrated model has one above 0, the larger the fewer rows.
    """
    if not len(bins.n):
        return float("nan")
    return float(np.average(np.abs(bins.accuracy - bins.confidence), weights=bins.n))


def debiased_calibration_error(bins: Bins) -> float:
    """Return the root mean squared calibration error without the part that chance adds; 0 where chance explains it all.

    From each bin's ``(accuracy - confidence)^2``, the estimated variance of its accuracy is taken, ``accuracy
    (1 - accuracy) / (n - 1)``: Kumar, Liang and Ma, "Verified uncertainty calibration", 2019, section 5, after Bröcker,
    "Estimating reliability and resolution of probability forecasts through decomposition of the empirical score", 2012.
    The mean over rows is unbiased for the square of the binned error; a negative one becomes 0 before the root is
    taken. Bins of one row, whose variance is unknown, count as 0.
    """
    if not len(bins.n):
        return float("nan")
    chance = bins.accuracy * (1 - bins.accuracy) / np.maximum(bins.n - 1, 1)
    squares = np.where(bins.n > 1, np.square(bins.accuracy - bins.confidence) - chance, 0.0)
    return float(np.sqrt(max(0.0, np.average(squares, weights=bins.n))))
