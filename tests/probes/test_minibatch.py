"""Steps of Adam on minibatches, against the formula of the paper."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax

from featx.probes.softmax import SoftmaxRegression

pytestmark = pytest.mark.usefixtures("one_thread")


def rows(k: int, n: int = 600, d: int = 5) -> tuple[Any, Any, Any]:
    random = np.random.default_rng(k)
    return random.standard_normal((n, d)), np.arange(n) % k, random.uniform(0, 2, n)


def by_formula(X: Any, y: Any, weight: Any, *, C: float, fit_intercept: bool, lr: float, epochs: int) -> Any:
    """Kingma and Ba's algorithm 1 on the objective of `featx.probes.minibatch`."""
    k = 1 if y.max() == 1 else y.max() + 1
    inputs, target = np.column_stack([X, np.ones(len(X))]), np.eye(y.max() + 1)[y][:, -k:]
    weights, mean, square = (np.zeros((k, X.shape[1] + 1)) for _ in range(3))
    steps = seen = 0
    for _ in range(epochs):
        for start in range(0, len(X), 256):
            part = slice(start, start + 256)
            m, steps, seen = len(X[part]), steps + 1, seen + len(X[part])
            logits = inputs[part] @ weights.T
            share = expit(logits) if k == 1 else softmax(logits, axis=1)
            gradient = ((share - target[part]) * weight[part, None]).T @ inputs[part] / m
            gradient[:, :-1] += weights[:, :-1] / (C * seen)
            gradient[:, -1] *= fit_intercept
            mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
            weights = weights - lr * mean / (1 - 0.9**steps) / (np.sqrt(square / (1 - 0.999**steps)) + 1e-8)
    return weights


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_steps_follow_the_formula_and_go_on_where_they_stopped(k: int, fit_intercept: bool) -> None:
    X, y, weight = rows(k)
    model = SoftmaxRegression(C=0.1, fit_intercept=fit_intercept, learning_rate=0.03)
    for _ in range(3):
        model = pickle.loads(pickle.dumps(model)).partial_fit(X, y, classes=np.arange(k), sample_weight=weight)
    weights = by_formula(X, y, weight, C=0.1, fit_intercept=fit_intercept, lr=0.03, epochs=3)
    np.testing.assert_allclose(model.coef_, weights[:, :-1], atol=1e-12)
    np.testing.assert_allclose(model.intercept_, weights[:, -1], atol=1e-12)
    assert model.n_iter_ == 9


def test_rows_are_left_as_they_are_and_gradients_are_found_whatever_the_caller_computes() -> None:
    X, y, _ = rows(3)
    kept = X.copy()
    X.flags.writeable = False
    with torch.no_grad():
        one = SoftmaxRegression().partial_fit(X[::-1], y[::-1], classes=np.arange(3))
    with torch.inference_mode():
        two = SoftmaxRegression().partial_fit(kept[::-1], y[::-1], classes=np.arange(3))
    np.testing.assert_array_equal(one.coef_, two.coef_)
    np.testing.assert_array_equal(X, kept)
    assert np.abs(one.coef_).max() > 0
