"""Scores along a path are those that `predict` would reach: in float64, however far the columns are from 0."""

from __future__ import annotations

import numpy as np
import pytest

from featx import SoftmaxRegression, SoftmaxRegressionCV

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
