"""Scores along a path are those that `predict` would reach: in float64, however far the columns are from 0."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.model_selection import cross_val_score

from featx import SoftmaxRegression, SoftmaxRegressionCV
from featx.errors import OptionError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("normalize", [None, "l2"])
def test_scores_of_far_float32_columns_are_predicts(k: int, normalize: str | None) -> None:
    rng = np.random.default_rng(k)
    X = (rng.normal(size=(600, 4)) + 1e5).astype(np.float32)
    y = ((X.astype(float) - 1e5) @ rng.normal(size=(4, k)) + rng.gumbel(size=(600, k))).argmax(1)
    train, held_out = np.arange(400), np.arange(400, 600)
    Cs = [1e-2, 1.0, 1e2]
    path = SoftmaxRegressionCV(Cs, cv=[(train, held_out)], normalize=normalize).fit(X, y)
    for C, score in zip(path.Cs_, path.scores_[0], strict=True):
        alone = SoftmaxRegression(C, normalize=normalize).fit(X[train], y[train])
        # Two solvers' ways may end a rounding apart: at most a row that lies on a boundary.
        assert abs(score - alone.score(X[held_out], y[held_out])) <= 1 / 200


def test_balanced_weights_are_those_of_the_rows_that_are_learnt_from() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 3)), np.repeat([0, 1], [150, 50])
    X[:, 0] += y
    cv = [(np.r_[0:30, 150:190], np.r_[30:150, 190:200])]
    Cs = [1e-4, 1e-2, 1.0, 100.0]
    scores = SoftmaxRegressionCV(Cs, cv=cv, class_weight="balanced").fit(X, y).scores_[0]
    expected = [cross_val_score(SoftmaxRegression(C, class_weight="balanced"), X, y, cv=cv)[0] for C in Cs]
    np.testing.assert_array_equal(scores, expected)


def test_rows_held_out_are_taken_as_the_others_are() -> None:
    rng = np.random.default_rng(0)
    A, B = (pd.DataFrame(rng.normal(size=(60, 4)), columns=list("abcd")) for _ in range(2))
    y, y_val = (frame["a"].to_numpy() > 0 for frame in (A, B))
    model = SoftmaxRegressionCV([0.1, 1.0]).fit(A, y, X_val=B, y_val=y_val)
    assert list(model.feature_names_in_) == list("abcd")
    with pytest.raises(ValueError, match="feature names"):
        SoftmaxRegressionCV([0.1, 1.0]).fit(A, y, X_val=B[list("dcba")], y_val=y_val)
    with pytest.raises(OptionError, match="labels of one kind"):
        SoftmaxRegressionCV([0.1, 1.0]).fit(A, y, X_val=B, y_val=y_val.astype(str))
    held = SoftmaxRegressionCV([0.1, 1.0]).fit(A.to_numpy(), y, X_val=B.to_numpy(), y_val=y_val)
    thin = SoftmaxRegressionCV([0.1, 1.0]).fit(csr_array(A), y, 1.0, X_val=csr_array(B), y_val=y_val)
    np.testing.assert_allclose(thin.scores_, held.scores_)


def test_a_grid_of_one_c_is_halved_no_further_and_no_splits_are_refused() -> None:
    X, y = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 2
    assert list(SoftmaxRegressionCV([1.0], halvings=1).fit(X, y).Cs_) == [1.0]
    with pytest.raises(OptionError, match="no splits"):
        SoftmaxRegressionCV([1.0], cv=[]).fit(X, y)
