"""What repeated and paired results tell: means with intervals, and tests over the same images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95

Floats = NDArray[np.float64]


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Return ``n``, ``mean``, ``std`` and the 95 % ``interval`` of the mean.

    The standard deviation is the sample's (n - 1), the interval Student's (1908), mean -+ t * std / sqrt(n); with one
    value there is neither.
    """
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return {"n": n, "mean": mean, "std": None, "interval": None}
    from scipy import stats  # heavy

    std = float(np.std(values, ddof=1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * std / n**0.5
    return {"n": n, "mean": mean, "std": std, "interval": [mean - half, mean + half]}


def mcnemar(first: ArrayLike, second: ArrayLike) -> dict[str, Any]:
    """Compare two classifiers on the same images: McNemar's test (1947), exact and with the mid-p value.

    Only images that one of them gets right and the other wrong tell anything; if the two were equally good, either
    would be the right one as by a coin. The exact test keeps its level whatever n is, and the mid-p value (Fagerland,
    Lydersen and Laake, "The McNemar test for binary matched-pairs data: mid-p and asymptotic are better than exact
    conditional", 2013) is less cautious.

    Parameters
    ----------
    first, second : array of bool, shape (n,)
        Whether each image was classified right.

    Returns
    -------
    dict
        ``only_first`` and ``only_second`` right, ``n``, two-sided ``p_exact`` and ``p_mid``.
    """
    one, two = np.asarray(first, bool), np.asarray(second, bool)
    if one.shape != two.shape or one.ndim != 1:
        raise ValueError(f"results of shape {one.shape} and {two.shape}, expected two of the same length")
    from scipy import stats  # heavy

    b, c = int((one & ~two).sum()), int((two & ~one).sum())
    exact = float(stats.binomtest(min(b, c), b + c).pvalue) if b + c else 1.0
    # Half of the probability of what was seen counts, on either side; at b = c that is one outcome, not two.
    mid = exact - float(stats.binom.pmf(min(b, c), b + c, 0.5)) / (2 if b == c else 1) if b + c else 1.0
    return {"only_first": b, "only_second": c, "n": len(one), "p_exact": exact, "p_mid": mid}


def exact_mcnemar(only_first: ArrayLike, only_second: ArrayLike) -> Floats:
    """Return the two-sided p-values of `mcnemar`'s exact test, of many pairs at once.

    Parameters
    ----------
    only_first, only_second : array of int
        How many images one alone gets right, and the other; of any shapes that go together.
    """
    from scipy import special  # heavy

    b, c = np.asarray(only_first, np.int64), np.asarray(only_second, np.int64)
    return np.asarray(np.minimum(1.0, 2 * special.bdtr(np.minimum(b, c), b + c, 0.5)), np.float64)


def sign_flips(total: ArrayLike, squares: ArrayLike, n: ArrayLike, step: ArrayLike = 0.0) -> Floats:
    """Return two-sided p-values of paired differences whose signs are as likely one as the other.

    Fisher's randomisation test of matched pairs ("The design of experiments", 1935), by its normal approximation, with
    a correction for continuity: flipped at random, differences sum up to 0 on the average, with the variance of their
    sum of squares. Of n differences that are not 0, no p-value is below 2 / 2^n, that of all signs alike.

    Parameters
    ----------
    total, squares : array of float
        Sums of the differences, and of their squares.
    n : array of int
        How many are not 0.
    step : array of float
        Of what the differences are multiples; 0 where they may be any numbers.
    """
    from scipy import special  # heavy

    above = np.maximum(0.0, np.abs(total) - np.asarray(step, np.float64))
    spread = np.sqrt(np.maximum(np.asarray(squares, np.float64), np.finfo(np.float64).tiny))
    fewest = np.exp2(1.0 - np.minimum(np.asarray(n, np.float64), 1000))
    return np.asarray(np.minimum(1.0, np.maximum(special.erfc(above / spread / math.sqrt(2)), fewest)), np.float64)


def holm(p_values: ArrayLike) -> Floats:
    """Return p-values adjusted for how many they are, so that the chance of any false one below 0.05 is at most 0.05.

    Holm, "A simple sequentially rejective multiple test procedure", 1979: the k-th smallest of m is multiplied by
    m - k + 1, and none is below a smaller one's. It holds however the tests depend on one another.
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    grown = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    found = np.empty_like(p)
    found[order] = np.minimum(1.0, grown)
    return found


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share seen in n trials (Wilson, 1927), as scipy does, which is slow to load."""
    seen, z = round(share * n) / n, NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    middle, half = seen + z**2 / (2 * n), z * math.sqrt(seen * (1 - seen) / n + z**2 / (4 * n**2))
    low, high = ((middle + side * half) / (1 + z**2 / n) for side in (-1, 1))
    return (low if seen > 0 else 0.0), (high if seen < 1 else 1.0)
