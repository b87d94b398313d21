"""What leaked test images are worth: the accuracy with and without them, on the same predictions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 10_000
"""Of the bootstrap."""


@dataclass(frozen=True)
class LeakedScores:
    """Accuracy on all test rows, and on those that did not leak.

    Parameters
    ----------
    rows, leaked : int
        Test rows, and how many of them are among the rows learnt from.
    accuracy, without : float
        On all, and without those that leaked.
    difference : float
        Of the two: what the leaks add.
    interval : tuple of float
        95 % bootstrap interval of the difference; both accuracies are of the same draws.
    """

    rows: int
    leaked: int
    accuracy: float
    without: float
    difference: float
    interval: tuple[float, float]

    def said(self) -> str:
        """Return the difference in words, and what tells its cause."""
        low, high = self.interval
        return (
            f"The difference is {self.difference:+.4f} (95 % interval {low:+.4f} to {high:+.4f}). Leaked images may be "
            "easier than others, or harder: what was learnt from their like, a fit with --exclude tells, and "
            "`featx report --leaks findings.csv`."
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON shows it."""
        return asdict(self)


def leaked_scores(right: NDArray[np.bool_], leaked: NDArray[np.bool_], seed: int = 0) -> LeakedScores | None:
    """Compare accuracies with and without leaked rows; None where no row leaked, or all did.

    Parameters
    ----------
    right, leaked : ndarray of bool of shape (n,)
        Which test rows were predicted rightly, and which leaked.
    seed : int
        Of the draws.

    Examples
    --------
    >>> right, leaked = np.arange(100) < 80, np.arange(100) < 10
    >>> found = leaked_scores(right, leaked)
    >>> f"{found.accuracy:.3f} {found.without:.3f} {found.difference:.3f}"
    '0.800 0.778 0.022'
    """
    n, some = len(right), int(leaked.sum())
    if not 0 < some < n:
        return None
    # Rows are of four kinds, and the two accuracies depend on their numbers alone: a draw is a multinomial one.
    kinds = np.array([right & leaked, right & ~leaked, ~right & leaked, ~right & ~leaked]).sum(axis=1)
    draws = np.random.default_rng(seed).multinomial(n, kinds / n, DRAWS)
    drawn = (draws[:, 0] + draws[:, 1]) / n - draws[:, 1] / np.maximum(draws[:, 1] + draws[:, 3], 1)
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    whole, clean = float(right.mean()), float(right[~leaked].mean())
    return LeakedScores(n, some, whole, clean, whole - clean, (low, high))
