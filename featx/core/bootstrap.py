"""How scores of test rows would come out on other rows: a bootstrap, stratified by class and paired between scores.

A score is a function of sums over the rows, so that a draw needs no row twice: it is how often each row was drawn,
times what each row adds. All scores share the draws, which pairs them: the difference of two scores is as sure
as their rows agree.

Rows are drawn with replacement within each class, as many as it has, since a test set's classes are chosen, not drawn.
Drawn so, the sums of n rows vary by (n - 1) / n too little, which counts where classes are small: they are stretched by
sqrt(n / (n - 1)) (Rao and Wu, "Resampling inference with complex survey data", 1988).
The interval of a score is bias-corrected and accelerated (Efron, "Better bootstrap confidence intervals", 1987), by the
empirical influence of independent samples (Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapters 14
and 22): where few rows decide, as those of large loss, percentiles of the draws lean to the wrong side. That of a
difference is between the percentiles themselves: differences of paired rows are nearly symmetric, and what few rows
tell of their skewness is worse than nothing (`tests/benchmarks/coverage.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from featx.core.statistics import CONFIDENCE

DRAWS = 10_000
BLOCK = 1 << 22
"""Counts that are held at a time, 16 MB of them."""

FEW = 8
"""Counts are drawn at once where each stands for at least so many rows; else rows are drawn, and counted."""

TINY = 1e-6
"""Sums that are so little apart are equal: they are summed up in float32."""

OUTSIDE = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)

Ends = tuple[float, float]
Floats = npt.NDArray[np.float64]


def first_column(sums: Floats) -> Floats:
    """Return the means of the only column: what a score is that is a mean over rows."""
    return sums[:, 0]


@dataclass(frozen=True)
class RowScore:
    """A score, as sums over rows tell it.

    Parameters
    ----------
    columns : array or scipy.sparse array of shape (n, m)
        What each row adds to each of m sums.
    combine : callable
        Takes (draws, m) means over all rows, and returns the score of each, (draws,).
    low, high : float
        Between which it lies.
    """

    columns: Any
    combine: Callable[[Floats], Floats] = first_column
    low: float = 0.0
    high: float = 1.0

    def of(self, shares: Floats) -> float:
        """Return the score of all rows, whose weights, shape (n,), sum to 1."""
        return float(self.combine(np.asarray(shares @ self.columns, dtype=np.float64)[None])[0])

    def influence(self, shares: Floats) -> Floats:
        """Return how the score changes with each row's weight, shape (n,), up to a constant of its class.

        By the chain rule, whose outer derivatives are taken numerically: scores are smooth in their few sums.

        Parameters
        ----------
        shares : ndarray of shape (n,)
            The rows' weights, which sum to 1.
        """
        sums = np.asarray(shares @ self.columns, dtype=np.float64)
        step = 1e-6 * np.maximum(np.abs(sums), 1e-3)
        moved = np.diag(step)
        slopes = (self.combine(sums + moved) - self.combine(sums - moved)) / (2 * step)
        found: Floats = np.asarray(self.columns @ slopes, dtype=np.float64)
        return found


class Resampled:
    """Scores of the same rows, each under the same draws of other rows.

    Parameters
    ----------
    scores : sequence of RowScore
        Of the same n rows.
    labels : array of shape (n,)
        The rows' classes, within which they are drawn. Classes of one row, which vary by an unknown amount, are drawn
        from together, one alone with the smallest other class.
    counts : array of int, shape (n,), optional
        How many rows each of these stands for, where equal ones are given once; 1 without.
    draws, seed : int
        How many draws, and what they begin from. The same arguments give the same draws on every machine.

    Attributes
    ----------
    values : ndarray of shape (s,)
        The scores.
    drawn : ndarray of shape (draws, s)
        The scores under each draw.
    """

    def __init__(
        self,
        scores: Sequence[RowScore],
        labels: npt.ArrayLike,
        counts: npt.ArrayLike | None = None,
        *,
        draws: int = DRAWS,
        seed: int = 0,
    ) -> None:
        self._scores = list(scores)
        classes = np.asarray(labels)
        self._counts = np.ones(len(classes), np.int64) if counts is None else np.asarray(counts, np.int64)
        self._strata = _strata(classes, self._counts)
        self._shares: Floats = self._counts / self._counts.sum()
        self.values: Floats = np.array([score.of(self._shares) for score in self._scores])
        self.drawn = self._draw(draws, np.random.default_rng(seed))

    def interval(self, i: int) -> Ends | None:
        """Return the 95 % interval of a score; None where no draw changes it, which does not make it certain."""
        drawn, value, score = self.drawn[:, i], self.values[i], self._scores[i]
        if not self._varies(i) or _is_constant(drawn, value):
            return None
        ends = np.quantile(drawn, _levels(drawn, value, self._acceleration(i)))
        return float(np.clip(ends[0], score.low, score.high)), float(np.clip(ends[1], score.low, score.high))

    def difference(self, i: int, j: int) -> Ends | None:
        """Return the 95 % interval of the i-th score less the j-th, paired by rows; None as in `interval`."""
        drawn, value = self.drawn[:, i] - self.drawn[:, j], self.values[i] - self.values[j]
        if _is_constant(drawn, value):
            return None
        ends = np.quantile(drawn, OUTSIDE)
        return float(ends[0]), float(ends[1])

    def standard_error(self, i: int, j: int) -> float:
        """Return the standard deviation, over the draws, of the i-th score less the j-th."""
        return float(np.std(self.drawn[:, i] - self.drawn[:, j]))

    def _varies(self, i: int) -> bool:
        """Tell whether rows that are drawn from together add different amounts to a score: float32 sums blur it."""
        parts = [self._scores[i].columns[rows] for rows in self._strata]
        return any(abs(part.max(axis=0) - part.min(axis=0)).sum() > 0 for part in parts)  # some are sparse

    def _draw(self, draws: int, rng: np.random.Generator) -> Floats:
        found = np.empty((draws, len(self._scores)))
        means = [i for i, score in enumerate(self._scores) if score.combine is first_column]
        others = [i for i in range(len(self._scores)) if i not in means]
        # One product for all that are means: (block, n) by (n, means).
        together = np.hstack([np.asarray(self._scores[i].columns, np.float32) for i in means]) if means else None
        sums = [self._stretched(together)] if together is not None else []
        sums += [self._stretched(self._scores[i].columns) for i in others]
        at = 0
        for counts in self._drawn_counts(draws, rng):
            lines = slice(at, at + len(counts))
            products = [rest + (counts @ columns) / self._counts.sum() for columns, rest in sums]
            if means:
                found[lines, means] = products.pop(0)
            for i, product in zip(others, products, strict=True):
                found[lines, i] = self._scores[i].combine(product)
            at += len(counts)
        return found

    def _stretched(self, columns: Any) -> tuple[Any, Floats]:
        """Return columns, by drawn counts, and what is added to their mean, so that it varies as much as it should."""
        from scipy import sparse  # heavy

        stretch = np.empty(len(self._counts), np.float32)
        for rows in self._strata:
            size = int(self._counts[rows].sum())
            stretch[rows] = np.sqrt(size / (size - 1)) if size > 1 else 1.0
        rest = np.asarray((self._shares * (1 - stretch)) @ columns, dtype=np.float64)
        order = np.concatenate(self._strata)
        if sparse.issparse(columns):
            return sparse.csr_array(sparse.diags_array(stretch) @ columns)[order], rest
        return (columns * stretch[:, None])[order], rest

    def _drawn_counts(self, draws: int, rng: np.random.Generator) -> Iterator[npt.NDArray[np.float32]]:
        """Give blocks of draws, shape (block, n): how often each row was drawn, those of each class side by side."""
        block = max(1, min(draws, BLOCK // len(self._counts)))
        for start in range(0, draws, block):
            some = min(block, draws - start)
            found = np.empty((some, len(self._counts)), np.float32)
            at = 0
            for rows in self._strata:
                found[:, at : at + len(rows)] = _drawn(self._counts[rows], some, rng)
                at += len(rows)
            yield found

    def _acceleration(self, i: int) -> float:
        """Return a sixth of the skewness of what the rows add to a score."""
        found = self._scores[i].influence(self._shares)
        for rows in self._strata:
            found[rows] -= np.average(found[rows], weights=self._counts[rows])
        spread = float(np.sum(self._counts * found**2))
        return float(np.sum(self._counts * found**3)) / (6 * spread**1.5) if spread > 0 else 0.0


def _strata(labels: npt.NDArray[Any], counts: npt.NDArray[np.int64]) -> list[npt.NDArray[np.intp]]:
    """Return the places of each class's rows, those of classes with a single row together."""
    order = np.argsort(labels, kind="stable")
    ends = np.flatnonzero(np.diff(labels[order])) + 1
    parts: list[npt.NDArray[np.intp]] = sorted(np.split(order, ends), key=lambda part: int(counts[part].sum()))
    lone = [part for part in parts if counts[part].sum() == 1]
    if not lone:
        return parts
    others = parts[len(lone) :]
    if len(lone) == 1 and others:
        lone.append(others.pop(0))
    return [np.concatenate(lone), *others]


def _drawn(counts: npt.NDArray[np.int64], draws: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return how often each of a class's kinds of rows is among as many as it has, shape (draws, kinds)."""
    n, kinds = int(counts.sum()), len(counts)
    if kinds * FEW <= n:
        found: npt.NDArray[np.int64] = rng.multinomial(n, counts / n, size=draws)
        return found
    # The narrowest numbers that hold them cost the least to draw.
    rows = rng.integers(0, n, size=(draws, n), dtype=np.uint16 if n <= 1 << 16 else np.uint32)
    if kinds < n:
        rows = np.repeat(np.arange(kinds), counts)[rows]
    places = np.add(rows, np.arange(0, draws * kinds, kinds)[:, None])
    return np.bincount(places.ravel(), minlength=draws * kinds).reshape(draws, kinds)


def _is_constant(drawn: Floats, value: float) -> bool:
    return bool(np.abs(drawn - value).max() <= _tiny(value))


def _tiny(value: float) -> float:
    return TINY * max(1.0, abs(value))


def _levels(drawn: Floats, value: float, acceleration: float) -> Floats:
    """Return the shares of draws below the ends of the bias-corrected, accelerated interval (Efron, 1987)."""
    from scipy.special import ndtr, ndtri  # heavy

    apart, tiny = drawn - value, _tiny(value)
    # Draws that give the score itself count half, on either side.
    below = np.mean(apart < -tiny) + np.mean(np.abs(apart) <= tiny) / 2
    least = 1 / (2 * len(drawn))
    bias = ndtri(np.clip(below, least, 1 - least))
    z = bias + ndtri(OUTSIDE)
    return np.asarray(ndtr(bias + z / (1 - acceleration * z)))
