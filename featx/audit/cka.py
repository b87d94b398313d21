"""Linear CKA: the unbiased estimate, the biased one, and what the biased one shows of rows that are shuffled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from featx.audit.rows import Floats, Rows
from featx.audit.sums import Sums, sums_of
from featx.core.specs import Progress, no_progress

LEAST = 4
"""The unbiased estimate divides by n - 3."""

NOTHING = 1e-12
"""Of a layer's own unbiased HSIC, relative to its biased one: less is rounding."""


@dataclass(frozen=True)
class CKA:
    """Linear CKA of layers with one another, (layers, layers) each; NaN where a layer has no structure.

    Parameters
    ----------
    unbiased : ndarray
        From the unbiased estimator of HSIC; on average 0 for independent layers, at most 1.
    biased : ndarray
        As Kornblith et al. 2019 (arXiv:1905.00414) define it.
    shuffled : ndarray
        The mean of `biased` over all orders of one layer's rows: what it shows of layers that have nothing in common.
        The mean of `unbiased` is 0.
    constant : ndarray of bool
        Layers whose rows are all equal.
    """

    unbiased: Floats
    biased: Floats
    shuffled: Floats
    constant: np.ndarray[tuple[int], np.dtype[np.bool_]]


def linear_cka(features: Sequence[Rows], progress: Progress = no_progress) -> CKA:
    """Compare layers by linear CKA, read block by block.

    Parameters
    ----------
    features : sequence of Rows
        Layers with the same n rows, n at least 4.
    progress : callable
        Told of the rows done.
    """
    sums = sums_of(features, progress)
    # tr(K L) summed over all orders of the rows of L, divided by their number, is tr(K) tr(L) / (n - 1).
    shuffled = np.outer(sums.traces, sums.traces) / (sums.n - 1)
    return CKA(
        _normalised(unbiased_hsic(sums), _least(sums)),
        _normalised(sums.products),
        _normalised(shuffled, norms=np.diag(sums.products)),
        sums.constant,
    )


def unbiased_hsic(sums: Sums) -> Floats:
    """Return HSIC of each pair of layers by the unbiased estimator, (layers, layers).

    HSIC_1 of Song et al. 2012 (Feature selection via dependence maximization, JMLR 13). For centred X the
    rows of K sum up to zero, so that those of K without its diagonal sum up to -K_ii, and in the sums of `Sums`

        n (n - 3) HSIC = tr(K L) - n / (n - 2) sum K_ii L_ii + tr(K) tr(L) / ((n - 1) (n - 2)).

    Nguyen et al. 2021 (arXiv:2010.15327) use it for CKA; Murphy et al. 2024 (arXiv:2405.01012) show what both converge
    to: where columns outnumber rows the biased one goes to 1, whatever the layers are.
    """
    n = sums.n
    traces = np.outer(sums.traces, sums.traces)
    found: Floats = sums.products - n / (n - 2) * sums.squares + traces / ((n - 1) * (n - 2))
    return found / (n * (n - 3))


def _least(sums: Sums) -> Floats:
    """Return what a layer's own HSIC exceeds, unless its rows are all at the same distance from one another."""
    return NOTHING * np.diag(sums.products) / (sums.n * (sums.n - 3))


def _normalised(hsic: Floats, least: Floats | float = 0.0, norms: Floats | None = None) -> Floats:
    """Return HSIC divided by the geometric mean of the layers' own; NaN where one of these is no more than `least`."""
    own = np.diag(hsic) if norms is None else norms
    own = np.where(own > least, own, np.nan)
    return hsic / np.sqrt(np.outer(own, own))
