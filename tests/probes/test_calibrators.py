"""TemperatureScaling and VectorScaling as estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from featx import SoftmaxRegression, TemperatureScaling, VectorScaling
from featx.errors import OptionError
from featx.probes.temperature import fit_temperature

pytestmark = pytest.mark.usefixtures("one_thread")


def rows(k: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(k)
    number = np.arange(120) % k
    X = rng.standard_normal((120, 4)) + np.eye(4)[number]
    return X, np.array(["ant", "bee", "cat", "dog"])[number]


@pytest.mark.parametrize("kind", [TemperatureScaling, VectorScaling])
@pytest.mark.parametrize("k", [2, 3])
def test_probabilities_of_held_out_rows_get_better(kind: Any, k: int) -> None:
    X, y = rows(k)
    model = SoftmaxRegression(C=1e4).fit(X[:20], y[:20])
    scaling = kind().fit(model.decision_function(X[20:]), y[20:], model.classes_)
    number = np.searchsorted(model.classes_, y[20:])
    losses = [
        -np.log(p[np.arange(100), number]).mean()
        for p in (model.predict_proba(X[20:]), scaling.predict_proba(model.decision_function(X[20:])))
    ]
    assert losses[1] < losses[0] - 0.05
    assert scaling.temperature_ > 1
    assert scaling.objective_gap_ < 1e-12
    logits = model.decision_function(X[20:])
    np.testing.assert_allclose(
        np.exp(scaling.predict_log_proba(logits)), softmax(scaling.decision_function(logits), axis=1), rtol=1e-12
    )
    assert set(scaling.predict(logits)) <= {*model.classes_}
    if kind is TemperatureScaling:
        np.testing.assert_array_equal(scaling.predict(logits), model.predict(X[20:]))


def test_classes_are_numbers_unless_they_are_given() -> None:
    logits = np.random.default_rng(0).standard_normal((30, 3))
    found = TemperatureScaling().fit(logits, np.arange(30) % 3)
    assert found.classes_.tolist() == [0, 1, 2]
    assert found.temperature_ == fit_temperature(logits, np.arange(30) % 3).temperature
    assert clone(found).get_params() == {}


def test_what_does_not_belong_together_is_refused() -> None:
    logits = np.zeros((4, 3))
    with pytest.raises(NotFittedError):
        TemperatureScaling().predict_proba(logits)
    with pytest.raises(OptionError, match="'dog'"):
        TemperatureScaling().fit(logits, ["ant", "bee", "dog", "ant"], ["ant", "bee", "cat"])
    with pytest.raises(OptionError, match="classes of shape"):
        VectorScaling().fit(logits, [0, 1, 0, 1], [0, 1])
    with pytest.raises(OptionError, match="expected \\(n, 3\\)"):
        VectorScaling().fit(np.eye(3), [0, 1, 2]).predict_proba(np.eye(2))
