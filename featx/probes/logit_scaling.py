"""What calibrations of logits have in common: the rows they are fitted on, and what a fit gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featx.errors import FeatureError, OptionError

Floats = NDArray[np.float64]

ROUNDING = float(np.finfo(np.float64).eps) / 2
"""Largest relative error of one operation."""

TRUSTED = 0.05
"""Relative errors above this are not bounded by their first order."""


SMALLEST = 1e-290
"""Logits that differ by less are equal: a scale that told them apart would overflow."""


@dataclass(frozen=True)
class FittedScaling:
    """Logits z become ``scale * z + offset``, class by class.

    Parameters
    ----------
    scale, offset : ndarray of shape (k,)
        float64.
    temperature : float
        The best single T, for which logits become ``z / T``.
    temperature_bounds : tuple of float
        Two temperatures between which the optimal one lies, in exact arithmetic.
    objective : float
        Mean log loss of the rows, nats, and the penalty.
    objective_gap : float
        Upper bound on how far the objective is above its minimum, in exact arithmetic: it includes its own rounding
        error. Infinite where nothing could be proven.
    n_iter : int
        Steps taken.
    notes : tuple of str
        What the user should know of the rows.
    """

    scale: Floats
    offset: Floats
    temperature: float
    temperature_bounds: tuple[float, float]
    objective: float
    objective_gap: float
    n_iter: int
    notes: tuple[str, ...] = ()


def checked_rows(logits: ArrayLike, y: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    """Return logits (n, k) and class numbers (n,) that a calibration can be fitted on.

    Raises
    ------
    OptionError
        Shapes that do not belong together, no rows, fewer than two classes, or a label outside 0 to k - 1.
    FeatureError
        Logits that are not finite.
    """
    values, labels = np.asarray(logits, np.float64), np.asarray(y)
    if values.ndim != 2 or labels.shape != values.shape[:1] or not len(labels) or values.shape[1] < 2:
        raise OptionError(
            f"logits of shape {values.shape} and labels of shape {labels.shape}, expected (n, k) and (n,) with n at "
            "least 1 and k at least 2"
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= values.shape[1]:
        raise OptionError(f"labels are {labels.tolist()[:8]}, expected whole numbers of 0 to {values.shape[1] - 1}")
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values).all(axis=1)))
        raise FeatureError(f"logits of row {row} are {values[row].tolist()[:8]}, expected finite numbers")
    return values, labels.astype(np.int64)


def shares_of(logits: Floats) -> tuple[Floats, Floats]:
    """Return the softmax (n, k) of logits, and the logarithms (n,) of their summed exponentials."""
    top = logits.max(axis=1, keepdims=True)
    shares: Any = np.exp(logits - top)
    total = shares.sum(axis=1, keepdims=True)
    return shares / total, (top + np.log(total))[:, 0]


def share_errors(largest: Floats, k: int) -> Floats:
    """Return bounds (n,) on the relative errors of `shares_of` and of a sum over its classes.

    Exponents of at most `largest` (n,) are wrong by a few roundings of it, exponentials by a few of their own, sums of
    k terms by k.

    Parameters
    ----------
    largest : ndarray of shape (n,)
        Largest absolute value that each row's exponents were made of.
    k : int
        Classes.
    """
    errors: Floats = ROUNDING * (14 * largest + 2 * k + 32)
    return np.where(errors < TRUSTED, 2 * errors, np.inf)  # twice: higher orders
