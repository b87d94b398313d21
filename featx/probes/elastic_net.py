"""L1 and elastic-net penalties: scikit-learn's saga, put into the terms of featx's softmax regression."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SagaFit:
    """Coefficients (k, d), intercepts (k,) for X as it was given, the objective, epochs, and whether saga was done."""

    coef: Floats
    intercept: Floats
    objective: float
    n_iter: int
    converged: bool


def fit_saga(
    X: NDArray[Any],
    target: NDArray[np.int64],
    weight: Floats,
    *,
    C: float,
    l1_ratio: float,
    fit_intercept: bool,
    standardize: bool,
    tol: float,
    max_iter: int,
    random_state: Any,
) -> SagaFit:
    """Minimise ``C * sum_i w_i log_loss_i + l1_ratio ||W||_1 + (1 - l1_ratio) ||W||^2 / 2``.

    Parameters
    ----------
    tol : float
        Largest change of a weight, relative to the largest weight, within one epoch: saga's own measure.
    max_iter : int
        Epochs at most.
    """
    scaler = StandardScaler().fit(X, sample_weight=weight) if standardize else None
    saga = LogisticRegression(
        C=C,
        l1_ratio=l1_ratio,
        solver="saga",
        fit_intercept=fit_intercept,
        tol=tol,
        max_iter=max_iter,
        random_state=random_state,
    )
    columns = X if scaler is None else scaler.transform(X)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        saga.fit(columns, target, sample_weight=weight)
    converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in heard)
    at = np.searchsorted(saga.classes_, target)
    losses = -saga.predict_log_proba(columns)[np.arange(len(at)), at]
    size = l1_ratio * np.abs(saga.coef_).sum() + (1 - l1_ratio) * np.square(saga.coef_).sum() / 2
    coef, intercept = saga.coef_.astype(np.float64), np.zeros(len(saga.coef_)) + saga.intercept_
    if scaler is not None:
        coef = coef / scaler.scale_
        intercept = intercept - coef @ scaler.mean_
    return SagaFit(coef, intercept, float(C * weight @ losses + size), int(saga.n_iter_.max()), converged)
