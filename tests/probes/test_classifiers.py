"""The table of heads: each predicts, and as linear parts predicts the same."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler, normalize

from featx.probes.classifiers import HEADS, linear_parts, make_classifier, score_classifier
from featx.probes.config import HEADS as NAMES
from featx.probes.config import FitConfig

pytestmark = pytest.mark.usefixtures("one_thread")


def clouds(k: int, n: int = 240, d: int = 8) -> tuple[Any, Any]:
    rng = np.random.default_rng(k)
    y = rng.permutation(n) % k
    return ((rng.standard_normal((n, d)) + 2 * np.eye(d)[y]) * np.arange(1, d + 1) + 5).astype(np.float32), y


def test_the_table_has_every_name() -> None:
    assert tuple(HEADS) == NAMES


@pytest.mark.parametrize("normal", [None, "l2"])
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("head", NAMES)
def test_linear_parts_predict_as_the_model_does(head: str, k: int, standardize: bool, normal: str | None) -> None:
    X, y = clouds(k)
    config = FitConfig(head=head, standardize=standardize, normalize=normal, max_iter=5000, C=0.1)
    model = make_classifier(config).fit(X, y)
    assert (model.predict(X) == y).mean() > 0.6
    parts = linear_parts(model)
    if head == "knn":
        assert parts is None
        return
    coef, intercept = parts
    assert coef.shape == (1 if k == 2 else k, 8)
    logits = (normalize(X.astype(float)) if normal else X.astype(float)) @ coef.T + intercept
    found = (logits[:, 0] > 0).astype(int) if k == 2 else logits.argmax(1)
    assert (found == model.predict(X)).mean() > 0.995  # ties of rounding


@pytest.mark.parametrize("head", NAMES)
def test_only_probabilistic_heads_have_a_loss(head: str) -> None:
    X, y = clouds(3)
    model = make_classifier(FitConfig(head=head)).fit(X, y)
    scores = score_classifier(head, model, X, y, 4)  # a fourth class that nobody has seen
    assert scores.accuracy == pytest.approx((model.predict(X) == y).mean())
    assert np.isfinite(scores.loss) == HEADS[head].is_probabilistic
    assert scores.confusion.sum() == len(y)


def test_standardised_ridge_is_ridge_on_scaled_columns() -> None:
    X, y = clouds(3)
    scaled = StandardScaler().fit_transform(X)
    one = make_classifier(FitConfig(head="ridge", C=0.01)).fit(X, y)
    two = make_classifier(FitConfig(head="ridge", C=0.01, standardize=False)).fit(scaled, y)
    np.testing.assert_allclose(one.decision_function(X), two.decision_function(scaled), atol=1e-3)
    # The normal equations with alpha = 1 / (2 C), intercept free.
    target = np.where(y == 0, 1.0, -1.0)
    centred = scaled - scaled.mean(0)
    w = np.linalg.solve(centred.T @ centred + 50 * np.eye(8), centred.T @ (target - target.mean()))
    np.testing.assert_allclose(two["classifier"].coef_[0], w, atol=1e-4)


@pytest.mark.parametrize(("head", "ranks"), [("softmax", True), ("lda", True), ("svm", False), ("ridge", False)])
def test_heads_without_probabilities_have_no_top5(head: Any, ranks: bool) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((120, 8)).astype(np.float32), np.arange(120) % 6
    found = score_classifier(head, make_classifier(FitConfig(head=head)).fit(X, y), X, y, 6)
    assert math.isnan(found.top5) is not ranks
    assert found.balanced_accuracy == pytest.approx(found.accuracy)  # as many rows of each class
