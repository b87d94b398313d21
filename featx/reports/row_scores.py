"""The scores of a report as sums over test rows, so that rows can be resampled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from featx.core.bootstrap import Floats, RowScore, first_column

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ScoredRows:
    """What one run said of test rows.

    Parameters
    ----------
    labels, predicted : ndarray of int64, shape (n,)
        Class numbers.
    losses : ndarray of shape (n,), optional
        Log loss of each row, in nats.
    in_top : ndarray of bool, shape (n,), optional
        Whether the true class is among the five of largest logit.
    briers : ndarray of shape (n,), optional
        Brier score of each row.
    """

    labels: Ints
    predicted: Ints
    losses: npt.NDArray[Any] | None = None
    in_top: npt.NDArray[Any] | None = None
    briers: npt.NDArray[Any] | None = None

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Which rows were predicted right."""
        return np.asarray(self.labels == self.predicted)

    @property
    def n_classes(self) -> int:
        """One more than the largest class number of either kind."""
        return 1 + int(max(self.labels.max(), self.predicted.max()))


def macro_f1_score(labels: Ints, predicted: Ints, n_classes: int) -> RowScore:
    """Return the mean F1 score; see `featx.core.metrics.macro_f1`.

    The classes that count are those of the rows at hand. One that was only ever predicted wrong counts as 0 in a draw
    that has none of its rows, which a score of that draw by itself would leave out.
    """
    from scipy import sparse  # heavy

    n = len(labels)
    counted = np.union1d(labels, predicted)
    rows = np.arange(n)
    ones = np.ones(n, np.float32)
    of_class = sparse.csr_array((ones, (rows, labels)), shape=(n, n_classes))[:, counted]
    of_predicted = sparse.csr_array((ones, (rows, predicted)), shape=(n, n_classes))[:, counted]
    right = sparse.csr_array(of_class.multiply(of_predicted))
    k = len(counted)

    def combine(sums: Floats) -> Floats:
        found = 2 * sums[:, :k] / np.maximum(sums[:, k:], np.finfo(np.float64).tiny)
        return np.asarray(found.mean(axis=1))

    return RowScore(sparse.csr_array(sparse.hstack([right, of_class + of_predicted])), combine)


def _accuracy(rows: ScoredRows) -> RowScore:
    return RowScore(rows.right[:, None].astype(np.float32))


def _loss(rows: ScoredRows) -> RowScore | None:
    return None if rows.losses is None else RowScore(np.asarray(rows.losses, np.float32)[:, None], high=np.inf)


def _brier(rows: ScoredRows) -> RowScore | None:
    return None if rows.briers is None else RowScore(np.asarray(rows.briers, np.float32)[:, None], high=2.0)


def _top(rows: ScoredRows) -> RowScore | None:
    return None if rows.in_top is None else RowScore(np.asarray(rows.in_top, np.float32)[:, None])


def _balanced(rows: ScoredRows) -> RowScore:
    sizes = np.bincount(rows.labels)
    # A draw has as many rows of each class as there are, so that a mean of recalls is a mean over rows.
    weights = len(rows.labels) / (sizes[rows.labels] * np.count_nonzero(sizes))
    return RowScore((rows.right * weights)[:, None].astype(np.float32))


def _macro_f1(rows: ScoredRows) -> RowScore:
    return macro_f1_score(rows.labels, rows.predicted, rows.n_classes)


ROW_SCORES: Mapping[str, Callable[[ScoredRows], RowScore | None]] = {
    "accuracy": _accuracy,
    "loss": _loss,
    "top5": _top,
    "balanced_accuracy": _balanced,
    "macro_f1": _macro_f1,
    "brier": _brier,
}
"""By what records call a score, what makes it of rows; None where they do not tell it.

Calibration errors have none: they are distances, never below 0, which a draw of rows moves upwards, so that no interval
of draws can hold the 0 of a calibrated model.
"""

MEANS, SHARES = ("accuracy", "top5", "loss", "brier"), ("accuracy", "top5")
"""Those that are means over rows, and of them those that count rows."""


def mean_of(scores: Sequence[RowScore]) -> RowScore:
    """Return the mean of scores of the same rows, as of several seeds."""
    if len(scores) == 1:
        return scores[0]
    first = scores[0]
    if all(score.combine is first_column for score in scores):
        columns = np.mean([score.columns for score in scores], axis=0, dtype=np.float64)
        return RowScore(columns, low=first.low, high=first.high)
    from scipy import sparse  # heavy

    ends = np.cumsum([score.columns.shape[1] for score in scores])

    def combine(sums: Floats) -> Floats:
        parts = np.split(sums, ends[:-1], axis=1)
        found = [score.combine(part) for score, part in zip(scores, parts, strict=True)]
        return np.asarray(np.mean(found, axis=0))

    return RowScore(sparse.csr_array(sparse.hstack([score.columns for score in scores])), combine)
